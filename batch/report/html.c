/* The page itself: its sections, from the totals to the table of all images. */
#include "report/html_lists.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/num.h"
#include "util/xml.h"
#include "report/html.h"
#include "report/sinks.h"
#include "report/change_text.h"
#include "util/text.h"
#include "report/timeline.h"

enum {
    ROWS_MAX = 20000, /* of images that are as wanted, and of others: what a browser still likes */
    CHANGES_TEXT = 4096 /* bytes */
};

struct page {
    bool begun;
    struct qb_html_reasons reasons;
    struct qb_html_largest largest;
    struct qb_timeline timeline;
    uint64_t rows[2]; /* told; of images that are as wanted, and of others */
    bool whole;       /* false: memory was short */
};

/* ---- while it runs --------------------------------------------------------------------------- */

static void put_note(FILE *f, const char *note)
{
    fputs("<br><span class=dim>", f);
    qb_markup_text(f, note);
    fputs("</span>", f);
}

/* End tags that HTML does not need are left out: ten thousand rows are to load fast. */
static void put_row(FILE *f, const char *path, size_t job, const struct qb_outcome *o,
                    char *changes)
{
    const struct qb_result *r = &o->result;
    char size[QB_TEXT_NUMBER];
    char room[QB_NOTE_ROOM];
    const char *note;

    fprintf(f, "<tr class=%c><td class=n>%zu<td>%s<td>", qb_html_classes[r->status], job + 1,
            qb_status_words[r->status]);
    qb_html_path(f, path);
    fputs("<td>", f);
    if (r->err.code != QB_E_NONE) {
        fprintf(f, "%s: ", qb_code_name(r->err.code));
        qb_html_error(f, &r->err);
    }
    qb_html_changes(f, changes);
    for (unsigned i = 0; (note = qb_report_note(r, i, room)) != NULL; i++)
        put_note(f, note);
    fprintf(f, "<td class=\"n x\" data-v=%" PRIu64 ">%s", r->io.write_bytes,
            r->io.write_bytes ? qb_text_size(r->io.write_bytes, size) : "");
    if (o->timing.wave == 0)
        fputs("<td class=\"n x\"><td class=n><td class=\"n x\"><td class=\"n x\">\n", f);
    else
        fprintf(f,
                "<td class=\"n x\">%.3f<td class=n>%.4f<td class=\"n x\">%u<td class=\"n x\">%u\n",
                o->timing.started_seconds, o->timing.seconds, o->timing.wave, o->timing.worker);
}

static void image(struct qb_sink *s, const struct qb_telling *t, size_t job,
                  const struct qb_outcome *o)
{
    const char *path = t->batch->jobs[job].path;
    const struct qb_result *r = &o->result;
    struct page *p = s->state;
    char changes[CHANGES_TEXT];

    if (!p->begun) {
        p->begun = p->whole = true;
        qb_timeline_init(&p->timeline);
    }
    qb_table_changes(r, changes, sizeof(changes));
    p->whole &= qb_html_add_reason(&p->reasons, path, r, t->sum->by_code[r->err.code]);
    p->whole &= qb_html_add_large(&p->largest, job, o, changes);
    qb_timeline_add(&p->timeline, job, o);
    if (p->rows[r->err.code != QB_E_NONE]++ < ROWS_MAX)
        put_row(s->body, path, job, o, changes);
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

static void put_facts(FILE *f, const struct qb_telling *t)
{
    const struct qb_summary *sum = t->sum;
    char b[QB_TEXT_NUMBER];

    fputs("<dl class=facts>\n", f);
    put_fact(f, "manifest", t->batch->manifest_path);
    put_fact(f, "run", t->batch->run_id);
    put_fact(f, "host", t->host);
    put_fact(f, "started", qb_text_time(sum->started, b));
    put_fact(f, "took", qb_text_seconds(sum->seconds, b));
    put_fact(f, "read", qb_text_size(sum->io.read_bytes, b));
    put_fact(f, "written", qb_text_size(sum->io.write_bytes, b));
    put_fact(f, "policy.owner_must_read", t->batch->policy.owner_need_not_read ? "off" : NULL);
    snprintf(b, sizeof(b), "%d", t->exit_code);
    put_fact(f, "exit code", b);
    fputs("</dl>\n", f);
}

static void put_totals(FILE *f, const struct qb_summary *sum)
{
    char b[QB_TEXT_NUMBER];

    fprintf(f, "<ul class=tiles>\n<li><b>%s</b>image%s\n", qb_text_count(sum->images, b),
            sum->images == 1 ? "" : "s");
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        if (sum->by_status[i])
            fprintf(f, "<li class=%c><b>%s</b>%s\n", qb_html_classes[i],
                    qb_text_count(sum->by_status[i], b), qb_status_words[i]);
    fputs("</ul>\n<div class=share aria-hidden=true>", f);
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        if (sum->by_status[i])
            fprintf(f, "<i class=%c style=\"flex:%" PRIu64 "\"></i>", qb_html_classes[i],
                    sum->by_status[i]);
    fputs("</div>\n", f);
}

static void put_find(FILE *f, const struct qb_summary *sum)
{
    fputs("<div class=find id=find hidden><input id=words type=search "
          "placeholder=\"path, change or reason\" aria-label=\"Search\"> "
          "<select id=status aria-label=\"Status\"><option value=\"\">all\n",
          f);
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        if (sum->by_status[i])
            fprintf(f, "<option value=%c>%s\n", qb_html_classes[i], qb_status_words[i]);
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
    fputs("<table id=all>\n<thead><tr><th class=n>#<th class=st>Status<th>Image"
          "<th>Change, or why not<th class=\"n x\">Written<th class=\"n x\">Start, s"
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
    qb_html_put_reasons(f, &p->reasons, t->sum);
    if (p->timeline.marks.n)
        fputs("<h2>When, and by whom</h2>\n", f);
    qb_timeline_print(f, &p->timeline, t->batch);
    qb_html_put_largest(f, &p->largest, t->batch);
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

    qb_html_lists_free(&p->reasons, &p->largest);
    qb_timeline_free(&p->timeline);
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
