/* The answer of a check about one image: its findings, and how programs read it. */
#ifndef QB_RECORD_CHECKED_H
#define QB_RECORD_CHECKED_H

#include <stdio.h>

#include "amend/check_image.h"
#include "check/defects.h"

/* Findings with the same text, at evenly spaced offsets. */
struct qb_finding {
    enum qb_defect defect;
    enum qb_found_kind kind;
    uint64_t guest_offset, guest_bytes;
    uint64_t offset, last; /* the first and the last of them, or QB_NOWHERE */
    uint64_t step;         /* the distance; 0 where n is 1 */
    uint64_t n;            /* 0: this is none */
    char *text;
};

/* What is wrong with an image, the worst first. */
enum qb_verdict {
    QB_VERDICT_CORRUPT,
    QB_VERDICT_UNCHECKED, /* it, or its data file, could not be opened or read */
    QB_VERDICT_LEAKS,
    QB_VERDICT_CLEAN,
    QB_VERDICT_COUNT
};

extern const char *const qb_verdict_names[QB_VERDICT_COUNT]; /* for programs */

struct qb_checked {
    const char *path;
    size_t job;     /* of the batch */
    double started; /* seconds since 1970 */
    enum qb_check_level level;
    bool without_locks;
    bool counted;   /* false: result->err says why not */
    double seconds; /* that the check took */
    const struct qb_check_result *result;
    size_t most, most_in_all;    /* findings that are kept: of a code, and of all */
    size_t shown;                /* of a code, printed */
    uint64_t bytes_most, bytes;  /* of what is kept, in a report; 0: any */
    struct qb_finding *findings; /* the first of them, in the order in which they were met */
    size_t n_findings, room;
    size_t kept[QB_DEFECT_COUNT];         /* of each code */
    uint64_t of_code[QB_DEFECT_COUNT];    /* how many there are */
    uint64_t guest_bytes;                 /* that may be lost, by all signs */
    uint64_t left_out[QB_FOUND_SIGN + 1]; /* findings that were not kept, by their kind */
    struct qb_finding open;               /* the last one, which may go on */
    char open_text[240];
};

/* A qb_finding_fn, whose argument is a struct qb_checked. */
void qb_checked_note(void *checked, const struct qb_found *found);
void qb_checked_end(struct qb_checked *checked);  /* there are no more findings */
void qb_checked_free(struct qb_checked *checked); /* and the result */

enum qb_verdict qb_checked_verdict(const struct qb_checked *checked);

/* Why the image, or its data file, could not be checked; the code may be QB_E_NONE. */
const struct qb_failure *qb_checked_failure(const struct qb_checked *checked);

struct qb_check_summary {
    uint64_t images; /* that were checked, or could not be */
    uint64_t of[QB_VERDICT_COUNT];
    uint64_t not_reached; /* because of ^C */
    bool incomplete;      /* memory was short for the answers about some images */
    bool gave_up;         /* some were not reached as the processes that read images died */
    double seconds;
    const struct qb_sandboxed *sandboxed; /* NULL: not known */
};

/* ---- check_json.c ---------------------------------------------------------------------------- */

int qb_line_checked(FILE *f, const struct qb_checked *checked);
int qb_line_check_summary(FILE *f, const struct qb_check_summary *sum, int exit_code);

#endif
