/* The process of a relay that works on the images: what it tells its parent.  It composes no line
 * of a report: its parent believes numbers and texts, which it checks and escapes, and no lines. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "outcome/outcome_wire.h"
#include "run/relay_run.h"
#include "util/signal.h"

enum { FLUSH_BYTES = 64 << 10 };

struct teller {
    const struct qb_relay_run *run;
    int fd;
    struct qb_wire wire;
    bool told_sandbox;
    struct qb_rollout_sum rollout, told_rollout;
};

/* Nobody is there any more who could be told. */
static _Noreturn void end_here(void)
{
    _exit(QB_EXIT_FAILED);
}

/* Where its length is still to be set. */
static size_t begin(struct teller *t, enum qb_relay_word word)
{
    struct qb_relay_head head = {.word = word};
    size_t at = t->wire.n;

    qb_wire_put(&t->wire, &head, sizeof(head));
    return at;
}

static void end(struct teller *t, size_t at)
{
    struct qb_relay_head head;

    if (t->wire.failed)
        end_here();
    memcpy(&head, t->wire.bytes + at, sizeof(head));
    head.len = (uint32_t)(t->wire.n - at - sizeof(head));
    memcpy(t->wire.bytes + at, &head, sizeof(head));
    if (t->wire.n >= FLUSH_BYTES)
        qb_mortal_tell(t->fd, &t->wire);
}

static void tell(struct teller *t, enum qb_relay_word word, const void *bytes, size_t n)
{
    size_t at = begin(t, word);

    qb_wire_put(&t->wire, bytes, n);
    end(t, at);
}

static void tell_sandbox(struct teller *t)
{
    const struct qb_confining *c = t->run->confining;
    size_t at;

    if (t->told_sandbox || !c->begun)
        return;
    at = begin(t, QB_RELAY_SANDBOX);
    qb_confining_put(c, &t->wire);
    end(t, at);
    t->told_sandbox = true;
}

static void tell_rollout(struct teller *t)
{
    if (!t->run->listener->rollout ||
        memcmp(&t->rollout, &t->told_rollout, sizeof(t->rollout)) == 0)
        return;
    tell(t, QB_RELAY_ROLLOUT, &t->rollout, sizeof(t->rollout));
    t->told_rollout = t->rollout;
}

/* ---- the listener ---------------------------------------------------------------------------- */

/* What it could not open any more, and what it left for that, another process takes up, with a
 * helper of its own.  Where none would go on these are results like others. */
static void end_without_helper(struct teller *t, enum qb_status status)
{
    const struct qb_relay_run *run = t->run;
    bool (*stopped)(void) = run->options->stopped;

    if ((status != QB_STATUS_FAILED && status != QB_STATUS_SKIPPED) ||
        run->batch->rollout.steps.n > 0 || (stopped && stopped()) ||
        !qb_helper_is_lost(&run->confining->helper))
        return;
    qb_mortal_tell(t->fd, &t->wire);
    _exit(QB_MORTAL_LOST_HELPER);
}

static void on_image(void *arg, size_t job, const struct qb_outcome *outcome)
{
    struct teller *t = arg;
    uint64_t number = job;
    size_t at;

    tell_sandbox(t);
    end_without_helper(t, outcome->result.status);
    at = begin(t, QB_RELAY_OUTCOME);
    qb_wire_put(&t->wire, &number, sizeof(number));
    qb_outcome_put(&t->wire, outcome);
    end(t, at);
}

static void on_order(void *arg, const uint32_t *order, size_t n)
{
    tell(arg, QB_RELAY_ORDER, order, n * sizeof(*order));
}

static void on_pause(void *arg)
{
    struct teller *t = arg;

    tell_sandbox(t);
    tell_rollout(t);
    tell(t, QB_RELAY_PAUSE, NULL, 0);
    qb_mortal_tell(t->fd, &t->wire);
}

static void on_notice(void *arg, const char *text)
{
    struct teller *t = arg;

    tell(t, QB_RELAY_NOTICE, text, strlen(text) + 1);
    qb_mortal_tell(t->fd, &t->wire);
}

static bool on_ask(void *arg, const char *question, int asker)
{
    struct teller *t = arg;
    char answer = 0;
    ssize_t n;

    (void)asker;
    tell_rollout(t);
    tell(t, QB_RELAY_ASK, question, strlen(question) + 1);
    qb_mortal_tell(t->fd, &t->wire);
    do
        n = read(t->fd, &answer, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        end_here();
    return answer == 1;
}

/* ---- the process ----------------------------------------------------------------------------- */

static struct qb_listener listener_of(struct teller *t)
{
    const struct qb_listener *l = t->run->listener;

    return (struct qb_listener){.arg = t,
                                .image = on_image,
                                .order = on_order,
                                .pause = on_pause,
                                .notice = l->notice ? on_notice : NULL,
                                .ask = l->ask ? on_ask : NULL,
                                .meter = l->meter,
                                .rollout = l->rollout ? &t->rollout : NULL};
}

struct starting {
    const struct qb_relay_run *run;
    const struct qb_relay *relay;
};

static void be_process(void *arg, int fd)
{
    const struct starting *s = arg;
    const struct qb_relay_run *run = s->run;
    struct teller t = {.run = run, .fd = fd};
    struct qb_listener listener = listener_of(&t);
    struct qb_relay_end last = {.failed = 0};
    struct qb_err err = {0};

    run->confining->has_parent = true;
    last.failed = run->body(run->arg, s->relay, &listener, &err);
    if (run->journal)
        last.journal_errno = qb_journal_write(run->journal);
    last.code = err.code;
    last.sys_errno = err.sys_errno;
    last.offset = err.offset;
    memcpy(last.text, err.text, sizeof(last.text));
    tell_sandbox(&t);
    tell_rollout(&t);
    tell(&t, QB_RELAY_END, &last, sizeof(last));
    qb_mortal_tell(t.fd, &t.wire);
}

int qb_relay_start(const struct qb_relay_run *run, const struct qb_relay *relay,
                   struct qb_mortal *out, struct qb_err *err)
{
    struct starting starting = {run, relay};
    const struct qb_mortal_wish wish = {.body = be_process,
                                        .arg = &starting,
                                        .errands = &run->confining->errands,
                                        .kept = run->journal ? run->journal->file.fd : -1};

    return qb_mortal_start(out, &wish, err);
}
