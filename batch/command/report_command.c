/* `qbatch report`: the reports of earlier runs, shown or joined.  Each file is read twice, so that
 * memory holds its paths only: the first time everything is checked, and nothing is told of files
 * of which a line is damaged.
 *
 * A file may hold several runs, and a run stays what it is: with its date, host, name and manifest,
 * which each line has under "of" (a line of an earlier version has not: then they are the ones of
 * the summary behind it). */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "base/own.h"
#include "command/commands.h"
#include "report/report_json.h"
#include "command/output.h"
#include "report/report_read.h"
#include "report/sinks.h"
#include "util/text.h"

enum { COMPLAINTS_MAX = 20 };

struct file {
    const char *path;
    FILE *f;
    size_t first_part, parts; /* of its runs */
};

/* A run, or what a file has of it. */
struct part {
    struct qb_read_run of;
    double seconds;
    uint64_t images;
    bool dry_run;
    bool closed; /* its summary has been read */
};

struct reports {
    struct file *files;
    size_t n_files;
    QB_VEC(struct part) parts;
    QB_VEC(struct qb_part) shown; /* the same, for those who show them */
    struct qb_batch batch;        /* a job for each image, in the order of the files */
    struct qb_summary sum;
    size_t part;   /* of the line that is read, the second time */
    uint64_t left; /* images of it that are yet to come */
    unsigned complaints;
};

