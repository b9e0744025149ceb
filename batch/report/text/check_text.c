#include "text/check_text.h"

#include <string.h>

#include "util/text.h"

static void print_finding(FILE *f, const struct qb_finding *g)
{
    static const char *const words[] = {
        [QB_FOUND_CORRUPTION] = "ERROR", [QB_FOUND_LEAK] = "Leaked", [QB_FOUND_SIGN] = "Sign"};

    fprintf(f, "%s: ", words[g->kind]);
    qb_text_safe(f, g->text);
    if (g->offset != QB_NOWHERE)
        fprintf(f, " at 0x%llx", (unsigned long long)g->offset);
    if (g->n > 1)
        fprintf(f, " and up to 0x%llx, %llu times, each 0x%llx further",
                (unsigned long long)g->last, (unsigned long long)g->n, (unsigned long long)g->step);
    if (g->guest_bytes && g->guest_offset != QB_NOWHERE)
        fprintf(f, "; guest bytes 0x%llx to 0x%llx may be lost",
                (unsigned long long)g->guest_offset,
                (unsigned long long)(g->guest_offset + g->guest_bytes - 1));
    else if (g->guest_bytes)
        fprintf(f, "; 0x%llx guest bytes may be lost", (unsigned long long)g->guest_bytes);
    fputc('\n', f);
}

static void print_findings(FILE *f, const struct qb_checked *c)
{
    static const char *const kinds[] = {"errors", "leaks", "signs"};
    uint64_t left_out[QB_FOUND_SIGN + 1];
    size_t shown[QB_DEFECT_COUNT] = {0};

    memcpy(left_out, c->left_out, sizeof(left_out));
    for (size_t i = 0; i < c->n_findings; i++) {
        const struct qb_finding *g = &c->findings[i];

        if (shown[g->defect]++ < c->shown)
            print_finding(f, g);
        else
            left_out[g->kind] += g->n;
    }
    for (size_t i = 0; i <= QB_FOUND_SIGN; i++)
        if (left_out[i])
            fprintf(f, "... and %llu more %s\n", (unsigned long long)left_out[i], kinds[i]);
}

/* All findings, by their codes: "By code: refcount_too_low 3, cluster_leaked 1". */
static void print_codes(FILE *f, const struct qb_checked *c)
{
    const char *before = "\nBy code: ";

    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++) {
        if (!c->of_code[i])
            continue;
        fprintf(f, "%s%s %llu", before, qb_defects[i].name, (unsigned long long)c->of_code[i]);
        before = ", ";
    }
    if (*before == ',')
        fputs("; qbatch explain CODE says what it means\n", f);
}

static void print_counts(FILE *f, const struct qb_check_result *r)
{
    if (r->corruptions)
        fprintf(f,
                "\n%llu errors were found on the image.\n"
                "Data may be corrupted, or further writes to the image may corrupt it.\n",
                (unsigned long long)r->corruptions);
    if (r->leaks)
        fprintf(f,
                "\n%llu leaked clusters were found on the image.\n"
                "This means waste of disk space, but no harm to data.\n",
                (unsigned long long)r->leaks);
}

static const char *const sound[] = {
    [QB_CHECK_REFCOUNTS] = "No errors were found on the image.\n",
    [QB_CHECK_TABLES] = "No errors were found in the tables; refcounts were not compared.\n",
    [QB_CHECK_HEADER] = "No errors were found in the header; tables were not read.\n",
    [QB_CHECK_CONTENT] = "No errors were found on the image; all of its data can be read.\n",
};

void qb_checked_print(FILE *f, const struct qb_checked *c, bool named)
{
    if (named) {
        qb_text_safe(f, c->path);
        fputs(":\n", f);
    }
    print_findings(f, c);
    if (!c->counted)
        return;
    if (qb_checked_verdict(c) == QB_VERDICT_CLEAN)
        fputs(sound[c->level], f);
    print_counts(f, c->result);
    print_codes(f, c);
}

void qb_checked_print_numbers(FILE *f, const struct qb_check_result *r)
{
    const struct qb_clusters *n = &r->clusters;

    if (n->valid && n->total && n->allocated)
        fprintf(f, "%llu/%llu = %.2f%% allocated, %.2f%% compressed clusters\n",
                (unsigned long long)n->allocated, (unsigned long long)n->total,
                100.0 * (double)n->allocated / (double)n->total,
                100.0 * (double)n->compressed / (double)n->allocated);
    if (r->end_offset)
        fprintf(f, "Image end offset: %llu\n", (unsigned long long)r->end_offset);
}
