/* What the disk may hold after a crash or a fault: the old image or the amended one, whole. */
#ifndef QB_TESTS_JUDGE_H
#define QB_TESTS_JUDGE_H

#include "amends.h"

enum verdict { OLD = 1, AMENDED = 2, EITHER = 3 };

struct judge {
    const struct subject *s;
    struct reading was, shall; /* what the old image holds, and the amended one */
    struct image_bytes done;   /* the amended image */
    struct run run;            /* how it came to be */
    uint8_t *headers;          /* the sectors that its commits wrote, the last of them in `done` */
    size_t n_headers;
    bool amends;    /* false: the wish was refused, or there was nothing to do */
    uint64_t *seen; /* fingerprints of the states tried */
    size_t n_seen, cap;
    unsigned long states, violations;
    char first[800]; /* the first violation */
};

/* Amends the subject once, in peace, and compares the outcome with what the request says.  *log
 * (may be NULL) gets the machine's log. */
void judge_begin(struct judge *j, const struct subject *s, struct qb_mem_log **log);
void judge_end(struct judge *j);

/* judge_expect.c: fills j->shall from the old image, the request and what was written. */
void judge_expect(struct judge *j, const struct qb_mem_log *log);

/* Notes a violation; `at` says when it was. */
void judge_blame(struct judge *j, const char *at, const char *what);

/* The append failed with this error: what the old image refers to was never touched, and, with
 * `length_too`, the file is as long as it was.  (A flip that failed may have been written: then the
 * tail must stay.) */
void judge_untouched(struct judge *j, const struct qb_err *err, const struct image_bytes *now,
                     bool length_too, const char *at);

/* The state must be one of `allowed`, and the same amend must succeed on it. */
void judge_state(struct judge *j, const struct image_bytes *state, enum verdict allowed,
                 const char *at);

/* The same, where a state that was judged before is only asked which image it is: it may be allowed
 * no longer. */
void judge_try(struct judge *j, const struct image_bytes *state, enum verdict allowed,
               const char *at);

/* judge_cut.c: whether the state has the header of the old image, and one that the amend wrote:
 * that of any commit.  It may be the same, for a round may move a table to where it was before. */
bool judge_has_old_header(const struct judge *j, const struct image_bytes *state);
bool judge_has_new_header(const struct judge *j, const struct image_bytes *state);

/* judge_cut.c: takes over the headers that were written in peace. */
void judge_take_headers(struct judge *j, const struct qb_mem_log *log);

/* Whether this state is new to the judge. */
bool judge_is_new(struct judge *j, const struct image_bytes *state);

/* What disk `disk` may hold when the power goes after `upto` events. */
enum verdict judge_allows(const struct qb_mem_log *log, unsigned disk, size_t upto);

/* Cuts the power after `upto` events: what was behind the last barrier is torn as `seed` says. */
void judge_cut(struct judge *j, const struct qb_mem_log *log, unsigned disk, size_t upto,
               uint64_t seed, enum verdict allowed);

/* Cuts it at every event, with nothing torn and in `seeds` other ways. */
void judge_cuts(struct judge *j, const struct qb_mem_log *log, unsigned disk, unsigned long seeds);

/* Index of the flip in the log of disk `disk`, or the number of events. */
size_t judge_flip(const struct qb_mem_log *log, unsigned disk);

#endif