static void complain(struct reports *r, const char *path, size_t line, const char *what)
{
    if (r->complaints++ >= COMPLAINTS_MAX)
        return;
    fputs("qbatch report: ", stderr);
    qb_text_safe(stderr, path);
    if (line)
        fprintf(stderr, ":%zu", line);
    fprintf(stderr, ": %s\n", what);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* What cannot be read twice, a pipe, is copied. */
static FILE *open_twice(const char *path)
{
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re"), *copy;
    char piece[16384];
    struct stat st;
    size_t n;

    if (!in || (fstat(fileno(in), &st) == 0 && S_ISREG(st.st_mode) && in != stdin))
        return in;
    copy = tmpfile();
    while (copy && (n = fread(piece, 1, sizeof(piece), in)) > 0)
        fwrite(piece, 1, n, copy);
    if (copy && (ferror(in) || fflush(copy) != 0)) {
        fclose(copy);
        copy = NULL;
    }
    if (in != stdin)
        fclose(in);
    if (copy)
        rewind(copy);
    return copy;
}

/* Calls fn for each line that is not empty; false when one could not be read. */
typedef bool line_fn(struct reports *r, struct file *file, const char *text, size_t len,
                     size_t number);

static bool each_line(struct reports *r, struct file *file, line_fn *fn)
{
    QB_AUTO(qb_buf) char *text = NULL;
    size_t room = 0, number = 0;
    bool ok = true;
    ssize_t len;

    rewind(file->f);
    while (ok && (len = getline(&text, &room, file->f)) >= 0) {
        number++;
        if (len > 0 && text[len - 1] == '\n')
            text[--len] = '\0';
        if (len > 0)
            ok = fn(r, file, text, (size_t)len, number);
    }
    if (ferror(file->f))
        complain(r, file->path, 0, strerror(errno));
    return ok && !ferror(file->f);
}

/* ---- the first time: is it whole, and what is in it? ------------------------------------------
 */

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool is_same_run(const struct qb_read_run *a, const struct qb_read_run *b)
{
    return same(a->run, b->run) && same(a->manifest, b->manifest) && same(a->name, b->name) &&
           same(a->origin.host, b->origin.host) && fabs(a->origin.started - b->origin.started) < 1;
}

/* The part that a line belongs to; NULL when memory is short. */
static struct part *part_of(struct reports *r, struct file *file, struct qb_read_run *of)
{
    struct part *last = file->parts ? &r->parts.items[r->parts.n - 1] : NULL;

    if (last && of->told && last->of.told ? is_same_run(&last->of, of) : last && !last->closed)
        return last;
    if (!qb_vec_push(&r->parts, (struct part){0}))
        return NULL;
    if (file->parts++ == 0)
        file->first_part = r->parts.n - 1;
    return &r->parts.items[r->parts.n - 1];
}

static void learn(struct part *part, struct qb_read_run *of)
{
    if (!of->told || part->of.told)
        return;
    part->of = *of;
    *of = (struct qb_read_run){0};
}

static bool note_image(struct reports *r, struct file *file, struct qb_read_line *line)
{
    struct part *part = part_of(r, file, &line->of);
    bool dry = line->outcome.result.status == QB_STATUS_WOULD_CHANGE;
    struct qb_request none;

    if (!part)
        return false;
    learn(part, &line->of);
    qb_request_init(&none);
    part->images++;
    part->seconds = QB_MAX(part->seconds, qb_timing_end(&line->outcome.timing));
    part->dry_run |= dry;
    r->sum.dry_run |= dry;
    r->batch.policy.owner_need_not_read |= line->owner_need_not_read;
    return qb_batch_add(&r->batch, line->path, 0, &none);
}

static bool note_summary(struct reports *r, struct file *file, struct qb_read_line *line)
{
    struct part *part;

    if (line->is_total)
        return true;
    part = part_of(r, file, &line->of);
    if (!part)
        return false;
    learn(part, &line->of);
    part->closed = true;
    part->seconds = QB_MAX(part->seconds, line->seconds);
    part->dry_run |= line->dry_run;
    r->sum.dry_run |= line->dry_run;
    return true;
}

static bool check_line(struct reports *r, struct file *file, const char *text, size_t len,
                       size_t number)
{
    struct qb_read_line line;
    const char *wrong = qb_line_read(text, len, &line);
    bool ok = true;

    if (wrong) {
        complain(r, file->path, number, wrong);
        return true; /* the others are to be told too */
    }
    if (line.kind == QB_READ_SUMMARY)
        ok = note_summary(r, file, &line);
    else
        ok = note_image(r, file, &line);
    qb_line_free(&line);
    if (!ok)
        complain(r, file->path, number, "out of memory");
    return ok;
}

/* What one run was, the report of it is too; of several, each has its own. */
static bool name_all(struct reports *r)
{
    const char *slash = strrchr(r->files[0].path, '/');
    struct part *first = r->parts.n ? &r->parts.items[0] : NULL;
    char several[60];

    for (size_t i = 0, file = 0; i < r->parts.n; i++) {
        struct part *p = &r->parts.items[i];

        while (i >= r->files[file].first_part + r->files[file].parts)
            file++;
        r->sum.seconds += p->seconds;
        if (!qb_vec_push(&r->shown, (struct qb_part){.name = p->of.name,
                                                     .manifest = p->of.manifest,
                                                     .run = p->of.run,
                                                     .file = r->files[file].path,
                                                     .origin = &p->of.origin,
                                                     .seconds = p->seconds,
                                                     .images = p->images,
                                                     .dry_run = p->dry_run}))
            return false;
    }
    snprintf(several, sizeof(several), "%zu runs", r->parts.n);
    if (r->parts.n > 1)
        r->batch.name = strdup(several);
    else if (first && first->of.name)
        r->batch.name = strdup(first->of.name);
    else
        r->batch.name = strdup(slash ? slash + 1 : r->files[0].path);
    if (r->parts.n != 1)
        return r->batch.name;
    r->batch.manifest_path = first->of.manifest ? strdup(first->of.manifest) : NULL;
    snprintf(r->batch.run_id, sizeof(r->batch.run_id), "%s", first->of.run ? first->of.run : "");
    r->batch.origin = first->of.origin;
    first->of.origin = (struct qb_origin){.started = r->batch.origin.started};
    r->shown.items[0].origin = &r->batch.origin;
    return r->batch.name;
}

static bool check_all(struct reports *r, const struct qb_cli *cli)
{
    r->files = calloc(cli->n_operands - 1, sizeof(r->files[0]));
    if (!r->files)
        return false;
    for (size_t i = 1; i < cli->n_operands; i++) {
        struct file *file = &r->files[r->n_files++];

        *file = (struct file){
            .path = cli->operands[i], .f = open_twice(cli->operands[i]), .first_part = r->parts.n};
        if (!file->f)
            complain(r, file->path, 0, strerror(errno));
        else if (!each_line(r, file, check_line))
            break;
    }
    if (r->complaints > COMPLAINTS_MAX)
        fprintf(stderr, "qbatch report: and %u more\n", r->complaints - COMPLAINTS_MAX);
    return r->complaints == 0 && name_all(r);
}

/* The second time: the part of the next image. */
static struct part *next_part(struct reports *r)
{
    if (r->left == 0)
        for (size_t i = r->part; r->left == 0 && i < r->parts.n; i++) {
            r->part = i + 1;
            r->left = r->parts.items[i].images;
        }
    r->left--;
    return &r->parts.items[r->part - 1];
}

/* ---- show ------------------------------------------------------------------------------------ */

struct show {
    struct qb_table table;
    struct qb_sinks sinks;
    size_t job;
};

/* The line functions have one argument for what they share. */
struct shown {
    struct reports r; /* first, so that a line function finds it */
    struct show show;
};

static struct qb_telling telling(const struct reports *r)
{
    return (struct qb_telling){
        .batch = &r->batch, .sum = &r->sum, .parts = r->shown.items, .n_parts = r->shown.n};
}

static bool show_line(struct reports *r, struct file *file, const char *text, size_t len,
                      size_t number)
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
    next_part(r);
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
static void print_parts(FILE *f, const struct reports *r)
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
    struct reports *r = &shown->r;
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
        each_line(r, &r->files[i], show_line);
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
static bool merge_line(struct reports *r, struct file *file, const char *text, size_t len,
                       size_t number)
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
    next_part(r);
    qb_summary_add(&r->sum, &line.outcome.result);
    fputs(line.tagged ? "{" : "{\"type\":\"image\",", stdout);
    if (!line.of.told && r->parts.items[r->part - 1].of.told)
        put_of(&r->shown.items[r->part - 1]);
    fwrite(brace + 1, 1, len - (size_t)(brace + 1 - text), stdout);
    putchar('\n');
    qb_line_free(&line);
    return true;
}

static int merge(struct reports *r)
{
    for (size_t i = 0; i < r->n_files; i++)
        each_line(r, &r->files[i], merge_line);
    r->sum.started = r->shown.n ? r->shown.items[0].origin->started : 0;
    if (qb_line_total(stdout, &r->batch, &r->sum, r->shown.items, r->shown.n,
                      qb_summary_exit_code(&r->sum, false)) < 0)
        return qb_stdout_end(1);
    return qb_stdout_end(0);
}

static void free_reports(struct reports *r)
{
    for (size_t i = 0; i < r->n_files; i++)
        if (r->files[i].f)
            fclose(r->files[i].f);
    free(r->files);
    qb_vec_each (p, &r->parts)
        qb_read_run_free(&p->of);
    qb_vec_free(&r->parts);
    qb_vec_free(&r->shown);
    qb_batch_free(&r->batch);
}

int qb_command_report(const struct qb_cli *cli)
{
    struct shown shown = {0};
    int code = QB_EXIT_USAGE;

    qb_batch_init(&shown.r.batch);
    if (check_all(&shown.r, cli))
        code = strcmp(cli->operands[0], "merge") == 0 ? merge(&shown.r) : show(&shown, cli);
    free_reports(&shown.r);
    return code;
}
