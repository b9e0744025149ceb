/* `qbatch report`: the reports of earlier runs, shown or joined.  Each file is read twice, so that
 * memory holds its paths only: the first time everything is checked, and nothing is told of files
 * of which a line is damaged. */
#include <errno.h>
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
    double started; /* of its run; 0: not told */
    double seconds; /* how long its run took, or its images did */
    unsigned waves;
};

struct reports {
    struct file *files;
    size_t n_files;
    struct qb_batch batch; /* a job for each image, in the order of the files */
    struct qb_summary sum;
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

static bool note_image(struct reports *r, struct file *file, const struct qb_read_line *line)
{
    const struct qb_timing *t = &line->outcome.timing;
    struct qb_request none;

    qb_request_init(&none);
    file->seconds = QB_MAX(file->seconds, t->started_seconds + t->seconds);
    file->waves = QB_MAX(file->waves, t->wave);
    r->sum.dry_run |= line->outcome.result.status == QB_STATUS_WOULD_CHANGE;
    r->batch.policy.owner_need_not_read |= line->owner_need_not_read;
    return qb_batch_add(&r->batch, line->path, 0, &none);
}

static void note_summary(struct reports *r, struct file *file, struct qb_read_line *line)
{
    file->started = line->started;
    file->seconds = QB_MAX(file->seconds, line->seconds);
    r->sum.dry_run |= line->dry_run;
    if (!r->batch.name)
        r->batch.name = qb_take(&line->name);
    if (!r->batch.manifest_path)
        r->batch.manifest_path = qb_take(&line->manifest);
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
        note_summary(r, file, &line);
    else
        ok = note_image(r, file, &line);
    qb_line_free(&line);
    if (!ok)
        complain(r, file->path, number, "out of memory");
    return ok;
}

static bool check_all(struct reports *r, const struct qb_cli *cli)
{
    const char *slash;

    r->files = calloc(cli->n_operands - 1, sizeof(r->files[0]));
    if (!r->files)
        return false;
    for (size_t i = 1; i < cli->n_operands; i++) {
        struct file *file = &r->files[r->n_files++];

        *file = (struct file){.path = cli->operands[i], .f = open_twice(cli->operands[i])};
        if (!file->f)
            complain(r, file->path, 0, strerror(errno));
        else if (!each_line(r, file, check_line))
            break;
        r->sum.seconds += file->seconds;
    }
    slash = strrchr(r->files[0].path, '/');
    if (!r->batch.name)
        r->batch.name = strdup(slash ? slash + 1 : r->files[0].path);
    if (r->complaints > COMPLAINTS_MAX)
        fprintf(stderr, "qbatch report: and %u more\n", r->complaints - COMPLAINTS_MAX);
    return r->complaints == 0 && r->batch.name;
}

/* ---- show ------------------------------------------------------------------------------------ */

struct show {
    struct qb_table table;
    struct qb_sinks sinks;
    size_t job;
    double seconds_before; /* of the files before: runs are shown one after the other */
    unsigned waves_before;
};

/* The line functions have one argument for what they share. */
struct shown {
    struct reports r; /* first, so that a line function finds it */
    struct show show;
};

static bool show_line(struct reports *r, struct file *file, const char *text, size_t len,
                      size_t number)
{
    struct show *s = &((struct shown *)r)->show;
    struct qb_telling t = {.batch = &r->batch, .sum = &r->sum};
    struct qb_read_line line;

    (void)number;
    if (s->job == r->batch.n_jobs) /* the file has grown since it was checked */
        return false;
    if (qb_line_read(text, len, &line))
        return true; /* checked before */
    if (line.kind != QB_READ_IMAGE) {
        qb_line_free(&line);
        return true;
    }
    if (line.outcome.timing.wave) {
        line.outcome.timing.started_seconds += s->seconds_before;
        line.outcome.timing.wave += s->waves_before;
    }
    r->sum.started = file->started ? file->started - s->seconds_before : 0;
    qb_summary_add(&r->sum, &line.outcome.result);
    qb_table_row(&s->table, &r->batch.jobs[s->job], &line.outcome);
    qb_sinks_image(&s->sinks, &t, s->job++, &line.outcome);
    qb_line_free(&line);
    return true;
}

static int show(struct shown *shown, const struct qb_cli *cli)
{
    struct reports *r = &shown->r;
    struct show *s = &shown->show;
    struct qb_telling t = {.batch = &r->batch, .sum = &r->sum};
    int code = 0;

    if (qb_output_open_sinks(&s->sinks, cli, &r->batch) < 0)
        return QB_EXIT_USAGE;
    s->table = (struct qb_table){.out = stdout,
                                 .errors = stderr,
                                 .quiet = qb_cli_has(cli, QB_OPTION_QUIET),
                                 .verbose = qb_cli_has(cli, QB_OPTION_VERBOSE),
                                 .all_rows = qb_cli_has(cli, QB_OPTION_ALL_ROWS),
                                 .color = qb_table_wants_color(stdout, qb_cli_color(cli))};
    qb_table_start(&s->table, &r->batch);
    for (size_t i = 0; i < r->n_files; i++) {
        each_line(r, &r->files[i], show_line);
        s->seconds_before += r->files[i].seconds;
        s->waves_before += r->files[i].waves;
    }
    r->sum.started = r->files[0].started;
    t.exit_code = qb_summary_exit_code(&r->sum, false);
    qb_table_end(&s->table, &r->sum);
    if (qb_sinks_end(&s->sinks, &t) < 0)
        code = 1;
    return qb_stdout_end(code);
}

/* ---- merge ----------------------------------------------------------------------------------- */

/* The line as it is, but told to be an image's as in --json: beside a summary it has to be. */
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
    qb_summary_add(&r->sum, &line.outcome.result);
    if (line.tagged)
        brace = text - 1;
    else
        fputs("{\"type\":\"image\",", stdout);
    fwrite(brace + 1, 1, len - (size_t)(brace + 1 - text), stdout);
    putchar('\n');
    qb_line_free(&line);
    return true;
}

static int merge(struct reports *r)
{
    for (size_t i = 0; i < r->n_files; i++)
        each_line(r, &r->files[i], merge_line);
    r->sum.started = r->files[0].started;
    if (qb_line_summary(stdout, &r->batch, &r->sum, NULL, qb_summary_exit_code(&r->sum, false)) < 0)
        return qb_stdout_end(1);
    return qb_stdout_end(0);
}

static void free_reports(struct reports *r)
{
    for (size_t i = 0; i < r->n_files; i++)
        if (r->files[i].f)
            fclose(r->files[i].f);
    free(r->files);
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
