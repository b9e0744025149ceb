/* The family of a batch: its images, the files of their backing chains, and what a scan of folders
 * found, each file once (by device and inode), with the file that it stands on.
 *
 * A file that is only known because headers name it is read on behalf of their owners (io/named.h),
 * and only where one of them takes it for qcow2: what all of them declare to be of another format
 * is not looked at.
 *
 * Only headers are read, without locks: what is told here may be out of date a moment later, and
 * decides nothing that an amend does not look at again under its own lock. */
#ifndef QB_BACKING_TREE_H
#define QB_BACKING_TREE_H

#include "job/job.h"
#include "backing/ready_queue.h"
#include "backing/scan.h"
#include "host/sched.h"

#define QB_NO_MEMBER SIZE_MAX

enum qb_member_kind {
    QB_MEMBER_QCOW2,
    QB_MEMBER_OTHER,      /* its first bytes are not qcow2's, or not for us to look at */
    QB_MEMBER_MISSING,    /* there is no such file */
    QB_MEMBER_UNREADABLE, /* there is, and `why` says what is the matter */
};

struct qb_member {
    char *path;       /* that it was met under first */
    char *other_path; /* another one, in another folder or with another last component; or NULL */
    dev_t dev;
    ino_t ino; /* 0 when missing */
    uid_t uid; /* its owner and group */
    gid_t gid;
    unsigned links;  /* names that the file system knows */
    bool declared;   /* to be no qcow2 image, by all that name it; its bytes were not read */
    size_t job;      /* of the batch, or QB_NO_JOB */
    bool scanned;    /* the scan found it, and the manifest does not name it */
    size_t after;    /* the job's member that goes first (see qb_family_order), or QB_NO_MEMBER */
    bool after_must; /* see qb_need.must */
    enum qb_member_kind kind;
    enum qb_code code;        /* when it is missing or unreadable */
    char *why;                /* likewise */
    unsigned version;         /* qcow2 only */
    uint64_t virtual_size;    /* bytes; of another file its length */
    char *backing_name;       /* as the header has it; NULL: none */
    char backing_fmt[64];     /* "" when the header names none */
    size_t base;              /* that it stands on; QB_NO_MEMBER: none, or not a local file */
    size_t first_overlay;     /* that stands on it, or QB_NO_MEMBER */
    size_t next;              /* the next one that stands on the same base */
    size_t n_overlays;        /* that stand on it directly */
    unsigned depth;           /* files below it; without meaning above a loop */
    bool in_loop, above_loop; /* the latter: its chain leads into a loop */
};

struct qb_family {
    QB_VEC(struct qb_member) members; /* jobs in their order, then scanned files, then the rest */
    uint32_t *table;                  /* hash of device and inode: member + 1, 0 is empty */
    size_t mask;
    qb_paths unknown; /* what a scan could not look at: a sentence each */
};

/* Reads the headers of all jobs, of what batch->scan names, and of everything below them.  To be
 * called between the loops of the sched.  `stopped` (may be NULL) ends it early: what is not read
 * yet is then left out, and `unknown` says so.  -1 when memory is short; free it either way. */
int qb_family_read(const struct qb_batch *batch, struct qb_sched *sched, bool (*stopped)(void),
                   struct qb_family *out, struct qb_err *err);
void qb_family_free(struct qb_family *family);

/* The last step of it: fills overlays, depth, in_loop and above_loop from `base`. */
void qb_family_relate(struct qb_family *family);

/* Fills `after` of the jobs' members: what order.h would have them wait for at the start of a run.
 * To be called between the loops. */
int qb_family_order(struct qb_family *family, const struct qb_batch *batch, struct qb_sched *sched,
                    struct qb_err *err);

#endif
