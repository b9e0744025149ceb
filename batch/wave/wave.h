/* Runs a wave: images amended in step, so that hundreds of them share their barriers.
 *
 *     prepare (open, lock, order, plan), append | barrier | flip | barrier | finish (verify,
 * settle)
 *
 * Each phase is one parallel loop over the slots, in which a worker touches only the slot it was
 * given.  A slot that fails, or has nothing to do, skips the other phases; one that has nothing to
 * append flips at once and is done after the first barrier.  A barrier covers several waves, each
 * in its own phase.  A slot with more to do in another commit (`reclaim.compact`) is moved to the
 * wave that is prepared next, and goes through the phases again. */
#ifndef QB_WAVE_WAVE_H
#define QB_WAVE_WAVE_H

#include <sys/stat.h>

#include "amend/amend.h"
#include "backing/order.h"
#include "backing/data_guard.h"
#include "backing/shared_backing.h"
#include "backing/shrink_guard.h"
#include "io/budget.h"
#include "wave/run_options.h"
#include "wave/run_errands.h"
#include "journal/run_journal.h"

enum qb_step {
    QB_STEP_WAITS, /* not opened yet */
    QB_STEP_COLD,  /* opened; its header is not read, as it is not in the page cache */
    QB_STEP_OPENED,
    QB_STEP_PLANNED,  /* there is something to write */
    QB_STEP_APPENDED, /* and needs a barrier before its flip */
    QB_STEP_FLIPPED,  /* and needs a barrier before it is done */
    QB_STEP_FOUND,    /* as asked, by a write that may still need one */
    QB_STEP_SYNCED,   /* has had that barrier; flip_errno is its result */
    QB_STEP_SETTLES,  /* verified, and giving space back on a thread of its own */
    QB_STEP_AGAIN,    /* done, and more is to be done in another commit: goes into the next wave */
    QB_STEP_OVER,     /* the result is final */
    QB_STEP_NO_ROOM,  /* closed again, untouched: the plans of others use up the memory limit */
    QB_STEP_CROWDED,  /* closed again, untouched: the memory that others leave was not enough */
    QB_STEP_AFTER,    /* closed again, untouched: another job goes first */
};

struct qb_slot {
    size_t job;
    enum qb_step step;
    struct qb_amend *amend;  /* NULL while it waits and when memory was short */
    char *steps;             /* the plan for people, if requested */
    struct qb_need need;     /* with QB_STEP_AFTER */
    enum qb_verify verify;   /* at least; of the gate of a rollout */
    struct qb_request rq;    /* the job's request, with names computed by its rules */
    char *name;              /* owned: a name in it, or NULL */
    bool released;           /* its file is closed, and only the result is left */
    struct qb_loan *loan;    /* its backing file; may be NULL */
    dev_t dev;               /* of the file system; only with a limit for each of them */
    double busy_seconds;     /* spent on this image, not on its neighbours */
    struct qb_budget budget; /* up to its flip */
    double started;          /* when it was opened; 0: not yet */
    double longest_seconds;  /* the longest phase, and its worker */
    unsigned worker;
    struct qb_span spans[QB_SPAN_COUNT]; /* by qb_now(); of an image with several
                                            commits from the first on, and the sum of all */
    uint64_t memory;    /* its share of wave->memory, bytes: what it holds, or may take while it is
                           planned */
    bool wants_all;     /* with QB_STEP_CROWDED: see qb_queue_crowded */
    bool among_more;    /* its share was one among more threads than there are workers */
    bool within_budget; /* limits.per_image.memory, not the memory that is left, bounds its plan */
    struct qb_metered metered;
    uint64_t read_before; /* bytes read up to the end of planning */
    struct stat clone;    /* with backed_up: of the clone that policy.backup made */
    int append_errno;     /* of the barrier after its append */
    int flip_errno;       /* of the barrier after its flip, or of one that was found as asked */
    int record_errno;     /* of recording the plan, if it must be in the journal before the flip */
    struct stat last;     /* the file at the end, where that is of use; else all zeros */
    struct qb_seen seen;  /* the same, only with a journal */
    struct qb_digest as_found; /* only with a journal; after a failed verification */
    bool failed;               /* counted as such */
    struct qb_held *held;      /* with a relay, see relay.h; else NULL */
    bool again;                /* its first commit is done, with QB_STEP_AGAIN and from then on */
    bool crowded;              /* others leave too little memory to plan the next one, yet */
    uint64_t tried;            /* bytes that were not enough for that; 0: it was not tried */
    unsigned waits;            /* waves in which it has waited for memory */
};

