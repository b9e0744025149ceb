#include "page/html_lists.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "util/text.h"
#include "util/xml.h"

enum {
    REASONS_MAX = 50, /* of one code */
    NAMES_SEEN = 12   /* of one reason, when there are half as many more */
};

const char qb_html_classes[QB_STATUS_COUNT] = {
    [QB_STATUS_CHANGED] = 'c', [QB_STATUS_UNCHANGED] = 'u', [QB_STATUS_WOULD_CHANGE] = 'p',
    [QB_STATUS_SKIPPED] = 's', [QB_STATUS_FAILED] = 'f',    [QB_STATUS_INTERRUPTED] = 'i'};

char qb_html_class(const struct qb_result *r)
{
    return r->err.code == QB_E_WHEN ? 'o' : qb_html_classes[r->status];
}

void qb_html_path(FILE *f, const char *path)
{
    fputs("<bdi>", f);
    qb_markup_text(f, path);
    fputs("</bdi>", f);
}

/* A line may break after an arrow, never inside it. */
void qb_html_changes(FILE *f, const char *changes)
{
    const char *arrow;

    for (; (arrow = strstr(changes, " -> ")) != NULL; changes = arrow + 4) {
        qb_markup_span(f, changes, arrow);
        fputs("&nbsp;&rarr; ", f);
    }
    qb_markup_text(f, changes);
}

void qb_html_error(FILE *f, const struct qb_failure *err)
{
    qb_markup_text(f, err->text);
    if (err->offset != QB_NOWHERE)
        fprintf(f, " at 0x%" PRIx64, err->offset);
}

/* ---- gathering ------------------------------------------------------------------------------- */

