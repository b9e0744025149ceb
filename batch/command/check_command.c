/* `qbatch check`: one image after the other, told in the words of `qemu-img check`, so that whoever
 * reads one can read the other. */
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "command/commands.h"
#include "report/report_json.h"
#include "command/output.h"
#include "util/signal.h"
#include "util/text.h"

enum {
    FINDINGS_MAX = 1000, /* kept for JSON */
    SHOWN_MAX = 200,     /* of a kind, printed for people; the rest are counted */
};

/* Findings that follow each other: the same words, and offsets at the same distance. */
struct group {
    bool is_leak;
    uint64_t first, last, step; /* offsets; step 0 while there is one */
    uint64_t n;                 /* 0: there is no group */
    char text[240];
};

/* The image that is checked now, and how to tell of it. */
struct checking {
    struct qb_checked checked;
    size_t room;
    bool json, quiet;
    bool many;             /* the image's name stands before what is said of it */
    bool named;            /* and has been printed */
    FILE *out;             /* standard error for a quiet check, which says only what is wrong */
    struct group group;    /* not told yet */
    size_t shown[2];       /* groups of corruptions, and of leaks */
    uint64_t not_shown[2]; /* findings */
};

static void name_it(struct checking *c)
{
    if (c->many && !c->named) {
        qb_text_safe(c->out, c->checked.path);
        fputs(":\n", c->out);
    }
    c->named = true;
}

static void keep(struct checking *c, const struct group *g)
{
    struct qb_checked *k = &c->checked;
    struct qb_finding *more;
    char *copy;

    if (k->n_findings == c->room && c->room < FINDINGS_MAX) {
        more = realloc(k->findings, (c->room + 100) * sizeof(*more));
        if (more) {
            k->findings = more;
            c->room += 100;
        }
    }
    copy = k->n_findings < c->room ? strdup(g->text) : NULL;
    if (copy)
        k->findings[k->n_findings++] =
            (struct qb_finding){g->is_leak, g->first, g->last, g->n, copy};
    else
        k->left_out += g->n;
}

static void print(struct checking *c, const struct group *g)
{
    if (c->shown[g->is_leak] == SHOWN_MAX) {
        c->not_shown[g->is_leak] += g->n;
        return;
    }
    c->shown[g->is_leak]++;
    name_it(c);
    fputs(g->is_leak ? "Leaked: " : "ERROR: ", c->out);
    qb_text_safe(c->out, g->text);
    if (g->first != QB_NOWHERE)
        fprintf(c->out, " at 0x%llx", (unsigned long long)g->first);
    if (g->n > 1)
        fprintf(c->out, " and up to 0x%llx, %llu times, each 0x%llx further",
                (unsigned long long)g->last, (unsigned long long)g->n, (unsigned long long)g->step);
    fputc('\n', c->out);
}

static void tell_group(struct checking *c)
{
    if (c->group.n && c->json)
        keep(c, &c->group);
    else if (c->group.n)
        print(c, &c->group);
    c->group.n = 0;
}

static bool joins(const struct group *g, bool is_leak, uint64_t offset, const char *text)
{
    return g->n && g->is_leak == is_leak && offset != QB_NOWHERE && offset > g->last &&
           (g->n == 1 || offset - g->last == g->step) && strcmp(g->text, text) == 0;
}

static void on_finding(void *arg, bool is_leak, uint64_t offset, const char *text)
{
    struct checking *c = arg;
    struct group *g = &c->group;

    if (joins(g, is_leak, offset, text)) {
        g->step = offset - g->last;
        g->last = offset;
        g->n++;
        return;
    }
    tell_group(c);
    *g = (struct group){.is_leak = is_leak, .first = offset, .last = offset, .n = 1};
    snprintf(g->text, sizeof(g->text), "%s", text);
}

static void print_not_shown(struct checking *c)
{
    static const char *const kinds[] = {"errors", "leaks"};

    for (size_t i = 0; i < 2; i++)
        if (c->not_shown[i])
            fprintf(c->out, "... and %llu more %s\n", (unsigned long long)c->not_shown[i],
                    kinds[i]);
}

