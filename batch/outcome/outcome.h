/* Collects the results of a run, independent of how they are shown: the counts, the exit code, and
 * for each image the list of changes. */
#ifndef QB_OUTCOME_OUTCOME_H
#define QB_OUTCOME_OUTCOME_H

#include "outcome/orders.h"
#include "job/rollout.h"
#include "util/exit_code.h"
#include "qbatch.h"

/* The phases of an image, in their order. */
enum qb_span_kind {
    QB_SPAN_OPEN,
    QB_SPAN_PLAN,
    QB_SPAN_WRITE,  /* the append; if nothing is appended, also the flip */
    QB_SPAN_SYNC,   /* the barrier after the append, shared with other images */
    QB_SPAN_COMMIT, /* the barrier after the flip, shared with other images */
    QB_SPAN_VERIFY,
    QB_SPAN_COUNT
};

extern const char *const qb_span_names[QB_SPAN_COUNT]; /* "open": for programs */

struct qb_span {
    double started_seconds; /* since the run began */
    double seconds;         /* 0: the image had no such phase */
    unsigned worker;        /* counted from 0; 0 for a barrier */
};

static inline bool qb_span_is_barrier(enum qb_span_kind kind)
{
    return kind == QB_SPAN_SYNC || kind == QB_SPAN_COMMIT;
}

/* What is read of a timing (a report, another process) is 0 if it is not below these: pages draw by
 * it. */
enum { QB_TIMING_NUMBERS = 1 << 24, QB_TIMING_SECONDS = 1000000000 };

/* When and where an image was worked on. */
struct qb_timing {
    double started_seconds; /* since the run began, when it was opened (the last time) */
    double seconds;         /* that workers spent on it, without waits for its wave */
    double wait_seconds;    /* that its barriers took, which it shares with its wave */
    unsigned wave; /* counted from 1; 0: it was in no wave, and the other members have no meaning */
    unsigned worker; /* the one with the longest part, counted from 0 */
    struct qb_span spans[QB_SPAN_COUNT];
};

/* When the last of its spans ended, in seconds since the run began. */
double qb_timing_end(const struct qb_timing *timing);

/* What reports have of an image, as texts: made by any worker, written later by one thread. */
enum { QB_COMPOSED_MAX = 8 };
struct qb_composed {
    char *texts[QB_COMPOSED_MAX]; /* owned; NULL: not made */
    size_t lens[QB_COMPOSED_MAX]; /* bytes */
};

/* The result of one image.  It owns its steps, its texts and what its result points to; the last
 * holder calls qb_outcome_clear. */
struct qb_outcome {
    struct qb_result result;
    struct qb_timing timing;
    enum qb_verify verify;        /* at least, by the gate of a rollout */
    unsigned step;                /* of the rollout that drew it, from 1; 0: none */
    struct qb_composed *composed; /* NULL: nothing was made beforehand */
    char *steps; /* the plan for people, a line for each step; NULL if not requested, or nothing was
                    planned */
};

/* Sets the error of an image; the status is unchanged. */
void qb_outcome_fail(struct qb_outcome *outcome, enum qb_code code, const char *text);

void qb_outcome_clear(struct qb_outcome *outcome);

enum { QB_STATUS_COUNT = QB_STATUS_INTERRUPTED + 1 };

extern const char *const qb_status_names[QB_STATUS_COUNT]; /* "would_change" */
extern const char *const qb_status_words[QB_STATUS_COUNT]; /* "would change" */

