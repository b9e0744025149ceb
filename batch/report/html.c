/* Writes the page: its sections, from the totals to the table of all images. */
#include "report/html_lists.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/vec.h"
#include "util/xml.h"
#include "report/html.h"
#include "report/sinks.h"
#include "report/change_text.h"
#include "util/text.h"
#include "report/timeline.h"

enum {
    ROWS_MAX = 20000, /* of images that are as wanted, and of others: what a browser still likes */
    MANY_ROWS = 1000, /* more are lines on paper */
    CHANGES_TEXT = 4096 /* bytes */
};

struct page {
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
static void put_row(FILE *f, const struct qb_telling *t, size_t job, const struct qb_outcome *o,
                    char *changes)
{
    const struct qb_result *r = &o->result;
    char size[QB_TEXT_NUMBER];

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
                  const struct qb_outcome *o)
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
    if (p->rows[o->result.err.code != QB_E_NONE]++ < ROWS_MAX)
        put_row(s->body, t, job, o, changes);
}

/* ---- the sections ---------------------------------------------------------------------------- */

static const char *title_of(const struct qb_batch *batch)
{
    return batch->name ? batch->name : "qbatch amend";
}

static void put_head(FILE *f, const struct qb_telling *t)
{
    fputs("<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
          "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n"
          "<meta http-equiv=Content-Security-Policy content=\"default-src 'none';"
          "style-src 'unsafe-inline';script-src 'unsafe-inline';base-uri 'none';"
          "form-action 'none'\">\n<title>",
          f);
    qb_markup_text(f, title_of(t->batch));
    fputs(" - qbatch</title>\n<style>\n", f);
    fputs(qb_html_style, f);
    fputs("</style>\n</head>\n<body>\n<h1>", f);
    qb_markup_text(f, title_of(t->batch));
    fputs(t->sum->dry_run ? " <span class=dim>dry run: nothing was written</span></h1>\n"
                          : "</h1>\n",
          f);
}

static void put_fact(FILE *f, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    fprintf(f, "<div><dt>%s</dt> <dd>", name);
    qb_markup_text(f, value);
    fputs("</dd></div>\n", f);
}

static void put_labels(FILE *f, const struct qb_origin *origin)
{
    for (size_t k = 0; k < origin->labels.n; k++) {
        fputs("<div><dt>", f);
        qb_markup_text(f, origin->labels.items[k].key);
        fputs("</dt> <dd class=label>", f);
        qb_markup_text(f, origin->labels.items[k].value);
        fputs("</dd></div>\n", f);
    }
}

