/* Writes the page: its sections, from the totals to the table of all images. */
#include "page/html_lists.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/vec.h"
#include "shard/shard.h"
#include "util/xml.h"
#include "page/html_check.h"
#include "record/joined_shards.h"
#include "page/html_parts.h"
#include "page/html_orders.h"
#include "page/html_steps.h"
#include "sink/sinks.h"
#include "text/change_text.h"
#include "util/text.h"
#include "page/timeline.h"

enum { CHANGES_TEXT = 4096 /* bytes */ };

struct page {
    struct qb_html_check check; /* of a check, which has nothing of the rest */
    bool begun;
    struct qb_html_lists lists;
    QB_VEC(struct qb_timeline) timelines; /* one of each run */
    uint64_t rows[2];                     /* told; of images that are as wanted, and of others */
    bool whole;                           /* false: memory was short */
};

/* ---- while it runs --------------------------------------------------------------------------- */

static const char *status_words(const struct qb_result *r)
{
    return r->err.code == QB_E_WHEN ? "left out" : qb_status_words[r->status];
}

static void put_times(FILE *f, const struct qb_timing *t)
{
    if (t->wave == 0)
        fputs("<td class=\"n x\"><td class=n><td class=\"n x\"><td class=\"n x\">\n", f);
    else
        fprintf(f,
                "<td class=\"n x\">%.3f<td class=n>%.4f<td class=\"n x\">%u<td class=\"n x\">%u\n",
                t->started_seconds, t->seconds, t->wave, t->worker);
}

/* End tags that HTML does not need are left out: ten thousand rows are to load fast. */
static char *compose(const struct qb_telling *t, size_t job, const struct qb_outcome *o,
                     size_t *len)
{
    const struct qb_result *r = &o->result;
    char size[QB_TEXT_NUMBER], changes[CHANGES_TEXT], *text = NULL;
    FILE *f = open_memstream(&text, len);

    if (!f)
        return NULL;
    qb_table_changes(r, changes, sizeof(changes));
    fprintf(f, "<tr class=%c><td class=n>%zu<td>%s<td>", qb_html_class(r), job + 1,
            status_words(r));
    if (t->n_parts > 1)
        fprintf(f, "<span class=dim>run %zu:</span> ", t->part + 1);
    qb_html_path(f, t->batch->jobs[job].path);
    fputs("<td>", f);
    if (r->err.code != QB_E_NONE) {
        fprintf(f, "%s: ", qb_code_name(r->err.code));
        qb_html_error(f, &r->err);
    }
    qb_html_changes(f, changes);
    fprintf(f, "<td class=\"n x\" data-v=%" PRIu64 ">%s", r->io.write_bytes,
            r->io.write_bytes ? qb_text_size(r->io.write_bytes, size) : "");
    put_times(f, &o->timing);
    return qb_sink_text_end(f, &text);
}

static bool add_to_timeline(struct page *p, size_t part, size_t job, const struct qb_outcome *o)
{
    struct qb_timeline fresh;

    qb_timeline_init(&fresh);
    while (p->timelines.n <= part)
        if (!qb_vec_push(&p->timelines, fresh))
            return false;
    qb_timeline_add(&p->timelines.items[part], job, o);
    return true;
}

static void image(struct qb_sink *s, const struct qb_telling *t, size_t job,
                  const struct qb_outcome *o, const struct qb_sink_text *text)
{
    struct page *p = s->state;
    char changes[CHANGES_TEXT];

    if (!p->begun) {
        p->begun = p->whole = true;
        qb_html_lists_init(&p->lists);
    }
    qb_table_changes(&o->result, changes, sizeof(changes));
    p->whole &= qb_html_lists_add(&p->lists, job, o, changes);
    p->whole &= add_to_timeline(p, t->part, job, o);
    if (p->rows[o->result.err.code != QB_E_NONE]++ < QB_HTML_ROWS_MAX)
        fwrite(text->text, 1, text->len, s->body);
}

/* ---- the sections ---------------------------------------------------------------------------- */

static const char *title_of(const struct qb_batch *batch)
{
    return batch->name ? batch->name : "qbatch amend";
}

