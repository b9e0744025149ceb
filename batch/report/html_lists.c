#include "report/html_lists.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "util/xml.h"
#include "util/text.h"

enum { LISTED_MAX = 500 /* images of one error */ };

const char qb_html_classes[QB_STATUS_COUNT] = {
    [QB_STATUS_CHANGED] = 'c', [QB_STATUS_UNCHANGED] = 'u', [QB_STATUS_WOULD_CHANGE] = 'p',
    [QB_STATUS_SKIPPED] = 's', [QB_STATUS_FAILED] = 'f',    [QB_STATUS_INTERRUPTED] = 'i'};

void qb_html_path(FILE *f, const char *path)
{
    fputs("<bdi>", f);
    qb_markup_text(f, path);
    fputs("</bdi>", f);
}

/* A line may break behind an arrow, never inside it. */
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

/* ---- why ------------------------------------------------------------------------------------- */

static bool is_alike(const struct qb_err *a, const struct qb_failure *b)
{
    return a->offset == b->offset && strcmp(a->text, b->text) == 0;
}

bool qb_html_add_reason(struct qb_html_reasons *reasons, const char *path,
                        const struct qb_result *r, uint64_t nth)
{
    struct qb_html_reason *list = &reasons->of[r->err.code];

    if (r->err.code == QB_E_NONE)
        return true;
    if (!list->f && !(list->f = open_memstream(&list->text, &list->len)))
        return false;
    if (nth == 1 || r->status == QB_STATUS_FAILED)
        list->worst = r->status;
    if (nth > LISTED_MAX)
        return true;
    if (nth == 1 || !is_alike(&list->last, &r->err)) {
        fputs("<li>", list->f);
        qb_html_error(list->f, &r->err);
        fputs("<br>", list->f);
        list->last = qb_err_of(&r->err);
    }
    qb_html_path(list->f, path);
    fputc('\n', list->f);
    return !ferror(list->f);
}

/* A thousand images of one error are one matter. */
static void put_reason(FILE *f, struct qb_html_reason *list, enum qb_code code, uint64_t n)
{
    const char *hint = qb_code_hint(code);
    char b[QB_TEXT_NUMBER];

    fprintf(f, "<details open class=%c><summary>%s: %s image%s</summary>\n",
            qb_html_classes[list->worst], qb_code_name(code), qb_text_count(n, b),
            n == 1 ? "" : "s");
    if (*hint) {
        fputs("<p class=hint>", f);
        qb_markup_text(f, hint);
        fputs("</p>\n", f);
    }
    fputs("<ul>\n", f);
    fwrite(list->text, 1, list->len, f);
    fputs("</ul>\n", f);
    if (n > LISTED_MAX)
        fprintf(f, "<p class=note>and %s more, in the list of all images</p>\n",
                qb_text_count(n - LISTED_MAX, b));
    fputs("</details>\n", f);
}

void qb_html_put_reasons(FILE *f, struct qb_html_reasons *reasons, const struct qb_summary *sum)
{
    bool any = false;

    fputs("<h2>What did not succeed, and why</h2>\n", f);
    for (int pass = 0; pass < 2; pass++) /* failures first */
        for (int i = QB_E_NONE + 1; i < QB_E_COUNT; i++) {
            struct qb_html_reason *list = &reasons->of[i];

            if (!list->f || (list->worst == QB_STATUS_FAILED) != (pass == 0))
                continue;
            fflush(list->f);
            put_reason(f, list, (enum qb_code)i, sum->by_code[i]);
            any = true;
        }
    if (!any)
        fputs("<p>Nothing: every image is as wanted.</p>\n", f);
}

/* ---- how much -------------------------------------------------------------------------------- */

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

bool qb_html_add_large(struct qb_html_largest *largest, size_t job, const struct qb_outcome *o,
                       const char *changes)
{
    const struct qb_result *r = &o->result;
    struct qb_html_large one = {
        .job = job,
        .written_bytes = r->io.write_bytes + r->io.zeroed_bytes,
        .resized_bytes =
            r->before && r->after ? distance(r->before->virtual_size, r->after->virtual_size) : 0,
        .allocated_delta = r->allocated_delta,
        .seconds = o->timing.seconds};
    struct qb_html_large *items = largest->items;
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

static const char *sign_of(int64_t n)
{
    return n < 0 ? "-" : n > 0 ? "+" : "";
}

void qb_html_put_largest(FILE *f, const struct qb_html_largest *largest,
                         const struct qb_batch *batch)
{
    char b[QB_TEXT_NUMBER];

    if (!largest->items[0].changes)
        return;
    fputs("<h2>The largest changes</h2>\n<div class=wide><table>\n<thead><tr><th>Image<th>Change"
          "<th class=n>Written<th class=n>On disk<th class=n>Took\n<tbody>\n",
          f);
    for (size_t i = 0; i < QB_HTML_LARGEST && largest->items[i].changes; i++) {
        const struct qb_html_large *l = &largest->items[i];
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

void qb_html_lists_free(struct qb_html_reasons *reasons, struct qb_html_largest *largest)
{
    for (size_t i = 0; i < QB_E_COUNT; i++) {
        if (reasons->of[i].f)
            fclose(reasons->of[i].f);
        free(reasons->of[i].text);
    }
    for (size_t i = 0; i < QB_HTML_LARGEST; i++)
        free(largest->items[i].changes);
}
