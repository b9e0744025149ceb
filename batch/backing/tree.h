/* Reads the family of a batch: its images, the files of their backing chains, and the results of a
 * scan of directories, each file once (by device and inode), with its backing file.
 *
 * A file that is only known because headers name it is read on behalf of their owners
 * (opener/named.h), and only if one of them declares it as qcow2 or not at all: a file that all of
 * them declare to be of another format is not read.
 *
 * Only headers are read, without locks: the result may be out of date at once, and no decision
 * relies on it that an amend does not check again under its own lock. */
#ifndef QB_BACKING_TREE_H
#define QB_BACKING_TREE_H

#include "base/index.h"
#include "job/job.h"
#include "backing/ready_queue.h"
#include "backing/scan.h"
#include "host/sched.h"

#define QB_NO_MEMBER SIZE_MAX

enum qb_member_kind {
    QB_MEMBER_QCOW2,
    QB_MEMBER_OTHER,      /* its first bytes are not qcow2's, or were not read */
    QB_MEMBER_MISSING,    /* there is no such file */
    QB_MEMBER_UNREADABLE, /* it exists; `why` has the reason */
};

struct qb_member {
    char *path; /* the first path by which it was found */
    char *
        other_path; /* another path, in another directory or with another last component; or NULL */
    dev_t dev;
    ino_t ino; /* 0 when missing */
    uid_t uid; /* its owner and group */
    gid_t gid;
    unsigned links; /* hard links */
    bool declared; /* all headers that name it declare another format than qcow2; its bytes were not
                      read */
    size_t job;    /* of the batch, or QB_NO_JOB */
    const struct qb_job *asked; /* that job, or one of another shard; NULL: neither */
    bool scanned;               /* the scan found it, and the manifest does not name it */
    size_t after;    /* the job's member that goes first (see qb_family_order), or QB_NO_MEMBER */
    bool after_must; /* see qb_need.must */
    enum qb_member_kind kind;
    bool dark;                /* unreadable, and not even the name of its backing file is known */
    enum qb_code code;        /* when it is missing or unreadable */
    char *why;                /* when it is missing or unreadable */
    unsigned version;         /* qcow2 only */
    uint64_t virtual_size;    /* bytes; of another file its length */
    char *backing_name;       /* as the header has it, also one that cannot be read as a whole
                                 (image/glimpse.h); NULL: none */
    char *data_name;          /* of its external data file, as the header has it; NULL: none */
    char backing_fmt[64];     /* as the header, or a json: name in it, declares; "": none */
    size_t base;              /* its backing file; QB_NO_MEMBER: none, or not a local file */
    size_t first_overlay;     /* its first overlay, or QB_NO_MEMBER */
    size_t next;              /* the next overlay of the same base */
    size_t n_overlays;        /* direct overlays */
    unsigned depth;           /* backing files below it; undefined above a loop */
    bool in_loop, above_loop; /* the latter: its chain leads into a loop */
};

struct qb_family {
    QB_VEC(struct qb_member) members; /* jobs in their order, then scanned files, then the rest */
    struct qb_index by_file;          /* of those that exist */
    qb_paths unknown;                 /* what a scan could not read: a sentence each */
};

/* Reads the headers of all jobs, of what batch->scan names, and of everything below them.  To be
 * called between the loops of the sched.  `stopped` (may be NULL) ends it early: what is not read
 * yet is then left out, and `unknown` says so.  -1 when memory is short; free it either way. */
int qb_family_read(const struct qb_batch *batch, struct qb_sched *sched, bool (*stopped)(void),
                   struct qb_family *out, struct qb_err *err);
void qb_family_free(struct qb_family *family);

/* The member that is this file, or QB_NO_MEMBER. */
size_t qb_family_find(const struct qb_family *family, dev_t dev, ino_t ino);

/* The last step of it: fills overlays, depth, in_loop and above_loop from `base`. */
void qb_family_relate(struct qb_family *family);

/* Fills `after` of the jobs' members: what order.h would have them wait for at the start of a run.
 * To be called between the loops. */
int qb_family_order(struct qb_family *family, const struct qb_batch *batch, struct qb_sched *sched,
                    struct qb_err *err);

#endif
