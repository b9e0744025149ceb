/* Defines a batch, the result of reading a manifest or a command line: a list of jobs and how to
 * run them.
 *
 * manifest.c and o_option.c make it, run.c runs it.  The batch owns all its memory: each job its
 * path, and `blocks` the texts of the requests and the rules, which jobs from one entry of the
 * manifest share. */
#ifndef QB_JOB_JOB_H
#define QB_JOB_JOB_H

#include <sys/types.h>

#include "job/origin.h"
#include "job/rollout.h"
#include "job/sandboxed.h"
#include "base/vec.h"
#include "io/io.h"

enum qb_on_error { QB_ON_ERROR_CONTINUE, QB_ON_ERROR_STOP };
enum qb_on_locked { QB_ON_LOCKED_SKIP, QB_ON_LOCKED_FAIL, QB_ON_LOCKED_WAIT };

enum qb_ionice { QB_IONICE_KEEP, QB_IONICE_IDLE, QB_IONICE_BEST_EFFORT };
enum qb_backup { QB_BACKUP_NONE, QB_BACKUP_REFLINK };

/* `policy:` of the manifest.  on_dirty, on_leaks, allow_shrink, drop_bitmaps, verify and others are
 * in each job's request. */
struct qb_policy {
    enum qb_on_error on_error;
    enum qb_on_locked on_locked;
    enum qb_backup backup;
    enum qb_sync sync;
    double lock_timeout_seconds;        /* with wait; default 60 */
    struct qb_amount max_failed;        /* with more failures than this no image is started */
    struct qb_amount min_free;          /* bytes, or percent, of a file system; 0: none */
    struct qb_name_list extend_command; /* see host/child.h; owned by the batch; n = 0: none */
    uint64_t max_growth;                /* bytes by which an image may grow; UINT64_MAX: any */
    bool owner_need_not_read;           /* owner_must_read: off; see opener/named.h */
    struct qb_name_list roots;          /* see files/roots.h; owned by the batch; n = 0: anywhere */
    bool one_file_system;
    enum qb_sandbox sandbox;
};

/* What the policy permits images to name; `notes_places`: see opener/named.h.  Free it with
 * qb_owners_free; NULL with *err. */
struct qb_owners;
struct qb_owners *qb_policy_owners(const struct qb_policy *policy, bool notes_places,
                                   struct qb_err *err);

/* `limits:` of the manifest; 0 is "auto" or "none". */
/* What one image may cost; 0: what its files occupy decides (io/budget.h). */
struct qb_per_image {
    double cpu_seconds;
    uint64_t memory_bytes, append_bytes, report_bytes;
    unsigned descriptors;
};

struct qb_limits {
    unsigned jobs;
    unsigned jobs_per_filesystem;
    uint64_t memory_bytes;
    double timeout_seconds;  /* for each image */
    double deadline_seconds; /* for the run */
    uint64_t rate;           /* bytes written a second */
    uint64_t iops;           /* reads and writes a second */
    bool has_nice;
    int nice;
    enum qb_ionice ionice;
    int ionice_level;    /* 0 to 7, of best-effort */
    double load_percent; /* no new wave while the host waits more than this for I/O */
    uint64_t wave;       /* images under way at once; 0: as many as fit */
    uint64_t window;     /* the times at which waves start; see qb_window_is_open */
    struct qb_per_image per_image;
};

/* A part of the day, local time: from a minute, of 1440, to the one before another; past midnight
 * where that is the smaller one.  0: at any time. */
enum { QB_DAY_MINUTES = 24 * 60 };
static inline uint64_t qb_window_of(unsigned from, unsigned to)
{
    return 1 + (uint64_t)from * QB_DAY_MINUTES + to;
}
bool qb_window_is_open(uint64_t window, unsigned minute);

struct qb_rules;
struct qb_moves;
struct qb_planned;

