#include "fleet/run_sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "common/overrides.h"
#include "ctl/socket.h"
#include "fleet/run_relayed.h"

enum { OTHER_TEXT = 500 };

/* ---- in the helper: what takes a look at the directory of the journals ----------------------- */

static void on_other(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    const struct qb_run_sandbox *s = arg;
    char text[OTHER_TEXT];

    (void)request;
    if (!qb_keep_find_other(s->cli, s->keep, text, sizeof(text)))
        return;
    answer->len = strlen(text) + 1;
    memcpy(answer->bytes, text, answer->len);
}

static void on_unlink(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    const struct qb_run_sandbox *s = arg;

    (void)request;
    (void)answer;
    if (s->keep->kept)
        qb_ctl_unlink(s->keep->dir, s->keep->state.id);
}

/* The answer of a helper is of this very program. */
struct reloaded {
    int r;
    struct qb_manifest_limits limits;
    struct qb_err err;
};

static void read_again(const struct qb_run_sandbox *s, struct reloaded *out)
{
    *out = (struct reloaded){.r = 0};
    out->r = qb_manifest_reload(s->confining.batch, &out->limits, &out->err);
    if (out->r == 0)
        qb_override_limits(s->cli, &out->limits.limits);
}

static void on_reload(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    struct reloaded out;

    (void)request;
    read_again(arg, &out);
    answer->len = sizeof(out);
    memcpy(answer->bytes, &out, sizeof(out));
}

/* ---- here, or by the helper ------------------------------------------------------------------ */

/* false: it was not asked. */
static bool ask(struct qb_run_sandbox *s, unsigned errand, struct qb_parcel *p)
{
    if (!p || !qb_confining_asks(&s->confining))
        return false;
    p->len = 0;
    if (qb_confining_ask(&s->confining, errand, NULL, p) != 0)
        p->len = 0;
    return true;
}

/* Another run, which may be what holds the images; "": none. */
static void find_other(struct qb_run_sandbox *s, char text[OTHER_TEXT])
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));

    text[0] = '\0';
    if (ask(s, s->other, p))
        snprintf(text, OTHER_TEXT, "%.*s", (int)p->len, (const char *)p->bytes);
    else if (!qb_keep_find_other(s->cli, s->keep, text, OTHER_TEXT))
        text[0] = '\0';
}

void qb_run_sandbox_unlink(struct qb_run_sandbox *s)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));

    if (!ask(s, s->unlink, p))
        qb_ctl_unlink(s->keep->dir, s->keep->state.id);
}

int qb_run_sandbox_reload(struct qb_run_sandbox *s, struct qb_manifest_limits *out,
                          struct qb_err *err)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));
    struct reloaded got;

    if (!p)
        return qb_fail_memory(err);
    if (!ask(s, s->reload, p))
        read_again(s, &got);
    else if (p->len == sizeof(got))
        memcpy(&got, p->bytes, sizeof(got));
    else
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "the helper did not read the manifest");
    *err = got.err;
    *out = got.limits;
    return got.r;
}

/* ---- the run --------------------------------------------------------------------------------- */

void qb_run_sandbox_begin(struct qb_run_sandbox *s, const struct qb_cli *cli,
                          const struct qb_keep *keep, struct qb_batch *batch,
                          struct qb_run_options *options, struct qb_output *out)
{
    struct qb_confining *c = &s->confining;

    s->cli = cli;
    s->keep = keep;
    qb_confining_init(c, batch, options->dry_run);
    c->early = qb_confining_is_due(c) &&
               (batch->policy.sandbox == QB_SANDBOX_STRICT || qb_run_takes_long(batch));
    s->other = qb_errands_add(&c->errands, on_other, s);
    s->unlink = qb_errands_add(&c->errands, on_unlink, s);
    s->reload = qb_errands_add(&c->errands, on_reload, s);
    options->confining = c;
    if (qb_fleet_is_relayed(s))
        out->sum.sandboxed = &c->sandboxed; /* the reports are not the other process's */
    else
        qb_output_offer(out, c);
}

void qb_run_sandbox_end(struct qb_run_sandbox *s)
{
    qb_confining_end(&s->confining);
}

void qb_run_sandbox_tell(struct qb_run_sandbox *s, const struct qb_listener *listener, bool locked)
{
    char text[QB_SANDBOX_TEXT], line[QB_SANDBOX_TEXT + 20], other[OTHER_TEXT] = "";
    const char *lack = qb_confining_lack(&s->confining, text);

    if (!listener->notice)
        return;
    if (locked)
        find_other(s, other);
    if (lack) {
        snprintf(line, sizeof(line), "sandbox: %s", lack);
        listener->notice(listener->arg, line);
    }
    if (other[0])
        listener->notice(listener->arg, other);
}
