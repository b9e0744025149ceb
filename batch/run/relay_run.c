/* The calling process of a relay: takes what the other one tells. */
#include "run/relay_parent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/own.h"
#include "backing/deadly.h"
#include "outcome/outcome_wire.h"
#include "journal/run_journal.h"

void qb_relay_notice(const struct qb_relay_parent *p, const char *text)
{
    if (p->run->listener->notice)
        p->run->listener->notice(p->run->listener->arg, text);
}

/* ---- results --------------------------------------------------------------------------------- */

static void pass_on(struct qb_relay_parent *p)
{
    const struct qb_listener *l = p->run->listener;
    struct qb_outcome outcome;
    size_t job;

    while (qb_hold_next(p->hold, &job, &outcome)) {
        l->image(l->arg, job, &outcome);
        qb_outcome_clear(&outcome);
    }
}

/* Takes the outcome over. */
void qb_relay_settle(struct qb_relay_parent *p, size_t job, struct qb_outcome *outcome)
{
    struct qb_job *of = &p->run->batch->jobs[job];

    p->settled[job] = true;
    if (of->suspect != QB_SUSPECT_NOT)
        of->suspect = QB_SUSPECT_NOT;
    p->told++;
    p->relay.failed += outcome->result.status == QB_STATUS_FAILED;
    p->relay.waves = QB_MAX(p->relay.waves, outcome->timing.wave);
    qb_hold_put(p->hold, job, outcome);
    pass_on(p);
}

static bool on_outcome(struct qb_relay_parent *p, struct qb_wired *w)
{
    struct qb_state *state = p->run->options->state;
    struct qb_outcome outcome;
    uint64_t job;

    qb_wired_take(w, &job, sizeof(job));
    if (w->bad || job >= qb_relay_jobs(p) || !qb_outcome_take(w, &outcome))
        return false;
    if (p->settled[job]) {
        qb_outcome_clear(&outcome);
        return false;
    }
    if (state)
        qb_state_count(state, &p->run->batch->jobs[job], &outcome.result);
    qb_relay_settle(p, job, &outcome);
    return true;
}

/* Each job once. */
static bool is_order(const struct qb_relay_parent *p, const uint32_t *order)
{
    QB_AUTO(qb_buf) bool *seen = calloc(qb_relay_jobs(p) + 1, sizeof(*seen));

    for (size_t i = 0; seen && i < qb_relay_jobs(p); i++) {
        uint32_t job = order[i] & INT32_MAX;

        if (job >= qb_relay_jobs(p) || seen[job])
            return false;
        seen[job] = true;
    }
    return seen != NULL;
}

static bool on_order(struct qb_relay_parent *p, struct qb_wired *w, size_t len)
{
    if (p->order || p->told || len != qb_relay_jobs(p) * sizeof(*p->order))
        return false;
    p->order = malloc(len + 1);
    if (!p->order)
        return false;
    qb_wired_take(w, p->order, len);
    if (!is_order(p, p->order))
        return false;
    qb_hold_order(p->hold, p->order);
    return true;
}

static bool on_rollout(const struct qb_relay_parent *p, struct qb_wired *w)
{
    struct qb_rollout_sum sum;
    bool right;

    qb_wired_take(w, &sum, sizeof(sum));
    right = !w->bad && p->run->listener->rollout && sum.n <= QB_STEPS_MAX &&
            sum.n <= p->run->batch->rollout.steps.n + 1 && sum.step < QB_MAX(sum.n, 1) &&
            memchr(sum.why, '\0', sizeof(sum.why));
    for (unsigned i = 0; right && i < QB_STEPS_MAX; i++)
        right = (unsigned)sum.steps[i].verdict < QB_GATE_COUNT;
    if (right)
        *p->run->listener->rollout = sum;
    return right;
}

/* Once: what is said later may be said by an image. */
static bool on_sandbox(struct qb_relay_parent *p, struct qb_wired *w)
{
    if (p->told_sandbox)
        return false;
    p->told_sandbox = true;
    return qb_confining_take(p->run->confining, w);
}

static bool on_notice(struct qb_relay_parent *p, const char *text)
{
    if (!text || p->notices++ >= QB_RELAY_NOTICES + qb_relay_jobs(p))
        return false;
    qb_relay_notice(p, text);
    return true;
}

static bool on_end(struct qb_relay_parent *p, struct qb_wired *w)
{
    qb_wired_take(w, &p->last, sizeof(p->last));
    p->ended = !w->bad && p->last.code < QB_E_COUNT &&
               memchr(p->last.text, '\0', sizeof(p->last.text)) &&
               (p->last.failed || p->told == qb_relay_jobs(p));
    return p->ended;
}

static const char *text_of(struct qb_wired *w)
{
    size_t len = (size_t)(w->end - w->at);

    return len > 0 && memchr(w->at, '\0', len) == w->end - 1 ? w->at : NULL;
}

