/* Chooses by the machine how many workers there are and where they run.
 *
 * The choice is a function of known facts (qb_topo_choose), so that any machine can be tested on
 * this one.  topo.c chooses and topo_host.c discovers and binds: the only files that use hwloc,
 * whose discovery is done only for runs with enough work.  topo_quota.c and topo_disk.c read the
 * kernel's files about control groups and disks, below a root directory that tests may change. */
#ifndef QB_HOST_TOPO_H
#define QB_HOST_TOPO_H

#include <stdio.h>
#include <sys/types.h>

#include "job/job.h"

#define QB_TOPO_NO_QUOTA UINT32_MAX

/* ---- disks: topo_disk.c ---------------------------------------------------------------------- */

enum { QB_DISKS_MAX = 8, QB_DISK_NAME = 64, QB_DISK_DEPTH = 8 };

/* Whole disks by the kernel's names ("nvme0n1"), each once, in the order they were found. */
struct qb_disks {
    char names[QB_DISKS_MAX][QB_DISK_NAME];
    size_t n;
};

/* Adds the disks below block device `dev`: of a partition its disk, of a volume or an array (dm,
 * md) its members' disks, of a loop device those of its file.  Nothing is added if sysfs, at
 * <root>/sys, does not have the device.  Reads no device. */
void qb_disks_add_device(struct qb_disks *disks, const char *root, dev_t dev);

/* Like qb_disks_add_device for the file system of `path`, or for `path` itself if it is a block
 * device. */
void qb_disks_add_path(struct qb_disks *disks, const char *root, const char *path);

/* ---- control groups: topo_quota.c ------------------------------------------------------------ */

/* The CPU quota of the control groups (version 1 and 2) of this process, in thousandths of a CPU,
 * or QB_TOPO_NO_QUOTA; from <root>/proc/self/cgroup and <root>/sys/fs/cgroup. */
uint32_t qb_topo_quota(const char *root);

/* Whole CPUs of such a quota, at least 1. */
unsigned qb_topo_cpus_of(uint32_t quota_milli);

/* ---- what is known, and what is chosen: topo.c ----------------------------------------------- */

struct qb_topo_options {
    unsigned wanted;      /* the user's number of workers; 0: automatic */
    size_t jobs;          /* images */
    bool waits;           /* the workers mostly wait for the disk: see qb_topo_choose */
    unsigned cpus;        /* CPUs of the affinity; used if there is no topology */
    uint32_t quota_milli; /* as of qb_topo_quota */
    const char *allowed;  /* the CPUs of the affinity, as "0-3,8"; NULL: all */
    struct qb_disks disks;
};

enum { QB_TOPO_BIND_FROM = 8 }; /* workers: with fewer, the kernel's scheduler does as well */

enum qb_topo_bind {
    QB_TOPO_FREE,    /* the kernel places the workers */
    QB_TOPO_TO_NODE, /* each stays on its NUMA node, near the disk */
    QB_TOPO_TO_CORE, /* each stays on its core: the run may use all cores */
};

struct qb_topo_worker {
    int core, package; /* logical numbers, as of lstopo; -1: not known */
    int node;          /* the kernel's number, as of numactl; -1: not known */
    bool near;         /* on the node of a disk */
    char *cpus;        /* to be bound to; NULL: not bound */
};

struct qb_topo_cache {
    unsigned level, count;
    uint64_t bytes; /* of the largest */
};

/* All zero: nothing chosen. */
struct qb_topo_choice {
    unsigned packages, nodes, cores, cpus; /* of the machine; packages and nodes 0: not known */
    unsigned cores_allowed, cpus_allowed;
    char *allowed; /* the CPUs; NULL: not known */
    struct qb_topo_cache caches[5];
    unsigned n_caches;
    char *disk_nodes; /* the NUMA nodes of the disks, "0" or "0-1"; NULL: not known */
    enum qb_topo_bind bind;
    struct qb_topo_worker *workers;
    unsigned n_workers;    /* at least 1 */
    uint64_t window_bytes; /* see qb_io_window: a part of a worker's share of the last cache */
};

struct hwloc_topology;

/* One worker for each permitted core, limited by the quota and the number of images; the user's
 * number has precedence, up to the number of images.  Where they wait for the disk there are four
 * for each core, up to 16 or the number of cores: one that is far away, or turns, is asked for as
 * much at once.  The cores nearest to the disks come first.  `topology` may be NULL: then a CPU
 * counts as a core.  No I/O.  -1 when memory is short; *out is to be freed in either case. */
int qb_topo_choose(struct hwloc_topology *topology, const struct qb_topo_options *options,
                   struct qb_topo_choice *out);
void qb_topo_choice_free(struct qb_topo_choice *choice);

/* Plain text, for --topology: topo_print.c. */
void qb_topo_print(FILE *f, const struct qb_topo_options *options,
                   const struct qb_topo_choice *choice);

/* ---- this machine: topo_host.c --------------------------------------------------------------- */

/* NULL is one worker that is not bound, and no other thread: when memory is short. */
struct qb_topo;

/* Chooses for a batch.  For few images or few CPUs hwloc is not used. */
struct qb_topo *qb_topo_open(unsigned wanted, const struct qb_batch *batch);

/* The same for workers that read each of the images for itself and mostly wait for that. */
struct qb_topo *qb_topo_open_waiting(unsigned wanted, const struct qb_batch *batch);

/* Also unbinds the calling thread if qb_topo_bind has bound it. */
void qb_topo_close(struct qb_topo *topo);

unsigned qb_topo_workers(const struct qb_topo *topo);

/* The threads that may compute for a batch, however few its images: the user's number, or one for
 * each permitted core, limited by the quota. */
unsigned qb_topo_threads(const struct qb_topo *topo);

/* The threads that may wait for the kernel in addition (later.h); 0 where the user chose the number
 * of workers, and for a single image, which has nobody to wait beside. */
unsigned qb_topo_waiters(const struct qb_topo *topo);

uint64_t qb_topo_window(const struct qb_topo *topo); /* bytes; see qb_io_window */

/* Binds the calling thread as worker number `worker`.  Failures are ignored. */
void qb_topo_bind(const struct qb_topo *topo, unsigned worker);

/* Unbinds the calling thread if it was bound. */
void qb_topo_unbind(const struct qb_topo *topo);

/* Prints what is found and chosen for the batch; NULL: for any number of images in the current
 * directory.  -1 when memory is short. */
int qb_topo_show(FILE *f, unsigned wanted, const struct qb_batch *batch);

unsigned qb_topo_version(void); /* of hwloc: 0x20900 is 2.9.0 */

#endif
