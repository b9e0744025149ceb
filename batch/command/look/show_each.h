/* What commands have in common that show something of each image, `info` and `map`. */
#ifndef QB_LOOK_SHOW_EACH_H
#define QB_LOOK_SHOW_EACH_H

#include "look/each_image.h"
#include "text/profile_show.h"
#include "text/read_summary.h"

struct qb_show {
    const struct qb_batch *batch;
    const char *program; /* "qbatch info" */
    bool json, without_locks;
    struct qb_confining *confining;
    struct qb_read_summary sum;
    uint64_t cut_off; /* of those that failed: shown in part when the command was ended */
    struct qb_profile_fleet *fleet; /* NULL: no profile was asked for */
};

/* The verdict of an answer (answers.h), where there is a fleet. */
unsigned qb_show_verdict(struct qb_suits suits);

struct qb_show qb_show_of(const struct qb_cli *cli, const struct qb_batch *batch);

/* The outcome of an image that was read, or that was not, as `err` says. */
enum qb_each_outcome qb_show_outcome(bool was_read, const struct qb_err *err,
                                     const struct qb_each_turn *turn);

typedef enum qb_each_outcome qb_answer_image_fn(void *show, struct qb_io *io, size_t i,
                                                const struct qb_each_turn *turn,
                                                struct qb_answer *out);

/* As qb_each.lose. */
typedef void qb_lose_image_fn(void *show, size_t i, const struct qb_err *err, bool begun,
                              struct qb_answer *out);

/* Has each image answered for; `fn` is given `show`, which may be the first member of the command's
 * own struct.  Then the last line, about all; the rest is as a qb_each_fn has it. */
int qb_show_each(struct qb_show *show, const struct qb_cli *cli, qb_answer_image_fn *fn,
                 qb_lose_image_fn *lose, int *code, int *stdout_errno, struct qb_err *err);

#endif