void qb_html_lists_init(struct qb_html_lists *lists)
{
    *lists = (struct qb_html_lists){.reasons.keep = QB_HTML_NAMES_MAX, .left_out.keep = 1};
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static bool is_larger(const struct qb_html_large *a, const struct qb_html_large *b)
{
    if (!b->changes || a->written_bytes != b->written_bytes)
        return !b->changes || a->written_bytes > b->written_bytes;
    if (a->resized_bytes != b->resized_bytes)
        return a->resized_bytes > b->resized_bytes;
    return a->seconds > b->seconds;
}

/* An image that did not change is passed over. */
static bool add_large(struct qb_html_large *items, size_t job, const struct qb_outcome *o,
                      const char *changes)
{
    const struct qb_result *r = &o->result;
    struct qb_html_large one = {
        .job = job,
        .written_bytes = r->io.write_bytes,
        .resized_bytes =
            r->before && r->after ? distance(r->before->virtual_size, r->after->virtual_size) : 0,
        .allocated_delta = r->allocated_delta,
        .seconds = o->timing.seconds};
    size_t i = QB_HTML_LARGEST;

    if ((r->status != QB_STATUS_CHANGED && r->status != QB_STATUS_WOULD_CHANGE) ||
        !is_larger(&one, &items[QB_HTML_LARGEST - 1]))
        return true;
    one.changes = strdup(changes);
    if (!one.changes)
        return false;
    free(items[QB_HTML_LARGEST - 1].changes);
    while (--i > 0 && is_larger(&one, &items[i - 1]))
        items[i] = items[i - 1];
    items[i] = one;
    return true;
}

static bool add_notes(struct qb_html_lists *lists, size_t job, const struct qb_result *r)
{
    char room[QB_NOTE_ROOM];
    bool ok = true;

    qb_notes_add(&lists->notes, job, r);
    for (enum qb_note note = 0; note < QB_NOTE_COUNT; note++)
        if (lists->noted[note].n < QB_HTML_NAMES_MAX && qb_note_text(r, note, room))
            ok &= qb_vec_push(&lists->noted[note], job);
    return ok;
}

bool qb_html_lists_add(struct qb_html_lists *lists, size_t job, const struct qb_outcome *o,
                       const char *changes)
{
    const struct qb_result *r = &o->result;
    bool ok = add_notes(lists, job, r);

    if (r->err.code != QB_E_NONE)
        ok &= qb_groups_add(r->err.code == QB_E_WHEN ? &lists->left_out : &lists->reasons,
                            (struct qb_grouped){.status = r->status,
                                                .code = r->err.code,
                                                .text = r->err.text,
                                                .member = {job, r->err.offset}});
    return add_large(lists->largest, job, o, changes) && ok;
}

void qb_html_lists_free(struct qb_html_lists *lists)
{
    qb_groups_free(&lists->reasons);
    qb_groups_free(&lists->left_out);
    for (enum qb_note note = 0; note < QB_NOTE_COUNT; note++)
        qb_vec_free(&lists->noted[note]);
    for (size_t i = 0; i < QB_HTML_LARGEST; i++)
        free(qb_take(&lists->largest[i].changes));
}

/* ---- why ------------------------------------------------------------------------------------- */

/* Whether all members have one offset, which is then said once. */
static bool at_one_offset(const struct qb_group *g)
{
    for (size_t i = 1; i < g->members.n; i++)
        if (g->members.items[i].offset != g->members.items[0].offset)
            return false;
    return g->members.n > 0;
}

/* The first names are seen, the others when a reader asks for them. */
void qb_html_put_names(FILE *f, const struct qb_group *g, const struct qb_batch *batch, size_t room)
{
    bool together = at_one_offset(g), folded = g->n > NAMES_SEEN + NAMES_SEEN / 2;
    size_t n = QB_MIN(g->members.n, room);
    char b[QB_TEXT_NUMBER];

    for (size_t i = 0; i < n; i++) {
        if (folded && i == NAMES_SEEN)
            fprintf(f, "<details><summary>and %s more</summary>\n", qb_text_count(g->n - i, b));
        qb_html_path(f, batch->jobs[g->members.items[i].job].path);
        if (!together && g->members.items[i].offset != QB_NOWHERE)
            fprintf(f, "<span class=dim>at 0x%" PRIx64 "</span>", g->members.items[i].offset);
        fputc('\n', f);
    }
    if (g->n > n)
        fprintf(f, "<span class=dim>and %s more, in the list of all images</span>\n",
                qb_text_count(g->n - n, b));
    if (folded && n > NAMES_SEEN)
        fputs("</details>\n", f);
}

static void put_group(FILE *f, const struct qb_group *g, const struct qb_batch *batch, size_t *room)
{
    char b[QB_TEXT_NUMBER];

    fputs("<li>", f);
    if (g->text)
        qb_markup_text(f, g->text);
    else
        fputs("other reasons", f);
    if (at_one_offset(g) && g->members.items[0].offset != QB_NOWHERE)
        fprintf(f, " at 0x%" PRIx64, g->members.items[0].offset);
    if (g->n > 1)
        fprintf(f, " <b>&times; %s</b>", qb_text_count(g->n, b));
    fputs("<br>", f);
    qb_html_put_names(f, g, batch, *room);
    *room -= QB_MIN(g->members.n, *room);
}

static bool is_of(const struct qb_group *g, unsigned status, enum qb_code code)
{
    return g->status == status && g->code == code;
}

/* All that has one code: its hint, and each of its reasons with its images. */
static void put_code(FILE *f, const struct qb_groups *groups, unsigned status, char class,
                     enum qb_code code, const struct qb_batch *batch)
{
    const char *hint = qb_code_hint(code);
    size_t room = QB_HTML_NAMES_MAX, shown = 0;
    uint64_t n = 0, left = 0;
    char b[QB_TEXT_NUMBER];

    for (size_t i = 0; i < groups->list.n; i++)
        n += is_of(&groups->list.items[i], status, code) ? groups->list.items[i].n : 0;
    if (n == 0)
        return;
    fprintf(f, "<details open class=%c><summary>%s: %s image%s</summary>\n", class,
            qb_code_name(code), qb_text_count(n, b), n == 1 ? "" : "s");
    if (*hint) {
        fputs("<p class=hint>", f);
        qb_markup_text(f, hint);
        fputs("</p>\n", f);
    }
    fputs("<ul>\n", f);
    for (size_t i = 0; i < groups->list.n; i++) {
        const struct qb_group *g = &groups->list.items[i];

        if (!is_of(g, status, code))
            continue;
        if (shown++ < REASONS_MAX)
            put_group(f, g, batch, &room);
        else
            left += g->n;
    }
    fputs("</ul>\n", f);
    if (left)
        fprintf(f, "<p class=note>and %s more for other reasons, in the list of all images</p>\n",
                qb_text_count(left, b));
    fputs("</details>\n", f);
}

void qb_html_put_errors(FILE *f, const struct qb_groups *groups, unsigned status, char class,
                        const struct qb_batch *batch)
{
    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++)
        put_code(f, groups, status, class, code, batch);
}