static void put_facts(FILE *f, const struct qb_telling *t)
{
    const struct qb_origin *origin = &t->batch->origin;
    const struct qb_summary *sum = t->sum;
    char b[QB_TEXT_NUMBER], sandbox[QB_SANDBOX_TEXT];

    fputs("<dl class=facts>\n", f);
    if (t->n_parts <= 1) {
        qb_html_fact(f, "manifest", t->batch->manifest_path);
        qb_html_fact(f, "run", t->batch->run_id);
        qb_html_fact(f, "shard", qb_shard_text(origin->shard, b));
        qb_html_fact(f, "host", origin->host);
        qb_html_fact(f, "caller", origin->caller);
        qb_html_fact(f, "started", qb_text_time(sum->started, b));
    }
    qb_html_fact(f, "took", qb_text_seconds(sum->seconds, b));
    qb_html_fact(f, "read", qb_text_size(sum->io.read_bytes, b));
    qb_html_fact(f, "written", qb_text_size(sum->io.write_bytes, b));
    if (sum->io.zeroed_bytes)
        qb_html_fact(f, "zeroed without writing", qb_text_size(sum->io.zeroed_bytes, b));
    qb_html_fact(f, "policy.owner_must_read", t->batch->policy.owner_need_not_read ? "off" : NULL);
    if (sum->sandboxed)
        qb_html_fact(f, "sandbox", qb_sandbox_text(sum->sandboxed, sandbox));
    snprintf(b, sizeof(b), "%d", t->exit_code);
    qb_html_fact(f, "exit code", b);
    qb_html_labels(f, origin);
    fputs("</dl>\n", f);
    if (t->n_parts <= 1)
        qb_html_command(f, origin);
}

static void put_cell(FILE *f, const char *text)
{
    fputs("<td>", f);
    qb_markup_text(f, text ? text : "");
}

/* Which runs the page joins; each keeps its date, host, name and manifest. */
static void put_parts(FILE *f, const struct qb_telling *t)
{
    char b[QB_TEXT_NUMBER];

    for (size_t i = 0; t->shards && i < t->shards->sentences.n; i++) {
        fputs("<p class=note>", f);
        qb_markup_text(f, t->shards->sentences.items[i]);
        fputs("</p>\n", f);
    }
    if (t->n_parts <= 1)
        return;
    fputs("<h2>The runs</h2>\n<div class=wide><table>\n<thead><tr><th class=n>#<th>Started<th>Host"
          "<th>Run<th>Shard<th>Manifest<th>Caller<th>Labels<th class=n>Images<th "
          "class=n>Took\n<tbody>\n",
          f);
    for (size_t i = 0; i < t->n_parts; i++) {
        const struct qb_part *p = &t->parts[i];

        fprintf(f, "<tr><td class=n>%zu", i + 1);
        put_cell(f, qb_text_time(p->origin->started, b));
        put_cell(f, p->origin->host);
        put_cell(f, p->run && *p->run ? p->run : p->file);
        put_cell(f, qb_shard_text(p->origin->shard, b));
        put_cell(f, p->manifest ? p->manifest : p->name);
        put_cell(f, p->origin->caller);
        fputs("<td>", f);
        for (size_t k = 0; k < p->origin->labels.n; k++) {
            qb_markup_text(f, p->origin->labels.items[k].key);
            fputs(": ", f);
            qb_markup_text(f, p->origin->labels.items[k].value);
            fputs("<br>", f);
        }
        fprintf(f, "<td class=n>%s", qb_text_count(p->images, b));
        fprintf(f, "<td class=n>%s%s%s\n", qb_text_seconds(p->seconds, b),
                p->dry_run ? " (dry run)" : "",
                p->origin->shard.of && !p->ended ? " (no end)" : "");
    }
    fputs("</table></div>\n", f);
}

static void put_timelines(FILE *f, const struct page *p, const struct qb_telling *t)
{
    bool any = false;

    for (size_t i = 0; i < p->timelines.n; i++) {
        if (p->timelines.items[i].images == 0)
            continue;
        fputs(any ? "" : "<h2>Timeline</h2>\n", f);
        any = true;
        if (t->n_parts > 1)
            fprintf(f, "<h3>run %zu</h3>\n", i + 1);
        qb_timeline_print(f, &p->timelines.items[i], t->batch);
    }
}

static size_t kinds_of(const struct qb_summary *sum, struct qb_html_kind out[QB_STATUS_COUNT + 1])
{
    size_t n = 0;

    for (int i = 0; i < QB_STATUS_COUNT; i++) {
        uint64_t images = sum->by_status[i] - (i == QB_STATUS_SKIPPED ? sum->not_meant : 0);

        if (images)
            out[n++] = (struct qb_html_kind){qb_html_classes[i], qb_status_words[i], images};
    }
    if (sum->not_meant)
        out[n++] = (struct qb_html_kind){'o', "left out", sum->not_meant};
    return n;
}

