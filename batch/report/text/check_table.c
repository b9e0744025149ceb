#include "text/check_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "util/text.h"

enum {
    NAMES_SHOWN = 3, /* of a group */
    LINES_MAX = 20,  /* groups of a verdict */
    VERDICT_WIDTH = 13,
};

/* In the last line: "2 corrupt". */
static const char *const words[QB_VERDICT_COUNT] = {
    [QB_VERDICT_CORRUPT] = "corrupt",
    [QB_VERDICT_UNCHECKED] = "not checked",
    [QB_VERDICT_LEAKS] = "with leaks",
    [QB_VERDICT_CLEAN] = "without errors",
};

char *qb_check_table_text(const struct qb_checked *c)
{
    enum qb_verdict verdict = qb_checked_verdict(c);
    const struct qb_failure *err = qb_checked_failure(c);
    char *text = NULL;

    if (verdict == QB_VERDICT_UNCHECKED)
        return asprintf(&text, "%s: %s", qb_code_name(err->code), err->text) < 0 ? NULL : text;
    for (size_t i = 0; i < c->n_findings; i++)
        if (c->findings[i].kind ==
            (verdict == QB_VERDICT_LEAKS ? QB_FOUND_LEAK : QB_FOUND_CORRUPTION))
            return strdup(c->findings[i].text);
    return strdup("");
}

void qb_check_table_start(struct qb_check_table *t, const struct qb_batch *batch, FILE *out,
                          bool quiet)
{
    *t = (struct qb_check_table){
        .batch = batch, .out = out, .quiet = quiet, .groups.keep = NAMES_SHOWN};
}

void qb_check_table_add(struct qb_check_table *t, size_t job, enum qb_verdict verdict,
                        enum qb_code code, const char *text)
{
    t->incomplete |= !text || !qb_groups_add(&t->groups, (struct qb_grouped){.status = verdict,
                                                                             .code = code,
                                                                             .text = text,
                                                                             .member.job = job});
}

static void print_group(const struct qb_check_table *t, const struct qb_group *g)
{
    char n[QB_TEXT_NUMBER];

    fprintf(t->out, "%-*s%s image%s  ", VERDICT_WIDTH, qb_verdict_names[g->status],
            qb_text_count(g->n, n), g->n == 1 ? "" : "s");
    qb_text_safe(t->out, g->text ? g->text : "of several kinds");
    fputs("  (", t->out);
    for (size_t i = 0; i < g->members.n; i++) {
        fputs(i > 0 ? ", " : "", t->out);
        qb_text_safe(t->out, t->batch->jobs[g->members.items[i].job].path);
    }
    fputs(g->n > g->members.n ? ", ...)\n" : ")\n", t->out);
}

static void print_groups(struct qb_check_table *t)
{
    uint64_t lines[QB_VERDICT_COUNT] = {0}, rest[QB_VERDICT_COUNT] = {0};
    char n[QB_TEXT_NUMBER];

    qb_groups_sort(&t->groups);
    qb_vec_each (g, &t->groups.list) {
        if (lines[g->status]++ < LINES_MAX)
            print_group(t, g);
        else
            rest[g->status] += g->n;
    }
    for (size_t i = 0; i < QB_VERDICT_COUNT; i++)
        if (rest[i])
            fprintf(t->out, "%-*s... and %s more, of other kinds; --all-rows shows them\n",
                    VERDICT_WIDTH, qb_verdict_names[i], qb_text_count(rest[i], n));
}

static void print_last(const struct qb_check_table *t, const struct qb_check_summary *sum)
{
    static const enum qb_verdict order[] = {QB_VERDICT_CLEAN, QB_VERDICT_CORRUPT, QB_VERDICT_LEAKS,
                                            QB_VERDICT_UNCHECKED};
    const char *before = ": ";
    char buf[QB_TEXT_NUMBER];

    if (sum->not_reached)
        fprintf(t->out, "interrupted: %s of ", qb_text_count(sum->images, buf));
    fprintf(t->out, "%s images", qb_text_count(sum->images + sum->not_reached, buf));
    for (size_t i = 0; i < QB_VERDICT_COUNT; i++) {
        if (!sum->of[order[i]])
            continue;
        fprintf(t->out, "%s%s %s", before, qb_text_count(sum->of[order[i]], buf), words[order[i]]);
        before = ", ";
    }
    fprintf(t->out, " in %s\n", qb_text_seconds(sum->seconds, buf));
}

void qb_check_table_end(struct qb_check_table *t, const struct qb_check_summary *sum)
{
    print_groups(t);
    if (t->incomplete)
        fputs("qbatch check: memory was short: some images are missing above\n", stderr);
    if (!t->quiet)
        print_last(t, sum);
    qb_groups_free(&t->groups);
}
