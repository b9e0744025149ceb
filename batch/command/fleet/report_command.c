/* `qbatch report`: shows or joins the reports of earlier runs.  Each file is read twice, so that
 * memory holds only its paths: the first pass checks everything, so that nothing is shown of files
 * with a damaged line. */
#include <string.h>

#include "base/own.h"
#include "common/commands.h"
#include "common/output.h"
#include "fleet/report_parts.h"
#include "record/report_json.h"
#include "util/text.h"

/* ---- show ------------------------------------------------------------------------------------ */

struct show {
    struct qb_table table;
    struct qb_sinks sinks;
    size_t job;
};

/* The line functions have one argument for what they share. */
struct shown {
    struct qb_reports r; /* first, so that a line function finds it */
    struct show show;
};

static struct qb_telling telling(const struct qb_reports *r)
{
    return (struct qb_telling){
        .batch = &r->batch, .sum = &r->sum, .parts = r->shown.items, .n_parts = r->shown.n};
}

static bool show_line(struct qb_reports *r, struct qb_report_file *file, const char *text,
                      size_t len, size_t number)
{
    struct show *s = &((struct shown *)r)->show;
    struct qb_telling t = telling(r);
    struct qb_read_line line;

    (void)file, (void)number;
    if (s->job == r->batch.n_jobs) /* the file has grown since it was checked */
        return false;
    if (qb_line_read(text, len, &line))
        return true; /* checked before */
    if (line.kind != QB_READ_IMAGE) {
        qb_line_free(&line);
        return true;
    }
    qb_reports_next(r);
    t.part = r->part - 1;
    r->sum.started = r->shown.items[t.part].origin->started;
    qb_summary_add(&r->sum, &line.outcome.result);
    qb_table_row(&s->table, &r->batch.jobs[s->job], &line.outcome);
    qb_sinks_image(&s->sinks, &t, s->job++, &line.outcome);
    qb_line_free(&line);
    return true;
}

static void print_word(FILE *f, const char *before, const char *text)
{
    if (!text || !*text)
        return;
    fputs(before, f);
    qb_text_safe(f, text);
}

/* A line for each run: which, where, when, of what. */
static void print_parts(FILE *f, const struct qb_reports *r)
{
    char b[QB_TEXT_NUMBER];

    for (size_t i = 0; i < r->shown.n; i++) {
        const struct qb_part *p = &r->shown.items[i];

        print_word(f, "run ", p->run && *p->run ? p->run : p->file);
        print_word(f, " on ", p->origin->host);
        print_word(f, ", ", qb_text_time(p->origin->started, b));
        print_word(f, ", ", p->manifest ? p->manifest : p->name);
        print_word(f, ", by ", p->origin->caller);
        fprintf(f, ": %s image%s in ", qb_text_count(p->images, b), p->images == 1 ? "" : "s");
        fprintf(f, "%s%s\n", qb_text_seconds(p->seconds, b), p->dry_run ? " (dry run)" : "");
    }
}

static int show(struct shown *shown, const struct qb_cli *cli)
{
    struct qb_reports *r = &shown->r;
    struct show *s = &shown->show;
    struct qb_telling t = telling(r);
    int code = 0;

    if (qb_output_open_sinks(&s->sinks, cli, &r->batch) < 0)
        return QB_EXIT_USAGE;
    s->table = (struct qb_table){.out = qb_output_for_people(cli),
                                 .errors = stderr,
                                 .quiet = qb_cli_has(cli, QB_OPTION_QUIET),
                                 .verbose = qb_cli_has(cli, QB_OPTION_VERBOSE),
                                 .all_rows = qb_cli_has(cli, QB_OPTION_ALL_ROWS),
                                 .color = qb_table_wants_color(stdout, qb_cli_color(cli))};
    qb_table_start(&s->table, &r->batch);
    for (size_t i = 0; i < r->n_files; i++)
        qb_reports_each_line(r, &r->files[i], show_line);
    r->sum.started = r->shown.n ? r->shown.items[0].origin->started : 0;
    t.exit_code = qb_summary_exit_code(&r->sum, false);
    if (!s->table.quiet)
        print_parts(s->table.out, r);
    qb_table_end(&s->table, &r->sum);
    if (qb_sinks_end(&s->sinks, &t) < 0)
        code = 1;
    return qb_stdout_end(code);
}

/* ---- merge ----------------------------------------------------------------------------------- */

static void put_of(const struct qb_part *run)
{
    QB_AUTO(qb_buf) char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    int r = f ? qb_json_line(f, qb_line_of(run)) : -1;

    if (f)
        fclose(f);
    if (r == 0 && len > 0) /* without its newline */
        printf("\"of\":%.*s,", (int)len - 1, text);
}

/* The line as it is, but told to be an image's as in --json: beside a summary it has to be.  One of
 * an earlier version gets the run of its summary. */
static bool merge_line(struct qb_reports *r, struct qb_report_file *file, const char *text,
                       size_t len, size_t number)
{
    struct qb_read_line line;
    const char *brace = memchr(text, '{', len);

    (void)file, (void)number;
    if (qb_line_read(text, len, &line))
        return true;
    if (line.kind != QB_READ_IMAGE) {
        qb_line_free(&line);
        return true;
    }
    qb_reports_next(r);
    qb_summary_add(&r->sum, &line.outcome.result);
    fputs(line.tagged ? "{" : "{\"type\":\"image\",", stdout);
    if (!line.of.told && r->parts.items[r->part - 1].of.told)
        put_of(&r->shown.items[r->part - 1]);
    fwrite(brace + 1, 1, len - (size_t)(brace + 1 - text), stdout);
    putchar('\n');
    qb_line_free(&line);
    return true;
}

static int merge(struct qb_reports *r)
{
    for (size_t i = 0; i < r->n_files; i++)
        qb_reports_each_line(r, &r->files[i], merge_line);
    r->sum.started = r->shown.n ? r->shown.items[0].origin->started : 0;
    if (qb_line_total(stdout, &r->batch, &r->sum, r->shown.items, r->shown.n,
                      qb_summary_exit_code(&r->sum, false)) < 0)
        return qb_stdout_end(1);
    return qb_stdout_end(0);
}

int qb_command_report(const struct qb_cli *cli)
{
    struct shown shown = {0};
    int code = QB_EXIT_USAGE;

    qb_batch_init(&shown.r.batch);
    if (qb_reports_read(&shown.r, cli))
        code = strcmp(cli->operands[0], "merge") == 0 ? merge(&shown.r) : show(&shown, cli);
    qb_reports_free(&shown.r);
    return code;
}
