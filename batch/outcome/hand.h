/* Declares what people ask of a run in progress, and what they may know of it: values that one
 * thread sets and the other reads (batch/ctl serves the requests, batch/run acts on them).
 *
 * Every request that changed something is an act, which is recorded: acts are appended by the
 * serving thread only, and those before `n_acts` never change.
 *
 * An image is skipped only before it is begun.  Both threads claim it for that, and whoever comes
 * first has it. */
#ifndef QB_OUTCOME_HAND_H
#define QB_OUTCOME_HAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "io/pace.h"

enum {
    QB_ACTS_MAX = 250,
    QB_ACTS_KEPT = 4, /* of these, for stop and continue, so that they are never one too many */
    QB_ACT_WHO = 80,  /* bytes with the NUL */
    QB_ACT_WHAT = 80,
    QB_ACT_PRINT = 24,
};

struct qb_key_row;

struct qb_act {
    double at;                    /* seconds since 1970 */
    uid_t uid;                    /* of the process that asked, by the kernel's account */
    char who[QB_ACT_WHO];         /* as that process calls its user */
    char what[QB_ACT_WHAT];       /* "pause", "limits rate=50M" */
    const struct qb_key_row *key; /* of `limits`: its value is in `what` */
    size_t image;                 /* of `skip`: 1 + the job; 0: none */
    char print[QB_ACT_PRINT];     /* of `reload`: the fingerprint of the manifest as it is now */
};

enum qb_hand_claim { QB_HAND_FREE, QB_HAND_BEGUN, QB_HAND_SKIPPED, QB_HAND_OVER };

struct qb_hand {
    bool served;        /* somebody may ask: what follows is in use */
    atomic_bool paused; /* no wave is started */
    atomic_bool ends;   /* no wave is started any more, and the run ends */
    struct qb_pace pace;
    atomic_uchar *claims; /* of each job */
    atomic_size_t n_acts;
    struct qb_act acts[QB_ACTS_MAX];

    /* What the run publishes. */
    atomic_size_t heeded;            /* acts that are recorded */
    atomic_uint waves;               /* begun so far */
    atomic_size_t under_way;         /* images of waves in progress */
    atomic_bool rests;               /* it has seen `paused`, and no image is in progress */
    _Atomic(const char *) waits_for; /* "limits.window"; NULL: for nothing */
};

/* Before the first thread asks: a run of `n_jobs` with these limits.  false when memory is short.
 * Zeroed, it is one that nobody asks. */
struct qb_limits;
bool qb_hand_open(struct qb_hand *hand, size_t n_jobs, const struct qb_limits *limits);
void qb_hand_close(struct qb_hand *hand);

/* The same in memory that processes share: NULL when memory is short.  One of them serves it, and
 * may die; before another one does, and before its acts are read, what it left is mended, whatever
 * it is.  Its pace is to be made anew. */
struct qb_hand *qb_hand_share(size_t n_jobs, const struct qb_limits *limits);
void qb_hand_unshare(struct qb_hand *hand, size_t n_jobs);
void qb_hand_mend(struct qb_hand *hand, size_t n_jobs);

/* Appends an act.  false: there are too many; `must` takes one of those that are kept free. */
bool qb_hand_note(struct qb_hand *hand, const struct qb_act *act, bool must);

/* Whether there is room for as many more. */
bool qb_hand_has_room(const struct qb_hand *hand, size_t n);

/* By the run, whose hand may be NULL: the image is begun; false: it was skipped.  It is put off,
 * untouched, and may be skipped again.  It has its result. */
bool qb_hand_begins(struct qb_hand *hand, size_t job);
void qb_hand_puts_off(struct qb_hand *hand, size_t job);
void qb_hand_is_over(struct qb_hand *hand, size_t job);

/* By whoever asks: the image is skipped, if this returns QB_HAND_FREE; else why it cannot be. */
enum qb_hand_claim qb_hand_skip(struct qb_hand *hand, size_t job);

#endif
