/* The lines of whole runs, and the run that each line is of. */
#include <string.h>

#include "record/report_json.h"
#include "record/joined_shards.h"
#include "record/orders_json.h"
#include "record/rollout_json.h"
#include "record/telling.h"
#include "shard/shard.h"
#include "util/text.h"

void qb_line_origin(struct qb_json *o, const struct qb_origin *origin)
{
    struct qb_json labels = qb_json_object();
    char shard[QB_SHARD_TEXT];

    qb_json_text(o, "host", origin->host);
    qb_json_text(o, "caller", origin->caller);
    qb_json_text(o, "command", origin->command);
    for (size_t k = 0; k < origin->labels.n; k++)
        qb_json_label(&labels, origin->labels.items[k].key, origin->labels.items[k].value);
    qb_json_child(o, "labels", labels);
    qb_json_text(o, "shard", qb_shard_text(origin->shard, shard));
}

struct qb_json qb_line_of(const struct qb_part *run)
{
    struct qb_json of = qb_json_object();
    char at[QB_TEXT_NUMBER];

    qb_json_text(&of, "run", run->run);
    qb_json_text(&of, "name", run->name);
    qb_json_text(&of, "manifest", run->manifest);
    qb_json_text(&of, "started", qb_text_time(run->origin->started, at));
    qb_line_origin(&of, run->origin);
    return of;
}

static struct qb_json of_batch(const struct qb_batch *batch)
{
    const struct qb_part run = {.name = batch->name,
                                .manifest = batch->manifest_path,
                                .run = batch->run_id,
                                .origin = &batch->origin};

    return qb_line_of(&run);
}

char *qb_json_of_text(const struct qb_batch *batch)
{
    size_t len = 0;
    char *text = batch->origin.started > 0 ? qb_json_take(of_batch(batch), &len) : NULL;

    if (text)
        text[len - 1] = '\0'; /* the newline */
    return text;
}

void qb_json_of(struct qb_json *o, const struct qb_batch *batch, const char *of)
{
    if (batch->origin.started <= 0)
        return;
    if (of)
        qb_json_as_is(o, "of", of, strlen(of));
    else
        qb_json_child(o, "of", of_batch(batch));
}

/* How many images there were of each error that occurred. */
static void put_errors(struct qb_json *o, const struct qb_summary *sum)
{
    struct qb_json errors = qb_json_object();

    for (int i = QB_E_NONE + 1; i < QB_E_COUNT; i++)
        if (sum->by_code[i])
            qb_json_number(&errors, qb_code_name((enum qb_code)i), sum->by_code[i]);
    qb_json_child(o, "errors", errors);
}

static struct qb_json summary_of(const struct qb_batch *batch, const struct qb_summary *sum)
{
    struct qb_json o = qb_json_object();
    char at[QB_TEXT_NUMBER];

    qb_json_text(&o, "type", "summary");
    qb_json_text(&o, "name", batch->name);
    qb_json_text(&o, "manifest", batch->manifest_path);
    qb_json_text(&o, "run", batch->run_id);
    qb_json_text(&o, "started", qb_text_time(sum->started, at));
    qb_line_origin(&o, &batch->origin);
    qb_json_bool(&o, "dry_run", sum->dry_run);
    qb_json_bool(&o, "owner_must_read", !batch->policy.owner_need_not_read);
    qb_json_number(&o, "images", sum->images);
    for (size_t i = 0; i < QB_STATUS_COUNT; i++)
        qb_json_number(&o, qb_status_names[i], sum->by_status[i]);
    qb_json_number(&o, "skipped_by_when", sum->not_meant);
    put_errors(&o, sum);
    qb_json_real(&o, "seconds", sum->seconds);
    qb_json_number(&o, "leaked_clusters", sum->leaked_clusters);
    qb_json_number(&o, "leaked_bytes", sum->leaked_bytes);
    qb_line_io(&o, &sum->io);
    return o;
}

void qb_line_sandbox(struct qb_json *o, const struct qb_sandboxed *s)
{
    struct qb_json sandbox, list;

    if (!s)
        return;
    sandbox = qb_json_object();
    list = qb_json_list();
    qb_json_text(&sandbox, "policy", qb_sandbox_names[s->policy]);
    for (unsigned i = 0; i < QB_CONFINE_PARTS; i++)
        if (s->applies && s->got.in_force >> i & 1)
            qb_json_append_string(&list, qb_confine_names[i]);
    qb_json_child(&sandbox, "in_force", list);
    qb_json_number(&sandbox, "landlock_version", s->applies ? s->got.landlock_version : 0);
    qb_json_text(&sandbox, "reason", s->why_not);
    qb_json_child(o, "sandbox", sandbox);
}

static int end_summary(FILE *f, struct qb_json o, int exit_code)
{
    qb_json_number(&o, "exit_code", (uint64_t)exit_code);
    qb_json_text(&o, "qbatch", QB_VERSION);
    return qb_json_line(f, o);
}

int qb_line_summary(FILE *f, const struct qb_batch *batch, const struct qb_summary *sum,
                    const struct qb_foresight *foresight, int exit_code)
{
    struct qb_json o = summary_of(batch, sum);

    if (foresight && sum->dry_run)
        qb_foresight_json(foresight, &o);
    if (sum->rate_seconds > 0)
        qb_json_real(&o, "rate_seconds", sum->rate_seconds);
    if (sum->rollout.n)
        qb_rollout_json(&o, &sum->rollout);
    qb_orders_json(&o, &sum->orders);
    qb_json_text(&o, "journal_error", sum->journal_lost);
    qb_json_text(&o, "finish", sum->finish);
    qb_line_sandbox(&o, sum->sandboxed);
    return end_summary(f, o, exit_code);
}

int qb_line_total(FILE *f, const struct qb_telling *t, int exit_code)
{
    const struct qb_part *parts = t->parts;
    struct qb_json o = summary_of(t->batch, t->sum), list = qb_json_list();

    for (size_t i = 0; i < t->n_parts; i++) {
        struct qb_json part = qb_line_of(&parts[i]);

        qb_json_text(&part, "file", parts[i].file);
        qb_json_bool(&part, "dry_run", parts[i].dry_run);
        qb_json_number(&part, "images", parts[i].images);
        qb_json_real(&part, "seconds", parts[i].seconds);
        qb_json_bool(&part, "ended", parts[i].ended);
        if (parts[i].rollout)
            qb_rollout_json(&part, parts[i].rollout);
        qb_orders_json(&part, parts[i].orders);
        qb_json_append(&list, part);
    }
    if (t->sum->rollout.n)
        qb_rollout_json(&o, &t->sum->rollout);
    qb_json_child(&o, "parts", list);
    qb_joined_shards_json(&o, t->shards, t->batch);
    return end_summary(f, o, exit_code);
}

int qb_line_abort(FILE *f, const char *message, int exit_code)
{
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "type", "summary");
    qb_json_number(&o, "images", 0);
    qb_json_text(&o, "error", message);
    qb_json_number(&o, "exit_code", (uint64_t)exit_code);
    qb_json_text(&o, "qbatch", QB_VERSION);
    return qb_json_line(f, o);
}
