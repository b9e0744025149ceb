/* Gives the images of a batch to all cores, for commands that answer for each image by itself and
 * change none; the answers are shown in the order of the images. */
#ifndef QB_LOOK_EACH_IMAGE_H
#define QB_LOOK_EACH_IMAGE_H

#include "look/answers.h"
#include "cli/cli.h"
#include "host/confining.h"
#include "io/io.h"
#include "job/job.h"
#include "outcome/meter.h"

enum qb_each_outcome {
    QB_EACH_ANSWERED,
    QB_EACH_STOPPED, /* the io's stop ended it: there is no answer */
    QB_EACH_CROWDED, /* the memory was too small, and is not all that there is */
};

/* What a worker is given for an image. */
struct qb_each_turn {
    uint64_t memory;      /* bytes that it may use */
    bool is_all;          /* no other image is in progress */
    struct qb_file *file; /* the image, where it is open already; see qb_image_file_begin */
    struct qb_each_fleet *fleet;
};

struct qb_each {
    const struct qb_batch *batch;
    const char *program; /* "qbatch info" */
    enum qb_io_kind io;
    unsigned jobs; /* 0: automatic */
    enum qb_watching watching;
    enum qb_doing doing;            /* for the progress */
    FILE *out;                      /* where the texts go */
    struct qb_confining *confining; /* of this process, before the first image is read */
    void *arg;
    /* By a worker: the answer about image i.  One that is crowded is asked for again, while no
     * other image is in progress, with all of the memory; a command that passes parts of answers
     * on has none that is crowded. */
    enum qb_each_outcome (*answer)(void *arg, struct qb_io *io, size_t i,
                                   const struct qb_each_turn *turn, struct qb_answer *out);
    /* The answer about an image that could not be read to its end: the process that read it ended,
     * as `err` says, which has the code crashed, or changed, or cancelled; `begun`: parts of it are
     * shown. */
    void (*lose)(void *arg, size_t i, const struct qb_err *err, bool begun, struct qb_answer *out);
    unsigned verdicts; /* how many there are; 0: any number is one */
    bool json;         /* an answer is one line */
    bool escapes;      /* take() does, what it shows of texts; else they are written as they are */
    /* One call at a time, in the order of the images: whether the answer's texts are to be shown.
     */
    bool (*take)(void *arg, size_t i, const struct qb_answer *answer);
};

struct qb_each_sum {
    uint64_t images;      /* that were answered for */
    uint64_t not_reached; /* because of ^C */
    double seconds;
    bool gave_up;     /* processes died one after the other, which was said: some have no answer */
    int stdout_errno; /* the first failure to write to standard output, which ends it; or 0 */
};

/* Passes on the first part of a long answer, which the caller keeps, once those of the images
 * before it are shown.  False: it was stopped before. */
bool qb_each_pass(const struct qb_each_turn *turn, size_t i, const struct qb_answer *part);

/* 0 with *sum, also when ^C ended it; -1 when nothing could be started. */
int qb_each_image(const struct qb_each *each, struct qb_each_sum *sum, struct qb_err *err);

/* ---- each_command.c -------------------------------------------------------------------------- */

/* Carries the command out for the images of the batch: 0 with the exit code that the answers give,
 * -1 when nothing could be started. */
typedef int qb_each_fn(const struct qb_cli *cli, const struct qb_batch *batch,
                       struct qb_confining *confining, int *code, int *stdout_errno,
                       struct qb_err *err);

/* A whole command: collects its images, sets the limits of a manifest, and calls fn; returns the
 * exit code. */
int qb_each_command(const struct qb_cli *cli, qb_each_fn *fn);

#endif
