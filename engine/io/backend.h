/* Declares the interface between io.c and the back ends (ring.c, posix.c, and mem.c of the tests);
 * no other file includes it. */
#ifndef QB_IO_BACKEND_H
#define QB_IO_BACKEND_H

#include <errno.h>

#include "io/crew.h"
#include "files/mounts.h"

struct qb_io_ops {
    const char *name;

    /* Carries out every request that is not void (below) and sets its `error`.  The guard has
     * permitted them, offset + len fits an off_t, and a size is never set on a block device. */
    void (*run)(struct qb_io *io, struct qb_req *reqs, size_t n);

    /* The same for reads, from any thread.  NULL: one thread at a time reads. */
    void (*run_part)(struct qb_io *io, struct qb_req *reqs, size_t n);

    /* A barrier over everything written through this back end: 0, or an errno that applies to every
     * file.  NULL: barrier.c does it with system calls. */
    int (*barrier)(struct qb_io *io);

    void (*close)(struct qb_io *io);
};

/* The first member of every back end's own struct. */
struct qb_io {
    const struct qb_io_ops *ops;
    uint64_t window;  /* bytes; 0: the default */
    qb_stop_fn *stop; /* NULL: never */
    void *stop_arg;
    struct qb_pace *pace;           /* NULL: no limit */
    struct qb_owners *owners;       /* NULL: owners are checked, and nothing is cached */
    struct qb_budget *budget;       /* NULL: any cost */
    const struct qb_crew *crew;     /* NULL: nobody */
    const struct qb_opener *opener; /* NULL: files are opened here; see opener.h */
    qb_open_direct_fn *open_direct;
    uint64_t limit; /* of qb_file_limit, for all files */
    bool limit_known;
    bool has_phases; /* qb_io_begin_phase was called */
    bool spared;     /* qb_io_spare_signals was called */
    struct qb_mounts mounts;
};

/* Both return 0 or an errno. */
int qb_ring_open(struct qb_io **out);
int qb_ring_features(unsigned *features); /* 0, or the errno with which creating a ring failed */
int qb_posix_open(struct qb_io **out);

/* qb_io_ops.run of the posix back end. */
void qb_posix_run(struct qb_io *io, struct qb_req *reqs, size_t n);
/* Notes RLIMIT_FSIZE in the file, for qb_file_limit; each worker asks for it once. */
void qb_io_know_limit(struct qb_io *io, struct qb_file *file);

/* Whether a barrier with QB_SYNC_FS over this file covers its whole file system. */
bool qb_barrier_covers_fs(const struct qb_file *file);

/* Carries out one request with plain system calls, its first `done` bytes having been transferred
 * already: 0 or an errno. */
int qb_posix_do(const struct qb_req *req, uint64_t done);

/* Writes zeros to the whole pages [left->first, left->end) through a descriptor for direct writes:
 * 0 or an errno.  *left is shortened by what is certainly written. */
typedef int qb_fill_fn(void *arg, int fd, struct qb_range *left);

#define QB_FILL_DIRECT_FROM                                                                        \
    (4u << 20) /* bytes: below this, opening a second descriptor does not pay */

/* Carries out a QB_OP_FILL, its long middle part with `how` where the file supports direct writes:
 * 0 or an errno. */
int qb_fill(const struct qb_req *req, qb_fill_fn *how, void *arg);

/* A qb_fill_fn with plain system calls; needs no argument. */
int qb_fill_direct(void *unused, int fd, struct qb_range *left);

/* QB_ZEROS_BYTES of zeros, aligned to a page, never freed. */
#define QB_ZEROS_BYTES (1u << 20)
const void *qb_zeros(void);

/* Whether the request was refused before it began, or is empty. */
static inline bool qb_req_is_void(const struct qb_req *req)
{
    return req->error != 0 || (req->len == 0 && req->op != QB_OP_SET_SIZE && req->op != QB_OP_SYNC);
}

/* The errno to report for one from the kernel.  A medium error may come as ENODATA, which here
 * means a file that ends too early. */
static inline int qb_kernel_errno(int errnum)
{
    return errnum == ENODATA ? EIO : errnum;
}

/* The most that one system call transfers, bytes: the kernel stops below 2 GiB anyway. */
#define QB_TRANSFER_MAX ((uint64_t)1 << 30)

#endif
