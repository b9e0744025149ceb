/* Writes the sections of the page of a check. */
#include <inttypes.h>

#include "base/num.h"
#include "page/html_check.h"
#include "page/html_lists.h"
#include "page/html_parts.h"
#include "util/text.h"
#include "util/xml.h"

static const char *title_of(const struct qb_batch *batch)
{
    return batch->name ? batch->name : "qbatch check";
}

static void put_number(FILE *f, const char *name, uint64_t n)
{
    char b[QB_TEXT_NUMBER];

    if (n)
        qb_html_fact(f, name, qb_text_count(n, b));
}

static void put_bytes(FILE *f, const char *name, uint64_t n)
{
    char b[QB_TEXT_NUMBER];

    if (n)
        qb_html_fact(f, name, qb_text_size(n, b));
}

static void put_facts(FILE *f, const struct qb_html_check *p, const struct qb_check_telling *t)
{
    const struct qb_origin *origin = &t->batch->origin;
    char b[QB_TEXT_NUMBER];

    fputs("<dl class=facts>\n", f);
    qb_html_fact(f, "manifest", t->batch->manifest_path);
    qb_html_fact(f, "host", origin->host);
    qb_html_fact(f, "caller", origin->caller);
    qb_html_fact(f, "started", qb_text_time(origin->started, b));
    qb_html_fact(f, "took", qb_text_seconds(t->sum->seconds, b));
    put_number(f, "errors", p->errors);
    put_number(f, "leaked clusters", p->leaks);
    put_bytes(f, "leaked", p->leaked_bytes);
    put_bytes(f, "may be lost to guests", p->guest_bytes);
    put_number(f, "not reached", t->sum->not_reached);
    snprintf(b, sizeof(b), "%d", t->exit_code);
    qb_html_fact(f, "exit code", b);
    qb_html_labels(f, origin);
    fputs("</dl>\n", f);
    qb_html_command(f, origin);
}

static size_t kinds_of(const struct qb_check_summary *sum, struct qb_html_kind *out)
{
    static const struct qb_html_kind kinds[QB_VERDICT_COUNT] = {
        [QB_VERDICT_CORRUPT] = {'f', "corrupt", 0},
        [QB_VERDICT_UNCHECKED] = {'i', "unchecked", 0},
        [QB_VERDICT_LEAKS] = {'s', "leaks", 0},
        [QB_VERDICT_CLEAN] = {'c', "clean", 0}};
    size_t n = 0;

    for (size_t i = 0; i < QB_VERDICT_COUNT; i++)
        if (sum->of[i]) {
            out[n] = kinds[i];
            out[n++].n = sum->of[i];
        }
    return n;
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

/* ---- what was found -------------------------------------------------------------------------- */

static char class_of(enum qb_defect defect)
{
    enum qb_defect_counter counter = qb_defects[defect].counter;

    return counter == QB_COUNT_LEAKS ? 's' : counter == QB_COUNT_SIGNS ? 'i' : 'f';
}

static void put_finding(FILE *f, const struct qb_html_check *p, enum qb_defect defect,
                        const struct qb_batch *batch)
{
    const struct qb_defect_row *row = &qb_defects[defect];
    const struct qb_group *g = &p->of[defect];
    char images[QB_TEXT_NUMBER], findings[QB_TEXT_NUMBER];

    fprintf(f, "<details open class=%c><summary>%s%s: %s image%s, %s finding%s</summary>\n",
            class_of(defect), class_of(defect) == 'i' ? "sign " : "", row->name,
            qb_text_count(g->n, images), plural(g->n), qb_text_count(p->findings[defect], findings),
            plural(p->findings[defect]));
    fputs("<p>", f);
    qb_markup_text(f, row->what);
    fputc(' ', f);
    qb_markup_text(f, row->means);
    fputs("</p>\n<p class=hint>", f);
    qb_markup_text(f, row->todo);
    fputs("</p>\n<ul><li>", f);
    qb_html_put_names(f, g, batch, QB_HTML_NAMES_MAX);
    fputs("</ul></details>\n", f);
}

/* Errors, then signs, then leaks. */
static void put_findings(FILE *f, const struct qb_html_check *p, const struct qb_batch *batch)
{
    bool any = false;

    fputs("<h2>What was found</h2>\n", f);
    for (const char *class = "fis"; *class; class ++)
        for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++)
            if (p->of[i].n && class_of(i) == *class) {
                put_finding(f, p, i, batch);
                any = true;
            }
    if (!any)
        fputs("<p>Nothing: no image that was checked has errors or leaks.</p>\n", f);
}