static void put_facts(FILE *f, const struct qb_telling *t)
{
    const struct qb_origin *origin = &t->batch->origin;
    const struct qb_summary *sum = t->sum;
    char b[QB_TEXT_NUMBER];

    fputs("<dl class=facts>\n", f);
    if (t->n_parts <= 1) {
        put_fact(f, "manifest", t->batch->manifest_path);
        put_fact(f, "run", t->batch->run_id);
        put_fact(f, "host", origin->host);
        put_fact(f, "caller", origin->caller);
        put_fact(f, "started", qb_text_time(sum->started, b));
    }
    put_fact(f, "took", qb_text_seconds(sum->seconds, b));
    put_fact(f, "read", qb_text_size(sum->io.read_bytes, b));
    put_fact(f, "written", qb_text_size(sum->io.write_bytes, b));
    if (sum->io.zeroed_bytes)
        put_fact(f, "zeroed without writing", qb_text_size(sum->io.zeroed_bytes, b));
    put_fact(f, "policy.owner_must_read", t->batch->policy.owner_need_not_read ? "off" : NULL);
    snprintf(b, sizeof(b), "%d", t->exit_code);
    put_fact(f, "exit code", b);
    put_labels(f, origin);
    fputs("</dl>\n", f);
    if (t->n_parts <= 1 && origin->command) {
        fputs("<p class=command><code>", f);
        qb_markup_text(f, origin->command);
        fputs("</code></p>\n", f);
    }
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

    if (t->n_parts <= 1)
        return;
    fputs("<h2>The runs</h2>\n<div class=wide><table>\n<thead><tr><th class=n>#<th>Started<th>Host"
          "<th>Run<th>Manifest<th>Caller<th>Labels<th class=n>Images<th class=n>Took\n<tbody>\n",
          f);
    for (size_t i = 0; i < t->n_parts; i++) {
        const struct qb_part *p = &t->parts[i];

        fprintf(f, "<tr><td class=n>%zu", i + 1);
        put_cell(f, qb_text_time(p->origin->started, b));
        put_cell(f, p->origin->host);
        put_cell(f, p->run && *p->run ? p->run : p->file);
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
        fprintf(f, "<td class=n>%s%s\n", qb_text_seconds(p->seconds, b),
                p->dry_run ? " (dry run)" : "");
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

/* A tile, or a part of the bar, for each kind of outcome. */
struct kind {
    char class;
    const char *words;
    uint64_t n;
};

static size_t kinds_of(const struct qb_summary *sum, struct kind out[QB_STATUS_COUNT + 1])
{
    size_t n = 0;

    for (int i = 0; i < QB_STATUS_COUNT; i++) {
        uint64_t images = sum->by_status[i] - (i == QB_STATUS_SKIPPED ? sum->not_meant : 0);

        if (images)
            out[n++] = (struct kind){qb_html_classes[i], qb_status_words[i], images};
    }
    if (sum->not_meant)
        out[n++] = (struct kind){'o', "left out", sum->not_meant};
    return n;
}

static void put_totals(FILE *f, const struct qb_summary *sum)
{
    struct kind kinds[QB_STATUS_COUNT + 1];
    size_t n = kinds_of(sum, kinds);
    char b[QB_TEXT_NUMBER];

    fprintf(f, "<ul class=tiles>\n<li><b>%s</b>image%s\n", qb_text_count(sum->images, b),
            sum->images == 1 ? "" : "s");
    for (size_t i = 0; i < n; i++)
        fprintf(f, "<li class=%c><b>%s</b>%s\n", kinds[i].class, qb_text_count(kinds[i].n, b),
                kinds[i].words);
    fputs("</ul>\n<div class=share aria-hidden=true>", f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "<i class=%c style=\"flex:%" PRIu64 "\"></i>", kinds[i].class, kinds[i].n);
    fputs("</div>\n", f);
}

static void put_find(FILE *f, const struct qb_summary *sum)
{
    struct kind kinds[QB_STATUS_COUNT + 1];
    size_t n = kinds_of(sum, kinds);

    fputs("<div class=find id=find hidden><input id=words type=search "
          "placeholder=\"path, change or reason\" aria-label=\"Search\"> "
          "<select id=status aria-label=\"Status\"><option value=\"\">all\n",
          f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "<option value=%c>%s\n", kinds[i].class, kinds[i].words);
    fputs("</select> <span id=shown class=dim role=status></span></div>\n", f);
}

static void put_all(struct qb_sink *s, const struct page *p, const struct qb_telling *t)
{
    uint64_t out = p->rows[0] - QB_MIN(p->rows[0], (uint64_t)ROWS_MAX) + p->rows[1] -
                   QB_MIN(p->rows[1], (uint64_t)ROWS_MAX);
    FILE *f = s->file.f, *body = s->body;
    char b[QB_TEXT_NUMBER];

    fputs("<h2>All images</h2>\n", f);
    if (out)
        fprintf(f,
                "<p class=note>%s images are left out here; a file of --report has all of "
                "them.</p>\n",
                qb_text_count(out, b));
    put_find(f, t->sum);
    fprintf(f, "<table id=all%s>\n", p->rows[0] + p->rows[1] > MANY_ROWS ? " class=many" : "");
    fputs("<thead><tr><th class=n>#<th class=st>Status<th>Image"
          "<th>Change or error<th class=\"n x\">Written<th class=\"n x\">Start, s"
          "<th class=n>Took, s<th class=\"n x\">Wave<th class=\"n x\">Worker\n<tbody>\n",
          f);
    s->body = NULL;
    qb_outfile_pour(&s->file, body);
    fputs("</table>\n", f);
}

static void end(struct qb_sink *s, const struct qb_telling *t)
{
    struct page *p = s->state;
    FILE *f = s->file.f;

    put_head(f, t);
    put_facts(f, t);
    put_totals(f, t->sum);
    put_parts(f, t);
    qb_html_put_reasons(f, &p->lists, t->batch);
    qb_html_put_notes(f, &p->lists, t->batch);
    put_timelines(f, p, t);
    qb_html_put_largest(f, &p->lists, t->batch);
    put_all(s, p, t);
    fputs("<footer>qbatch " QB_VERSION "</footer>\n<script>\n", f);
    fputs(qb_html_script, f);
    fputs("</script>\n</body>\n</html>\n", f);
    if (p->begun && !p->whole && !s->file.errnum)
        s->file.errnum = ENOMEM;
}

static void drop(struct qb_sink *s)
{
    struct page *p = s->state;

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
    .image = image,
    .end = end,
    .drop = drop,
};