static void print_verdict(struct checking *c)
{
    const struct qb_check_result *r = c->checked.result;

    if (c->quiet && r->corruptions + r->leaks == 0)
        return;
    name_it(c);
    if (r->corruptions + r->leaks == 0)
        fputs("No errors were found on the image.\n", c->out);
    if (r->corruptions)
        fprintf(c->out,
                "\n%llu errors were found on the image.\n"
                "Data may be corrupted, or further writes to the image may corrupt it.\n",
                (unsigned long long)r->corruptions);
    if (r->leaks)
        fprintf(c->out,
                "\n%llu leaked clusters were found on the image.\n"
                "This means waste of disk space, but no harm to data.\n",
                (unsigned long long)r->leaks);
}

static void print_numbers(const struct qb_check_result *r)
{
    const struct qb_clusters *n = &r->clusters;

    if (n->valid && n->total && n->allocated)
        printf("%llu/%llu = %.2f%% allocated, %.2f%% compressed clusters\n",
               (unsigned long long)n->allocated, (unsigned long long)n->total,
               100.0 * (double)n->allocated / (double)n->total,
               100.0 * (double)n->compressed / (double)n->allocated);
    printf("Image end offset: %llu\n", (unsigned long long)r->end_offset);
}

static void print_error(const struct qb_checked *k)
{
    fputs("qbatch check: ", stderr);
    qb_text_safe(stderr, k->path);
    fprintf(stderr, ": %s: ", qb_code_name(k->result->err.code));
    qb_text_safe(stderr, k->result->err.text);
    if (k->result->err.offset != QB_NOWHERE)
        fprintf(stderr, " at 0x%llx", (unsigned long long)k->result->err.offset);
    fputc('\n', stderr);
}

static void tell(struct checking *c)
{
    if (c->json) {
        qb_line_checked(stdout, &c->checked);
        return;
    }
    if (!c->checked.counted) {
        fflush(stdout); /* the order of the lines, where both go to one place */
        print_error(&c->checked);
        return;
    }
    print_verdict(c);
    if (!c->quiet)
        print_numbers(c->checked.result);
}

static void count(struct qb_check_summary *sum, const struct qb_checked *k)
{
    sum->images++;
    if (!k->counted)
        sum->unchecked++;
    else if (k->result->corruptions)
        sum->corrupt++;
    else if (k->result->leaks)
        sum->leaks++;
    else
        sum->clean++;
}

static void check_one(struct checking *c, const char *path, enum qb_io_kind io,
                      struct qb_check_summary *sum)
{
    const struct qb_options options = {
        .struct_size = sizeof(options), .io = io, .found = on_finding, .found_arg = c};
    struct qb_checked *k = &c->checked;

    *k = (struct qb_checked){.path = path};
    c->room = 0;
    c->named = false;
    c->group.n = 0;
    memset(c->shown, 0, sizeof(c->shown));
    memset(c->not_shown, 0, sizeof(c->not_shown));
    k->counted = qb_check_image(path, &options, &k->result) == 0;
    tell_group(c);
    if (!c->json)
        print_not_shown(c);
    tell(c);
    count(sum, k);
    for (size_t i = 0; i < k->n_findings; i++)
        free(k->findings[i].text);
    free(k->findings);
    qb_check_result_free(k->result);
}

/* The worst that was found; what was seen to be corrupt is worse than what was not seen. */
static int exit_code(const struct qb_check_summary *sum)
{
    return sum->corrupt ? 2 : sum->unchecked ? 1 : sum->leaks ? 3 : 0;
}

int qb_command_check(const struct qb_cli *cli)
{
    struct checking c = {.json = qb_cli_has(cli, QB_OPTION_JSON),
                         .quiet = qb_cli_has(cli, QB_OPTION_QUIET),
                         .many = cli->n_operands > 1,
                         .out = stdout};
    struct qb_check_summary sum = {0};
    int code;

    if (c.quiet)
        c.out = stderr;
    for (size_t i = 0; i < cli->n_operands && !qb_signal_seen(); i++) {
        check_one(&c, cli->operands[i], cli->io, &sum);
        fflush(stdout);
    }
    code = qb_signal_seen() ? QB_EXIT_INTERRUPTED : exit_code(&sum);
    if (c.json)
        qb_line_check_summary(stdout, &sum, code);
    return qb_stdout_end(code);
}