static void put_left_out(FILE *f, const struct qb_groups *groups)
{
    uint64_t n = 0;
    char b[QB_TEXT_NUMBER];

    for (size_t i = 0; i < groups->list.n; i++)
        n += groups->list.items[i].n;
    if (n)
        fprintf(f, "<p class=note>%s image%s left out by <code>when</code>.</p>\n",
                qb_text_count(n, b), n == 1 ? " is" : "s are");
}

void qb_html_put_reasons(FILE *f, struct qb_html_lists *lists, const struct qb_batch *batch)
{
    static const enum qb_status worst_first[] = {QB_STATUS_FAILED, QB_STATUS_INTERRUPTED,
                                                 QB_STATUS_SKIPPED};

    qb_groups_sort(&lists->reasons);
    fputs("<h2>What did not succeed, and why</h2>\n", f);
    for (size_t i = 0; i < sizeof(worst_first) / sizeof(worst_first[0]); i++)
        qb_html_put_errors(f, &lists->reasons, worst_first[i], qb_html_classes[worst_first[i]],
                           batch);
    if (lists->reasons.list.n == 0)
        fputs("<p>Nothing: every image has the requested properties.</p>\n", f);
    put_left_out(f, &lists->left_out);
}

/* ---- notes ----------------------------------------------------------------------------------- */

void qb_html_put_notes(FILE *f, const struct qb_html_lists *lists, const struct qb_batch *batch)
{
    char room[QB_NOTE_ROOM], b[QB_TEXT_NUMBER];
    bool any = false;

    for (enum qb_note note = 0; note < QB_NOTE_COUNT; note++) {
        const char *text = qb_notes_text(&lists->notes, note, room);
        uint64_t n = lists->notes.of[note].n;

        if (!text)
            continue;
        fputs(any ? "" : "<h2>Notes</h2>\n", f);
        any = true;
        fprintf(f, "<details><summary>%s image%s: ", qb_text_count(n, b), n == 1 ? "" : "s");
        qb_markup_text(f, text);
        fputs("</summary>\n<ul><li>", f);
        for (size_t i = 0; i < lists->noted[note].n; i++) {
            qb_html_path(f, batch->jobs[lists->noted[note].items[i]].path);
            fputc('\n', f);
        }
        if (n > lists->noted[note].n)
            fprintf(f, "<span class=dim>and %s more</span>\n",
                    qb_text_count(n - lists->noted[note].n, b));
        fputs("</ul></details>\n", f);
    }
}

/* ---- how much -------------------------------------------------------------------------------- */

static const char *sign_of(int64_t n)
{
    return n < 0 ? "-" : n > 0 ? "+" : "";
}

void qb_html_put_largest(FILE *f, const struct qb_html_lists *lists, const struct qb_batch *batch)
{
    char b[QB_TEXT_NUMBER];

    if (!lists->largest[0].changes)
        return;
    fputs("<h2>The largest changes</h2>\n<div class=wide><table>\n<thead><tr><th>Image<th>Change"
          "<th class=n>Written<th class=n>On disk<th class=n>Took\n<tbody>\n",
          f);
    for (size_t i = 0; i < QB_HTML_LARGEST && lists->largest[i].changes; i++) {
        const struct qb_html_large *l = &lists->largest[i];
        int64_t delta = l->allocated_delta;

        fputs("<tr><td>", f);
        qb_html_path(f, batch->jobs[l->job].path);
        fputs("<td>", f);
        qb_html_changes(f, l->changes);
        fprintf(f, "<td class=n>%s", qb_text_size(l->written_bytes, b));
        fprintf(f, "<td class=n>%s%s", sign_of(delta),
                qb_text_size(delta < 0 ? -(uint64_t)delta : (uint64_t)delta, b));
        fprintf(f, "<td class=n>%s\n", qb_text_seconds(l->seconds, b));
    }
    fputs("</table></div>\n", f);
}
