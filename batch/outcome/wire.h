/* Bytes that one process of the program tells to another one, which does not believe it. */
#ifndef QB_OUTCOME_WIRE_H
#define QB_OUTCOME_WIRE_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that grow.  Zeroed: none. */
struct qb_wire {
    char *bytes; /* owned */
    size_t n, room;
    bool failed; /* memory was short: something is missing */
};
void qb_wire_put(struct qb_wire *wire, const void *bytes, size_t n);
void qb_wire_text(struct qb_wire *wire, const char *text); /* may be NULL */

/* Bytes that are read.  What is taken after the first mistake is zero, or NULL. */
struct qb_wired {
    const char *at, *end;
    bool bad; /* they were not what was asked for */
};
void qb_wired_take(struct qb_wired *wired, void *out, size_t n);
const void *qb_wired_bytes(struct qb_wired *wired, size_t n); /* inside of them; NULL: too few */
/* Inside of the bytes, with its length, where that is not NULL; NULL: it is none. */
const char *qb_wired_text(struct qb_wired *wired, size_t *len);

/* Members of a struct.  SECONDS is of a timing: what none can have is 0 (outcome.h). */
enum qb_wire_kind { QB_WIRE_NUMBER, QB_WIRE_SECONDS, QB_WIRE_BOOL, QB_WIRE_BELOW, QB_WIRE_TEXT };

struct qb_wire_member {
    size_t at;
    enum qb_wire_kind kind;
    size_t size;
    unsigned below; /* QB_WIRE_BELOW: an enum, or a number that is used as one */
};
void qb_wire_members(struct qb_wire *wire, const void *from, const struct qb_wire_member *list,
                     size_t n);
void qb_wired_members(struct qb_wired *wired, void *out, const struct qb_wire_member *list,
                      size_t n);

#endif
