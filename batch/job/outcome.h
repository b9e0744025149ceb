/* What a run comes to, independent of how it is shown: the counts, the exit code, and for each
 * image the list of what changed.  json.c and table.c are its two readers. */
#ifndef QB_JOB_OUTCOME_H
#define QB_JOB_OUTCOME_H

#include "util/exit_code.h"
#include "qbatch.h"

/* What is done with an image, one after the other. */
enum qb_span_kind {
    QB_SPAN_OPEN,
    QB_SPAN_PLAN,
    QB_SPAN_WRITE,  /* its append; where nothing is appended, also its flip */
    QB_SPAN_SYNC,   /* the barrier behind the append, which it shares with others */
    QB_SPAN_COMMIT, /* likewise behind the flip */
    QB_SPAN_VERIFY,
    QB_SPAN_COUNT
};

extern const char *const qb_span_names[QB_SPAN_COUNT]; /* "open": for programs */

struct qb_span {
    double started_seconds; /* since the run began */
    double seconds;         /* 0: there was none */
    unsigned worker;        /* counted from 0; of a barrier 0 */
};

static inline bool qb_span_is_barrier(enum qb_span_kind kind)
{
    return kind == QB_SPAN_SYNC || kind == QB_SPAN_COMMIT;
}

/* When and where an image was worked on. */
struct qb_timing {
    double started_seconds; /* since the run began, when it was opened (the last time) */
    double seconds;         /* that workers had it in hand, without waits for its wave */
    double wait_seconds;    /* that barriers behind it took, which it shares with its wave */
    unsigned wave;          /* counted from 1; 0: none took it, and the rest says nothing */
    unsigned worker;        /* the one that had the longest part of it, counted from 0 */
    struct qb_span spans[QB_SPAN_COUNT];
};

/* When the last of its spans ended, in seconds since the run began. */
double qb_timing_end(const struct qb_timing *timing);

/* What became of one image.  It owns its steps and what its result points to; whoever has it last
 * calls qb_outcome_clear. */
struct qb_outcome {
    struct qb_result result;
    struct qb_timing timing;
    char *
        steps; /* the plan in words, a line a step; NULL when nobody asked or nothing was planned */
};

/* Why nothing came of an image; the status stays as it is. */
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
    uint64_t by_code[QB_E_COUNT]; /* errors, whatever the status */
    uint64_t leaked_clusters;     /* found in images, whatever was done about them */
    uint64_t leaked_bytes;        /* of these clusters */
    uint64_t undone;              /* of those skipped: taken back by an undo */
    int journal_errno;            /* what the journal failed with */
    const char *journal_lost;     /* with it: what no longer holds; lives as long as the run */
    const char *finish;           /* the command that finishes what is left; NULL: none */
    bool adds_twice; /* something is left, and running again would add to sizes twice */
    double started;  /* seconds since 1970; 0: not known */
    double seconds;  /* wall clock of the whole run */
    struct qb_io_stats io;
    bool dry_run;
    double rate_seconds; /* of a dry run: what its writes take at limits.rate; 0: not told */
};

void qb_summary_add(struct qb_summary *sum, const struct qb_result *result);

/* That over all else; 0 every image as wanted, 1 some failed or the journal did, 3 some skipped, 75
 * interrupted; 4 when `detailed` and the dry run found changes to make. */
int qb_summary_exit_code(const struct qb_summary *sum, bool detailed);

/* ---- what changed ---------------------------------------------------------------------------- */

enum qb_value_kind { QB_VALUE_NONE, QB_VALUE_TEXT, QB_VALUE_NUMBER, QB_VALUE_BYTES, QB_VALUE_BOOL };

struct qb_value {
    enum qb_value_kind kind;
    uint64_t number;  /* also 0 and 1 for a bool */
    const char *text; /* lives as long as the result */
};

struct qb_change {
    const char *key; /* the amend key */
    struct qb_value from, to;
};

/* What an image has of what an amend key changes; QB_VALUE_NONE where that is not shown. */
struct qb_key_row;
struct qb_value qb_shown(const struct qb_key_row *key, const struct qb_info *info);

enum { QB_CHANGES_MAX = 24 };

/* What the amend changed or would change, in a fixed order; returns how many. */
size_t qb_report_changes(const struct qb_result *result, struct qb_change out[QB_CHANGES_MAX]);

/* Whatever else a person should know about an image that changes. */
enum qb_note {
    QB_NOTE_REPAIRED,
    QB_NOTE_LEAKS_KEPT,
    QB_NOTE_LEAKS_FREED,
    QB_NOTE_BACKING_UNCHECKED,
    QB_NOTE_BITMAPS_DROPPED,
    QB_NOTE_WITHOUT_LOCKS,
    QB_NOTE_WRITERS_UNSEEN,
    QB_NOTE_COUNT
};

enum { QB_NOTE_ROOM = 160 };

/* The note as a sentence, which may be in `room`; NULL where it does not apply to the image. */
const char *qb_note_text(const struct qb_result *result, enum qb_note note,
                         char room[QB_NOTE_ROOM]);

/* Those that apply, one at a time: i = 0, 1, ... until NULL. */
const char *qb_report_note(const struct qb_result *result, unsigned i, char room[QB_NOTE_ROOM]);

#endif
