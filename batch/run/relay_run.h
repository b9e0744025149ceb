/* Runs a batch in a process of its own, and goes on in another one when that dies.
 *
 * The calling process reads no image.  It has the terminal, the reports and the end of the journal;
 * the other one (relay_child.c) opens, reads and amends the images, and tells their results, which
 * are checked (outcome/outcome_wire.h).  When it dies, of an image or because somebody killed it:
 *
 * - results that it told stay; images that it had not begun are left to the next process;
 * - those that it held, begun and without a result, are run by the next one first, each alone;
 * - one that ends a process in which it was the first and only one has crashed: it fails, and what
 *   state it is in is told by its header, which is compared and not read.
 *
 * A process whose helper dies can open nothing any more, and ends as well, before it tells of
 * images that failed for that.
 *
 * So each two deaths settle an image.  The run ends after a few in a row that settled none, and
 * when it is to stop, or is a rollout: then all that were held have crashed. */
#ifndef QB_RUN_RELAY_RUN_H
#define QB_RUN_RELAY_RUN_H

#include "host/confining.h"
#include "host/mortal.h"
#include "wave/relay.h"
#include "run/run.h"

struct qb_relay_run {
    struct qb_batch *batch; /* what is known of its jobs is noted in them between the processes */
    const struct qb_run_options *options;
    const struct qb_listener *listener; /* of the calling process */
    struct qb_journal *journal;         /* which the other process writes to; NULL: there is none */
    const char *flipped; /* what the new header makes an image where nothing else is known */
    struct qb_confining *confining; /* gets what the other one's came to */
    /* In the new process: qb_run, with that relay and that listener. */
    int (*body)(void *arg, const struct qb_relay *relay, const struct qb_listener *listener,
                struct qb_err *err);
    /* In the calling one, when the other has died: opens the journal again, if there is one, and
     * notes in the batch what it says.  -1 with *err: there is to be no other. */
    int (*again)(void *arg, const char *how, struct qb_err *err);
    void *arg;
};

/* As qb_run.  *began: there was such a process; if not, nothing has happened. */
int qb_relay_run(const struct qb_relay_run *run, bool *began, struct qb_err *err);

/* ---- relay_child.c --------------------------------------------------------------------------- */

/* -1 with *err: no process could be made. */
int qb_relay_start(const struct qb_relay_run *run, const struct qb_relay *relay,
                   struct qb_mortal *out, struct qb_err *err);

/* Messages: a number, the length of what follows, and that. */
enum qb_relay_word {
    QB_RELAY_OUTCOME, /* the job, as uint64_t; the outcome */
    QB_RELAY_PAUSE,
    QB_RELAY_NOTICE,  /* text */
    QB_RELAY_ASK,     /* text; answered with a byte, 1: yes */
    QB_RELAY_ORDER,   /* jobs, as uint32_t */
    QB_RELAY_ROLLOUT, /* struct qb_rollout_sum */
    QB_RELAY_SANDBOX, /* qb_confining_put */
    QB_RELAY_END,     /* struct qb_relay_end */
    QB_RELAY_WORDS
};

struct qb_relay_head {
    uint32_t word, len;
};

/* No process tells more: bytes of a message, those of an order and of a plan for people left out;
 * notices for each image, and besides. */
enum {
    QB_RELAY_LINE = 8 << 10,
    QB_RELAY_OUTCOME_MOST = 256 << 10,
    QB_RELAY_STEPS_MOST = 64 << 20,
    QB_RELAY_NOTICES = 1000,
};

struct qb_relay_end {
    int32_t failed; /* what qb_run returned */
    int32_t journal_errno;
    uint32_t code;
    int32_t sys_errno;
    uint64_t offset;
    char text[sizeof(((struct qb_err *)0)->text)];
};

/* ---- relay_settle.c -------------------------------------------------------------------------- */

/* The outcome of an image that was held by a process that ended as `how` says, and is not looked at
 * again. */
struct qb_relay_death {
    const char *how;
    bool alone;          /* so did another one, which had this image alone */
    const char *flipped; /* see qb_relay_run */
};
void qb_relay_crashed(const struct qb_job *job, const struct qb_held *held,
                      const struct qb_relay_death *death, struct qb_outcome *out);

#endif