struct qb_summary {
    uint64_t images;
    uint64_t by_status[QB_STATUS_COUNT];
    uint64_t not_meant;           /* of those skipped: by the `when` of their entry */
    uint64_t mistrusted;          /* of those that failed: amended, and not what was planned */
    uint64_t by_code[QB_E_COUNT]; /* errors, for any status */
    uint64_t leaked_clusters;     /* found in images, kept or freed */
    uint64_t leaked_bytes;        /* of these clusters */
    uint64_t undone;              /* of those skipped: reverted by an undo */
    int journal_errno;            /* the error of the journal; 0: none */
    const char *
        journal_lost; /* with an error: what can no longer be relied on; valid as long as the run */
    const char *finish; /* the command that finishes the remaining images; NULL: none */
    bool adds_twice;    /* images remain, and running again would add to sizes twice */
    double started;     /* seconds since 1970; 0: not known */
    double seconds;     /* wall clock of the whole run */
    struct qb_io_stats io;
    bool dry_run;
    struct qb_rollout_sum rollout;
    const struct qb_sandboxed *sandboxed; /* NULL: not known */
    qb_orders orders;                     /* what people asked of it */
    double
        rate_seconds; /* of a dry run: seconds that its writes take at limits.rate; 0: no limit */
};

void qb_summary_add(struct qb_summary *sum, const struct qb_result *result);

/* 5 when a verification failed, before all others; 0 every image has the requested properties, 1
 * some failed, or the journal or a step of the rollout did, 3 some skipped, 75 interrupted; 4 when
 * a rollout waits for an answer, or `detailed` and the dry run found changes to make. */
int qb_summary_exit_code(const struct qb_summary *sum, bool detailed);

/* ---- what changed ---------------------------------------------------------------------------- */

enum qb_value_kind { QB_VALUE_NONE, QB_VALUE_TEXT, QB_VALUE_NUMBER, QB_VALUE_BYTES, QB_VALUE_BOOL };

struct qb_value {
    enum qb_value_kind kind;
    uint64_t number;  /* also 0 and 1 for a bool */
    const char *text; /* valid as long as the result */
};

struct qb_change {
    const char *key; /* the amend key */
    struct qb_value from, to;
};

/* Whether it is a raw disk, which has a format and a size, and none of the other properties. */
bool qb_is_raw(const struct qb_info *info);

/* The image's value of an amend key; QB_VALUE_NONE if reports do not show it. */
struct qb_key_row;
struct qb_value qb_shown(const struct qb_key_row *key, const struct qb_info *info);

enum { QB_CHANGES_MAX = 24 };

/* What the amend changed or would change, in a fixed order; returns how many. */
size_t qb_report_changes(const struct qb_result *result, struct qb_change out[QB_CHANGES_MAX]);

/* "removed", "renamed", ...: by the bits of enum qb_bitmap_change, up to NULL. */
extern const char *const qb_bitmap_change_names[];

/* What else users should know about an image that changes. */
enum qb_note {
    QB_NOTE_CONVERTED,
    QB_NOTE_REPAIRED,
    QB_NOTE_REFCOUNTS_RAISED,
    QB_NOTE_FLAGS_CORRECTED,
    QB_NOTE_MARK_CLEARED,
    QB_NOTE_SNAPSHOTS_DELETED,
    QB_NOTE_BITMAPS_CHANGED,
    QB_NOTE_RECLAIMED,
    QB_NOTE_NOT_RECLAIMED,
    QB_NOTE_LEAKS_KEPT,
    QB_NOTE_LEAKS_FREED,
    QB_NOTE_BACKING_UNCHECKED,
    QB_NOTE_DATA_FILE_UNCHECKED,
    QB_NOTE_BITMAPS_DROPPED,
    QB_NOTE_DEVICE_EXTENDED,
    QB_NOTE_WITHOUT_LOCKS,
    QB_NOTE_WRITERS_UNSEEN,
    QB_NOTE_OTHER_NAMES,
    QB_NOTE_COUNT
};

enum { QB_NOTE_ROOM = 160 };

/* A bit, 1 << note, for each that applies to the image. */
unsigned qb_note_bits(const struct qb_result *result);

/* The note as a sentence, which may use the buffer `room`; NULL if it does not apply to the image.
 */
const char *qb_note_text(const struct qb_result *result, enum qb_note note,
                         char room[QB_NOTE_ROOM]);

/* The notes that apply, one at a time: i = 0, 1, ... until NULL. */
const char *qb_report_note(const struct qb_result *result, unsigned i, char room[QB_NOTE_ROOM]);

#endif
