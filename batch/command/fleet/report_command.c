/* `qbatch report`: shows or joins the reports of earlier runs.  Each file is read twice, so that
 * memory holds only its paths: the first pass checks everything, so that nothing is shown of files
 * with a damaged line. */
#include <string.h>

#include "base/own.h"
#include "common/commands.h"
#include "common/output.h"
#include "fleet/report_parts.h"
#include "record/orders_json.h"
#include "record/report_json.h"
#include "shard/shard.h"
#include "util/text.h"

/* The line functions have one argument for what they share. */
struct shown {
    struct qb_reports r; /* first, so that a line function finds it */
    struct qb_table table;
    struct qb_sinks sinks;
    size_t job;  /* the next image */
    bool merges; /* lines go to standard output; else rows of the table */
};

/* ---- lines ----------------------------------------------------------------------------------- */

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
static void put_line(const struct qb_reports *r, const struct qb_read_line *line, const char *text,
                     size_t len)
{
    const char *brace = memchr(text, '{', len);

    fputs(line->tagged ? "{" : "{\"type\":\"image\",", stdout);
    if (!line->of.told && r->parts.items[r->part - 1].of.told)
        put_of(&r->shown.items[r->part - 1]);
    fwrite(brace + 1, 1, len - (size_t)(brace + 1 - text), stdout);
    putchar('\n');
}

static void take_image(struct shown *s, struct qb_read_line *line, const char *text, size_t len)
{
    struct qb_reports *r = &s->r;
    struct qb_telling t = qb_reports_telling(r);

    t.part = r->part - 1;
    r->sum.started = r->shown.items[t.part].origin->started;
    qb_summary_add(&r->sum, &line->outcome.result);
    if (s->merges)
        put_line(r, line, text, len);
    else
        qb_table_row(&s->table, &r->batch.jobs[s->job], &line->outcome);
    qb_sinks_image(&s->sinks, &t, s->job, &line->outcome);
}

static bool take_line(struct qb_reports *r, struct qb_report_file *file, const char *text,
                      size_t len, size_t number)
{
    struct shown *s = (struct shown *)r;
    struct qb_read_line line;

    (void)file, (void)number;
    if (s->job == r->batch.n_jobs) /* the file has grown since it was checked */
        return false;
    if (qb_line_read(text, len, &line))
        return true; /* checked before */
    if (line.kind == QB_READ_IMAGE) {
        qb_reports_next(r);
        if (!r->lines.items[s->job].left_out)
            take_image(s, &line, text, len);
        s->job++;
    }
    qb_line_free(&line);
    return true;
}

/* What is wrong with the shards is said of a table, too, though its exit code is 0. */
static int take_all(struct shown *s)
{
    struct qb_reports *r = &s->r;

    for (size_t i = 0; i < r->n_files; i++)
        qb_reports_each_line(r, &r->files[i], take_line);
    r->sum.started = r->shards.of ? r->began : r->shown.n ? r->shown.items[0].origin->started : 0;
    qb_vec_each (sentence, &r->shards.sentences) {
        fputs("qbatch report: ", stderr);
        qb_text_safe(stderr, *sentence);
        fputc('\n', stderr);
    }
    if (r->parts.n == 0) {
        fputs("qbatch report: no report has a line: the runs were killed, or have just begun\n",
              stderr);
        return QB_EXIT_INTERRUPTED;
    }
    return qb_joined_shards_exit_code(&r->shards, qb_summary_exit_code(&r->sum, false));
}

/* ---- show ------------------------------------------------------------------------------------ */

static void print_word(FILE *f, const char *before, const char *text)
{
    if (!text || !*text)
        return;
    fputs(before, f);
    qb_text_safe(f, text);
}

static void print_orders(FILE *f, const qb_orders *orders)
{
    qb_vec_each (order, orders) {
        print_word(f, "  ", order->at);
        fputs(" qbatch ctl ", f);
        qb_order_print(f, order);
        print_word(f, ", by ", order->who);
        fputc('\n', f);
    }
}

/* A line for each run: which, where, when, of what. */
static void print_parts(FILE *f, const struct qb_reports *r)
{
    char b[QB_TEXT_NUMBER];

    for (size_t i = 0; i < r->shown.n; i++) {
        const struct qb_part *p = &r->shown.items[i];

        print_word(f, "run ", p->run && *p->run ? p->run : p->file);
        print_word(f, ", shard ", qb_shard_text(p->origin->shard, b));
        print_word(f, " on ", p->origin->host);
        print_word(f, ", ", qb_text_time(p->origin->started, b));
        print_word(f, ", ", p->manifest ? p->manifest : p->name);
        print_word(f, ", by ", p->origin->caller);
        fprintf(f, ": %s image%s in ", qb_text_count(p->images, b), p->images == 1 ? "" : "s");
        fprintf(f, "%s%s\n", qb_text_seconds(p->seconds, b), p->dry_run ? " (dry run)" : "");
        print_orders(f, p->orders);
    }
}

static int show(struct shown *s, const struct qb_cli *cli)
{
    struct qb_reports *r = &s->r;
    struct qb_telling t;
    int code;

    s->table = (struct qb_table){.out = qb_output_for_people(cli),
                                 .errors = stderr,
                                 .quiet = qb_cli_has(cli, QB_OPTION_QUIET),
                                 .verbose = qb_cli_has(cli, QB_OPTION_VERBOSE),
                                 .all_rows = qb_cli_has(cli, QB_OPTION_ALL_ROWS),
                                 .color = qb_table_wants_color(stdout, qb_cli_color(cli))};
    qb_table_start(&s->table, &r->batch);
    code = take_all(s);
    t = qb_reports_telling(r);
    t.exit_code = code;
    if (!s->table.quiet)
        print_parts(s->table.out, r);
    qb_table_end(&s->table, &r->sum);
    return qb_stdout_end(qb_sinks_end(&s->sinks, &t) < 0 ? 1 : 0);
}

/* ---- merge ----------------------------------------------------------------------------------- */

/* The shards of a fleet are one run, which failed if one of them did; reports of several runs are
 * only joined. */
static int merge(struct shown *s)
{
    struct qb_reports *r = &s->r;
    int code = take_all(s), failed;
    struct qb_telling t = qb_reports_telling(r);

    t.exit_code = code;
    failed = qb_line_total(stdout, &t, code);
    failed |= qb_sinks_end(&s->sinks, &t);
    code = r->shards.of || r->parts.n == 0 ? code : 0;
    return qb_stdout_end(failed && code == 0 ? 1 : code);
}

int qb_command_report(const struct qb_cli *cli)
{
    struct shown shown = {0};
    int code = QB_EXIT_USAGE;

    qb_batch_init(&shown.r.batch);
    shown.merges = strcmp(cli->operands[0], "merge") == 0;
    if (qb_reports_read(&shown.r, cli) &&
        qb_output_open_sinks(&shown.sinks, cli, &shown.r.batch) == 0)
        code = shown.merges ? merge(&shown) : show(&shown, cli);
    qb_reports_free(&shown.r);
    return code;
}