/* Before each step but the first. */
static bool on_ask(struct qb_relay_parent *p, const char *question)
{
    const struct qb_listener *l = p->run->listener;
    char answer;

    if (!question || !l->ask || !p->run->batch->rollout.ask ||
        p->asked++ >= p->run->batch->rollout.steps.n)
        return false;
    answer = l->ask(l->arg, question, p->process.fd);
    /* Where it has died meanwhile, there is nothing more to read. */
    return send(p->process.fd, &answer, 1, MSG_NOSIGNAL) == 1 || errno == EPIPE;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* false: it is none. */
static bool take_message(struct qb_relay_parent *p, struct qb_relay_head head)
{
    struct qb_wired w = {p->message, p->message + head.len, false};
    const struct qb_listener *l = p->run->listener;

    switch ((enum qb_relay_word)head.word) {
    case QB_RELAY_OUTCOME:
        return on_outcome(p, &w);
    case QB_RELAY_PAUSE:
        if (l->pause)
            l->pause(l->arg);
        return true;
    case QB_RELAY_NOTICE:
        return on_notice(p, text_of(&w));
    case QB_RELAY_ASK:
        return on_ask(p, text_of(&w));
    case QB_RELAY_ORDER:
        return on_order(p, &w, head.len);
    case QB_RELAY_ROLLOUT:
        return on_rollout(p, &w);
    case QB_RELAY_SANDBOX:
        return on_sandbox(p, &w);
    case QB_RELAY_END:
        return on_end(p, &w);
    case QB_RELAY_WORDS:
        break;
    }
    return false;
}

/* Bytes of a message. */
static size_t most_of(const struct qb_relay_parent *p, uint32_t word)
{
    switch (word) {
    case QB_RELAY_OUTCOME:
        return p->run->options->describe ? QB_RELAY_STEPS_MOST : QB_RELAY_OUTCOME_MOST;
    case QB_RELAY_ORDER:
        return qb_relay_jobs(p) * sizeof(*p->order);
    default:
        return QB_RELAY_LINE;
    }
}

static bool make_room(struct qb_relay_parent *p, size_t n)
{
    char *message;

    if (n <= p->room)
        return true;
    message = realloc(p->message, n);
    if (!message)
        return false;
    p->message = message;
    p->room = n;
    return true;
}

static void listen_to(struct qb_relay_parent *p)
{
    struct qb_relay_head head;

    while (!p->ended && !p->misled && qb_mortal_take(&p->process, &head, sizeof(head))) {
        p->misled = head.word >= QB_RELAY_WORDS || head.len > most_of(p, head.word) ||
                    !make_room(p, head.len);
        if (p->misled || !qb_mortal_take(&p->process, p->message, head.len))
            break;
        p->misled = !take_message(p, head);
    }
}

/* ---- the run --------------------------------------------------------------------------------- */

static int prepare(struct qb_relay_parent *p, struct qb_err *err)
{
    size_t size = QB_HELD_MAX * sizeof(struct qb_held);

    p->hold = qb_hold_new(qb_relay_jobs(p));
    p->settled = calloc(qb_relay_jobs(p) + 1, sizeof(*p->settled));
    p->relay.begun = qb_now();
    p->relay.parent = getpid();
    p->relay.held = qb_mortal_share(size);
    p->run->batch->deadly = qb_deadly_new();
    return p->hold && p->settled && p->relay.held && p->run->batch->deadly ? 0
                                                                           : qb_fail_memory(err);
}

static void release(struct qb_relay_parent *p)
{
    qb_hold_free(p->hold);
    free(p->settled);
    qb_deadly_free(qb_take(&p->run->batch->deadly));
    qb_mortal_unshare(p->relay.held, QB_HELD_MAX * sizeof(struct qb_held));
    qb_vec_free(&p->facts);
    free(p->order);
    free(p->message);
    free(p);
}

/* For the process that begins. */
static void pass_over_settled(const struct qb_relay_parent *p)
{
    for (size_t i = 0; i < qb_relay_jobs(p); i++)
        if (p->settled[i])
            p->run->batch->jobs[i].settled = true;
}

static int follow(struct qb_relay_parent *p, struct qb_err *err)
{
    pass_over_settled(p);
    p->told_before = p->told;
    p->misled = p->told_sandbox = false;
    p->notices = p->asked = 0;
    if (qb_relay_start(p->run, &p->relay, &p->process, err) < 0)
        return -1;
    listen_to(p);
    qb_relay_wait(p);
    return 0;
}

static int run_all(struct qb_relay_parent *p, bool *began, struct qb_err *err)
{
    while (!p->ended) {
        if (follow(p, err) < 0) {
            if (!*began)
                return -1;
            qb_relay_notice(p, err->text);
            break;
        }
        *began = true;
        if (!p->ended && !qb_relay_bury(p)) {
            qb_relay_end_rollout(p);
            break;
        }
    }
    if (p->ended && p->last.failed && p->deaths == 0 && p->told == 0) {
        *err = (struct qb_err){.code = (enum qb_code)p->last.code,
                               .sys_errno = p->last.sys_errno,
                               .offset = p->last.offset};
        memcpy(err->text, p->last.text, sizeof(err->text));
        return -1;
    }
    qb_relay_leave_rest(p);
    return 0;
}

int qb_relay_run(const struct qb_relay_run *run, bool *began, struct qb_err *err)
{
    struct qb_relay_parent *p = calloc(1, sizeof(*p));
    int r;

    *began = false;
    if (!p)
        return qb_fail_memory(err);
    p->run = run;
    r = prepare(p, err);
    if (r == 0)
        r = run_all(p, began, err);
    if (run->journal && p->ended)
        qb_journal_told(run->journal, p->last.journal_errno);
    release(p);
    return r;
}