struct qb_job {
    char *path;      /* as it will be opened; absolute, or relative to the current directory */
    size_t named_at; /* where in it the name begins that the manifest has */
    unsigned line;   /* of the manifest, 0 on the command line */
    uint32_t asks;   /* fingerprint of the request, for the journal; see run_journal.h */
    bool already;    /* the resumed run has done it: reported as unchanged, not opened */
    bool taken_back; /* the resumed run amended it, and a user undid that: skipped, not opened */
    bool mistrusted; /* the resumed run amended it, and verification failed: failed again, not
                        opened */
    const struct qb_err *chain_fault; /* why the chain of its entry is not known: fails; or NULL */
    bool undo_kept;     /* the resumed run amended it by another request, and keeps its undo: not
                           amended again */
    bool clone_stays;   /* a clone that an earlier attempt of the run made of it is from before the
                           run's first write, so no other one takes its place; and it may lack */
    bool clone_written; /* what is at its name was written, or put there, by somebody else */
    bool clone_behind;  /* what a guest has written since */
    bool skipped;       /* by qbatch ctl, in an earlier attempt of the run: not opened */
    bool settled; /* it has its result by a process of this run that died since: see relay.h */
    unsigned char suspect; /* such a process held it: of enum qb_suspect */
    bool was_changed;      /* an earlier attempt of the run has changed it, by its journal; */
    bool may_be_changed;   /* may have, and no result says so */
    unsigned step;         /* of the rollout, from 1, in which that was; 0: none */
    uint64_t size_added;   /* bytes that the manifest adds to the size; 0: none */
    uint64_t
        abandoned_from; /* an interrupted run appended from this byte of the file on; 0: none did */
    const uint8_t *header; /* 512 bytes that an earlier run may have made of a raw disk's first
                              sector; of the batch; NULL: none did */
    bool cuts_data; /* an interrupted run may not have cut the external data file, after a shrink */
    dev_t dev;      /* the file at the path when the manifest was read; ino 0: not looked up */
    ino_t ino;
    struct qb_request request;        /* its strings are owned by the batch */
    const struct qb_rules *rules;     /* see rules.h; NULL: none; owned by the batch */
    const struct qb_planned *planned; /* by a saved plan, see planned.h; NULL: no such; as rules */
};

/* A directory, or a pattern, that `graph: {scan: ...}` names; text is relative to folder, which is
 * not a pattern. */
struct qb_scan_root {
    const char *folder, *text;
};

/* A part of a manifest, see manifest/outline.h. */
struct qb_outlined {
    const char *name;
    unsigned line;
    uint64_t digest;
};

struct qb_batch {
    char *name;                 /* for the report */
    char *manifest_path;        /* NULL on the command line */
    char *folder, *real_folder; /* see qb_job_name; NULL: not looked up */
    char manifest_print[24];    /* fingerprint of its text */
    bool undo_kept;             /* replaced clusters are kept, for an undo of the run */
    char run_id[32];            /* of the run's journal; "": there is none */
    char *state_dir;            /* of the journal, unless it is the default one */
    char *typed;        /* the command line, quoted for a shell, without options that name a run */
    char backup_id[32]; /* see backup.h */
    struct qb_origin origin; /* of the run */
    uint64_t ages_from; /* seconds since 1970: when the run began, for `snapshots.older_than`; a
                           resumed run counts as the one that it resumes */
    struct qb_policy policy;
    struct qb_limits limits;
    struct qb_rollout rollout;
    struct qb_rollout_past past; /* with a rollout */
    struct qb_job *jobs;
    size_t n_jobs, cap_jobs;
    struct qb_job *others; /* what the manifest names for other shards: not amended by this run, */
    size_t n_others;       /* but known where images depend on each other */
    QB_VEC(struct qb_outlined) outline; /* of the manifest; its names are among `blocks` */
    QB_VEC(char *) blocks;              /* of memory: strings, rules */
    QB_VEC(struct qb_moves *) moves;
    QB_VEC(struct qb_scan_root) scan; /* its strings are among these */
    struct qb_deadly
        *deadly; /* headers that end processes (backing/deadly.h); not owned; or NULL */
    const struct qb_opener *opener; /* who looks at paths in a process that sees none
                                       (opener/look.h); not owned; NULL: this process does */
};

/* Makes an empty batch with the default policy and limits. */
void qb_batch_init(struct qb_batch *batch);
void qb_batch_free(struct qb_batch *batch); /* everything in it; not the struct itself */

/* Makes a request that changes nothing, with the defaults of all settings for planning. */
void qb_request_init(struct qb_request *request);

/* Zeroed memory that is freed with the batch; NULL when memory is short. */
void *qb_batch_block(struct qb_batch *batch, size_t size);

/* Rewrites of backing names (backing_rewrite.h) that are freed with the batch. */
struct qb_moves *qb_batch_new_moves(struct qb_batch *batch);

/* A copy of `len` bytes and a NUL that is freed with the batch; NULL when memory is short. */
const char *qb_batch_keep(struct qb_batch *batch, const char *text, size_t len);

/* Leaves only the jobs with keep[i] in the batch; the rest become `others`.  false when memory is
 * short: it is then as it was. */
bool qb_batch_keep_only(struct qb_batch *batch, const bool *keep);

/* Appends a job with a copy of path; false when memory is short. */
bool qb_batch_add(struct qb_batch *batch, const char *path, unsigned line,
                  const struct qb_request *request);

/* The path of a scan root, malloc'ed; NULL when memory is short. */
char *qb_scan_path(const struct qb_scan_root *root);

/* The bytes that policy.min_free reserves on a file system of `total` bytes. */
uint64_t qb_min_free(const struct qb_policy *policy, uint64_t total);

/* The path of the clone that policy.backup makes of a job's image (backup.h), malloc'ed; NULL when
 * memory is short. */
char *qb_backup_path(const struct qb_batch *batch, const struct qb_job *job);

#endif