/* In waves of up to this many images all headers are read back from the disk, for every `verify`:
 * with more, the time would be noticeable. */
enum { QB_WAVE_VERIFIED_FROM_DISK = 8 };

/* The number of failed images of the run, and the maximum: above it, untouched images stay
 * untouched (policy.max_failed, policy.on_error). */
struct qb_failures {
    atomic_size_t n;
    size_t most;     /* SIZE_MAX: any number */
    const char *why; /* that is the maximum; NULL: by the policy */
};

static inline bool qb_failures_are_too_many(struct qb_failures *failures)
{
    return atomic_load(&failures->n) > failures->most;
}

struct qb_wave {
    const struct qb_batch *batch;
    const struct qb_run_options *options;
    const struct qb_limits *limits; /* as they are now: they change between the phases only */
    struct qb_meter *meter;         /* may be NULL */
    struct qb_sched *sched;
    struct qb_graph *graph;
    struct qb_lender *lender;
    const struct qb_overlays *overlays; /* NULL: no image can shrink */
    struct qb_data_guard *data_guard;
    struct qb_owners *owners;
    const struct qb_run_errands *errands;
    const struct qb_queue *queue;
    uint64_t memory_limit;
    unsigned workers;
    atomic_bool *no_more; /* of the run: among more threads than these an image found too little */
    atomic_uint_fast64_t *memory; /* bytes that the images of all waves hold */
    struct qb_space *space;       /* of all waves: space that appends in progress may take */
    struct qb_failures *failures; /* of all waves */
    struct qb_slot *slots;
    size_t n;         /* 0: an empty wave, which has nothing to do in any phase */
    atomic_bool cold; /* while it is opened: some header was not in the page cache */
    unsigned number;  /* from 1, in the order in which waves are prepared */
};

/* The phases, each for all jobs of the wave (slots[i].job).  After the last one every slot is over,
 * is to go on in the next wave (QB_STEP_AGAIN), has no room, comes after another job, or still
 * waits because the run was stopped; in a dry run the append and the flip do nothing.  Finishing
 * closes the files.  If it returns true, some images still settle: the slots stay where they are,
 * and qb_wave_settled, which waits for that, is the last phase. */
void qb_wave_prepare(struct qb_wave *wave);
void qb_wave_append(struct qb_wave *wave);
void qb_wave_flip(struct qb_wave *wave);
bool qb_wave_finish(struct qb_wave *wave);
void qb_wave_settled(struct qb_wave *wave);

/* One barrier after everything that these waves appended and flipped.  A qb_aside_fn: arg is a
 * struct qb_wave_barrier.  Meanwhile neither wave may be in a phase. */
struct qb_wave_barrier {
    struct qb_wave *waves[2];
    struct qb_file *journal; /* to be made durable along with them, or NULL */
    int journal_errno;       /* result for the journal: 0 or an errno */
};
void qb_wave_barrier(void *arg, struct qb_io *io);

/* Whether some image or the journal needs this barrier. */
bool qb_wave_barrier_is_due(const struct qb_wave_barrier *barrier);

/* To be called when records of these images could not be written (errnum, if any): images that
 * require a record fail before their flip. */
void qb_wave_unrecorded(struct qb_wave *wave, int errnum);

/* The message for images that are left as they were because others failed. */
const char *qb_wave_why_no_more(const struct qb_batch *batch, const struct qb_failures *failures);

/* Closes what is left open in a slot and frees what it holds. */
void qb_wave_drop(struct qb_wave *wave, struct qb_slot *slot);

/* Readies the process for the waves of so many images (more than one), before it has a thread
 * beside its first: the table of open files gets its size (base/descriptors.h), and the C library's
 * heap is ready for the trims of several workers.  glibc sees to that at its first call and without
 * a lock, and where another malloc serves (a sanitizer's, a preloaded one) a trim is that call. */
void qb_waves_prepare(size_t images);

#endif