static void put_totals(FILE *f, const struct qb_summary *sum)
{
    struct qb_html_kind kinds[QB_STATUS_COUNT + 1];

    qb_html_tiles(f, sum->images, kinds, kinds_of(sum, kinds));
}

static void put_all(struct qb_sink *s, const struct page *p, const struct qb_telling *t)
{
    uint64_t out = p->rows[0] - QB_MIN(p->rows[0], (uint64_t)QB_HTML_ROWS_MAX) + p->rows[1] -
                   QB_MIN(p->rows[1], (uint64_t)QB_HTML_ROWS_MAX);
    struct qb_html_kind kinds[QB_STATUS_COUNT + 1];
    FILE *f = s->file.f, *body = s->body;

    qb_html_find(f, out, "path, change or reason", kinds, kinds_of(t->sum, kinds));
    fprintf(f, "<table id=all%s>\n",
            p->rows[0] + p->rows[1] > QB_HTML_MANY_ROWS ? " class=many" : "");
    fputs("<thead><tr><th class=n>#<th class=st>Status<th>Image"
          "<th>Change or error<th class=\"n x\">Written<th class=\"n x\">Start, s"
          "<th class=n>Took, s<th class=\"n x\">Wave<th class=\"n x\">Worker\n<tbody>\n",
          f);
    s->body = NULL;
    qb_outfile_pour(&s->file, body);
    fputs("</table>\n", f);
}

/* Of each run, as they are numbered in "The runs". */
static void put_steps(FILE *f, const struct qb_telling *t)
{
    if (t->n_parts <= 1)
        qb_html_put_steps(f, &t->sum->rollout, 0);
    for (size_t i = 0; t->n_parts > 1 && i < t->n_parts; i++)
        if (t->parts[i].rollout)
            qb_html_put_steps(f, t->parts[i].rollout, i + 1);
}

/* Of the run that has just ended, or of each that is shown. */
static void put_orders(FILE *f, const struct qb_telling *t)
{
    qb_html_put_orders(f, &t->sum->orders, 0);
    for (size_t i = 0; i < t->n_parts; i++)
        qb_html_put_orders(f, t->parts[i].orders, t->n_parts > 1 ? i + 1 : 0);
}

static void end(struct qb_sink *s, const struct qb_telling *t)
{
    struct page *p = s->state;
    FILE *f = s->file.f;

    qb_html_begin(f, title_of(t->batch), t->sum->dry_run ? "dry run: nothing was written" : "");
    put_facts(f, t);
    put_totals(f, t->sum);
    put_parts(f, t);
    put_steps(f, t);
    put_orders(f, t);
    qb_html_put_reasons(f, &p->lists, t->batch);
    qb_html_put_notes(f, &p->lists, t->batch);
    put_timelines(f, p, t);
    qb_html_put_largest(f, &p->lists, t->batch);
    put_all(s, p, t);
    qb_html_end(f);
    if (p->begun && !p->whole && !s->file.errnum)
        s->file.errnum = ENOMEM;
}

/* ---- of a check (html_check.h) --------------------------------------------------------------- */

static void checked_take(struct qb_sink *s, size_t job, const struct qb_sink_text *text)
{
    struct page *p = s->state;

    if (!qb_html_check_take(&p->check, job, text, s->body))
        p->check.short_of_memory = true;
}

static void checked_end(struct qb_sink *s, const struct qb_check_telling *t)
{
    struct page *p = s->state;

    qb_html_check_end(&p->check, s, t);
    if (p->check.short_of_memory && !s->file.errnum)
        s->file.errnum = ENOMEM;
}

static void drop(struct qb_sink *s)
{
    struct page *p = s->state;

    qb_html_check_free(&p->check);
    qb_html_lists_free(&p->lists);
    qb_vec_each (timeline, &p->timelines)
        qb_timeline_free(timeline);
    qb_vec_free(&p->timelines);
}

extern const struct qb_sink_kind qb_sink_html;

const struct qb_sink_kind qb_sink_html = {
    .what = "page",
    .begins = "<!doctype html>",
    .wants_body = true,
    .state_size = sizeof(struct page),
    .compose = compose,
    .image = image,
    .end = end,
    .checked = qb_html_checked,
    .checked_take = checked_take,
    .checked_end = checked_end,
    .drop = drop,
};
