/* Puts the answers about images, which workers find in any order, back into the images' order, and
 * bounds the memory of those that have to wait: while they hold too much, no image is begun but the
 * one whose turn is next. */
#ifndef QB_LOOK_ANSWERS_H
#define QB_LOOK_ANSWERS_H

#include <stddef.h>

#include "sink/sinks.h"

/* What is shown of one image. */
struct qb_answer {
    unsigned verdict; /* the command's own */
    enum qb_code code;
    bool failed;                              /* counts as such in the progress */
    char *text;                               /* owned; may be NULL */
    size_t len;                               /* of the text, bytes */
    char *failure;                            /* owned: the line for standard error, or NULL */
    struct qb_sink_text files[QB_SINK_COUNT]; /* for the files of reports */
    bool is_part;                             /* there is more about this image */
    bool lost;                                /* there was no memory for it */
};

struct qb_answers;

/* One call at a time, in the order of the images; first the parts of an answer, then its rest. */
typedef void qb_answer_fn(void *arg, size_t image, const struct qb_answer *answer);

/* NULL when memory is short.  More than `most` bytes are not held. */
struct qb_answers *qb_answers_new(size_t n, uint64_t most, qb_answer_fn *fn, void *arg);
void qb_answers_free(struct qb_answers *answers);

/* To be called, by the worker that will give the answer, before image i is begun.  Workers take
 * images in ascending order.  Returns at once when stopped(arg) is true; whoever makes it so, or
 * leaves an image out for it, calls qb_answers_wake. */
void qb_answers_wait(struct qb_answers *answers, size_t i, bool (*stopped)(void *arg), void *arg);

/* Takes the answer over, and passes on those whose turn it is. */
void qb_answers_put(struct qb_answers *answers, size_t i, struct qb_answer *answer);

/* For an answer that is too long to wait as a whole: passes a part of it on, which the caller
 * keeps, once it is the turn of image i.  False, and nothing was passed on, when stopped(arg) is
 * true.  The rest is put as above. */
bool qb_answers_part(struct qb_answers *answers, size_t i, const struct qb_answer *part,
                     bool (*stopped)(void *arg), void *arg);

/* The image whose turn is next, and whether an image was answered for. */
size_t qb_answers_turn(struct qb_answers *answers);
bool qb_answers_has(struct qb_answers *answers, size_t i);

/* The bytes of those that wait. */
uint64_t qb_answers_held(struct qb_answers *answers);

/* In a process that was forked: what is put from now on was told to its parent, which has the
 * texts.  Its length counts here, so that workers wait as long as the parent holds too much; fn is
 * called for parts, and for answers that have no text any more. */
void qb_answers_mirror(struct qb_answers *answers, qb_answer_fn *fn, void *arg);

/* Frees the texts, and leaves their lengths. */
void qb_answer_clear(struct qb_answer *answer);

void qb_answers_wake(struct qb_answers *answers);

/* The end: also those after an image that has none. */
void qb_answers_end(struct qb_answers *answers);

#endif
