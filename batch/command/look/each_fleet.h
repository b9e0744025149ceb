/* What the files of each_image.h have in common: one process that answers for images and shows the
 * answers (each_image.c); or one that reads images and tells (each_tell.c), and one that hears it
 * (each_hear.c), and has another one go on when it dies (each_apart.c). */
#ifndef QB_LOOK_EACH_FLEET_H
#define QB_LOOK_EACH_FLEET_H

#include <pthread.h>

#include "host/mortal.h"
#include "io/pace.h"
#include "look/each_ahead.h"
#include "look/each_image.h"
#include "text/progress.h"

enum { QB_EACH_HELD_MAX = 64 << 20 }; /* bytes of answers that wait for others */

/* What both processes have. */
struct qb_each_shared {
    struct qb_meter meter;
    struct qb_begun begun;
};

struct qb_each_teller;

struct qb_each_fleet {
    const struct qb_each *each;
    struct qb_each_sum *sum;
    struct qb_each_shared *shared;
    struct qb_sched *sched;
    struct qb_owners *owners;
    struct qb_each_ahead *ahead;
    struct qb_answers *answers;
    struct qb_progress *progress;
    struct qb_each_teller *teller; /* NULL: the answers are shown here */
    struct qb_pace pace;
    bool paced;
    pthread_rwlock_t all_memory; /* held for writing by an image that may use all of it */
    uint64_t share, memory;      /* bytes: of each worker, and of all */
    atomic_int stdout_errno;     /* the first failure to write there */
    const size_t *suspects;      /* images that are looked at first, each alone */
    size_t n_suspects;
    bool restarted; /* some images have their answer already */
    int failed;     /* nothing could be started, with *err */
    struct qb_err *err;
};

/* Answers for all images that have no answer, in this process: 0, or -1 with *f->err. */
int qb_each_work(struct qb_each_fleet *f);

/* By ^C, or because nobody reads the answers. */
bool qb_each_is_stopped(void *fleet);

/* ---- each_tell.c ----------------------------------------------------------------------------- */

enum qb_each_word { QB_EACH_ANSWER, QB_EACH_SANDBOX, QB_EACH_END, QB_EACH_WORDS };

/* Begins a message: of so many bytes, which follow.  An answer's texts follow those. */
struct qb_each_head {
    uint32_t word, len;
};

enum { QB_EACH_TEXTS = 2 + QB_SINK_COUNT };

struct qb_each_told {
    uint64_t image, sizes[QB_EACH_TEXTS]; /* of its text, its failure, and the files: 0: NULL, else
                                             1 + bytes */
    uint32_t verdict, code;
    uint8_t failed, is_part, lost;
};

struct qb_each_end {
    int32_t failed;
    uint32_t code;
    char text[sizeof(((struct qb_err *)0)->text)];
};

/* The body of a qb_mortal, whose argument is the fleet. */
void qb_each_read_apart(void *fleet, int fd);
void qb_each_tell_sandbox(struct qb_each_fleet *f);
/* The texts are freed then; their lengths stay. */
void qb_each_tell(struct qb_each_fleet *f, size_t i, struct qb_answer *answer);

/* ---- each_hear.c ----------------------------------------------------------------------------- */

/* What was shown of an answer that is told in parts, and what of that was told again. */
struct qb_each_shown {
    size_t image;
    uint64_t bytes, again;
    uint32_t sum, sum_again;
};

struct qb_each_hearer {
    struct qb_each_fleet *f;
    struct qb_mortal process;
    struct qb_each_shown shown;
    size_t ignored;  /* 1 + an image: what is told about it no longer counts */
    size_t answered; /* images */
    bool ended, misled;
    struct qb_each_end end;
};

/* Until it has ended, or tells what no process of this program tells. */
void qb_each_hear(struct qb_each_hearer *h);

/* Another one tells from now on. */
void qb_each_hear_anew(struct qb_each_hearer *h);

/* The answer about an image that could not be read to its end, as `err` says. */
void qb_each_lose(struct qb_each_hearer *h, size_t i, const struct qb_err *err);

/* ---- each_apart.c ---------------------------------------------------------------------------- */

/* Has all images read by a process that may die: 0, or -1 with *f->err.  *began: there was one; if
 * not, nothing has happened. */
int qb_each_apart(struct qb_each_fleet *f, bool *began);

#endif
