#include "fleet/saving.h"

#include <stdio.h>

#include "util/text.h"

static void save_image(void *arg, size_t job, const struct qb_outcome *outcome)
{
    struct qb_saving *s = arg;

    qb_plan_write_image(s->plan, job, outcome);
    s->inner.image(s->inner.arg, job, outcome);
}

static void save_compose(void *arg, size_t job, struct qb_outcome *outcome)
{
    struct qb_saving *s = arg;

    s->inner.compose(s->inner.arg, job, outcome);
}

static void save_pause(void *arg)
{
    struct qb_saving *s = arg;

    s->inner.pause(s->inner.arg);
}

static void save_notice(void *arg, const char *text)
{
    struct qb_saving *s = arg;

    s->inner.notice(s->inner.arg, text);
}

int qb_saving_begin(struct qb_saving *s, const struct qb_cli *cli, const struct qb_batch *batch,
                    struct qb_confining *confining, struct qb_listener *listener,
                    struct qb_err *err)
{
    s->inner = *listener;
    s->plan = qb_plan_write_begin(qb_cli_text(cli, QB_OPTION_SAVE), batch, err);
    if (!s->plan)
        return -1;
    *listener = (struct qb_listener){.arg = s,
                                     .compose = s->inner.compose ? save_compose : NULL,
                                     .image = save_image,
                                     .pause = save_pause,
                                     .notice = s->inner.notice ? save_notice : NULL,
                                     .meter = s->inner.meter};
    if (confining) {
        qb_plan_write_offer(s->plan, &confining->errands, &confining->helper);
        confining->wants_helper = true;
    }
    return 0;
}

int qb_saving_end(struct qb_saving *s, const struct qb_cli *cli, int code)
{
    const char *path = qb_cli_text(cli, QB_OPTION_SAVE);
    struct qb_err err;

    if (qb_plan_write_end(s->plan, true, &err) < 0) {
        fprintf(stderr, "qbatch plan: ");
        qb_text_safe(stderr, err.text);
        fputc('\n', stderr);
        return code ? code : QB_EXIT_FAILED;
    }
    if (!qb_cli_has(cli, QB_OPTION_QUIET)) {
        fputs("qbatch: the plan is saved: qbatch plan show ", stderr);
        qb_text_shell(stderr, path);
        fputs(" shows it, qbatch apply ", stderr);
        qb_text_shell(stderr, path);
        fputs(" carries it out\n", stderr);
    }
    return code;
}