static void put_unchecked(FILE *f, struct qb_html_check *p, const struct qb_batch *batch)
{
    if (p->unchecked.list.n == 0)
        return;
    qb_groups_sort(&p->unchecked);
    fputs("<h2>What could not be checked, and why</h2>\n", f);
    qb_html_put_errors(f, &p->unchecked, QB_VERDICT_UNCHECKED, 'i', batch);
}

/* ---- what to do ------------------------------------------------------------------------------ */

static void put_remedies(FILE *f, const struct qb_html_check *p, const struct qb_batch *batch)
{
    static const struct {
        char class;
        const char *what;
    } remedies[QB_HTML_REMEDIES] = {
        [QB_HTML_REPAIR_LEAKS] = {'s', "<code>repair: leaks</code> mends what was found, and only "
                                       "space is won by it"},
        [QB_HTML_REPAIR_ALL] = {'s', "<code>repair: all</code> mends what was found"},
        [QB_HTML_REPAIR_NONE] = {'f',
                                 "no repair mends all that was found: do as each finding says, "
                                 "and repair nothing before"},
    };
    bool any = false;
    char b[QB_TEXT_NUMBER];

    for (int i = QB_HTML_REMEDIES - 1; i >= 0; i--) {
        const struct qb_group *g = &p->remedy[i];

        if (g->n == 0)
            continue;
        fputs(any ? "" : "<h2>What to do</h2>\n", f);
        any = true;
        fprintf(f, "<details open class=%c><summary>%s image%s: %s</summary>\n<ul><li>",
                remedies[i].class, qb_text_count(g->n, b), plural(g->n), remedies[i].what);
        qb_html_put_names(f, g, batch, QB_HTML_NAMES_MAX);
        fputs("</ul></details>\n", f);
    }
}

/* ---- all images ------------------------------------------------------------------------------ */

static uint64_t beyond(uint64_t rows)
{
    return rows - QB_MIN(rows, (uint64_t)QB_HTML_ROWS_MAX);
}

static void put_all(struct qb_html_check *p, struct qb_sink *s, const struct qb_html_kind *kinds,
                    size_t n)
{
    FILE *f = s->file.f, *body = s->body;

    qb_html_find(f, beyond(p->rows[0]) + beyond(p->rows[1]), "path or finding", kinds, n);
    fprintf(f, "<table id=all class=\"check%s\">\n",
            p->rows[0] + p->rows[1] > QB_HTML_MANY_ROWS ? " many" : "");
    fputs("<thead><tr><th class=n>#<th class=st>Status<th>Image<th>Findings"
          "<th class=\"n x\">Errors<th class=n>Leaked<th class=\"n x\">Took, s\n<tbody>\n",
          f);
    s->body = NULL;
    qb_outfile_pour(&s->file, body);
    fputs("</table>\n", f);
}

void qb_html_check_end(struct qb_html_check *p, struct qb_sink *s, const struct qb_check_telling *t)
{
    struct qb_html_kind kinds[QB_VERDICT_COUNT];
    size_t n = kinds_of(t->sum, kinds);
    FILE *f = s->file.f;

    qb_html_begin(f, title_of(t->batch), "check: nothing was written");
    put_facts(f, p, t);
    qb_html_tiles(f, t->sum->images, kinds, n);
    put_remedies(f, p, t->batch);
    put_findings(f, p, t->batch);
    put_unchecked(f, p, t->batch);
    put_all(p, s, kinds, n);
    qb_html_end(f);
}
