#include "batch/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "batch/lines.h"
#include "batch/text.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int complain(const char *path, const char *what)
{
    fputs("qbatch: report ", stderr);
    qb_text_safe(stderr, path);
    fprintf(stderr, ": %s\n", what);
    return -1;
}

/* A report begins with a brace; an empty file or no file may become one. */
static bool is_report(const char *path)
{
    FILE *f = fopen(path, "re");
    int first = f ? fgetc(f) : EOF;

    if (f)
        fclose(f);
    return first == '{' || first == EOF;
}

static int open_report(struct qb_output *out, const char *path)
{
    const char *manifest = out->batch->manifest_path;
    struct stat st, m;
    int fd;

    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        if (manifest && stat(manifest, &m) == 0 && m.st_dev == st.st_dev && m.st_ino == st.st_ino)
            return complain(path, "that is the manifest");
        if (!is_report(path))
            return complain(path, "the file exists and is no report; it is not overwritten");
    }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_CLOEXEC, 0666);
    out->report = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (out->report)
        return 0;
    complain(path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int qb_output_open(struct qb_output *out, const struct qb_cli *cli, const struct qb_batch *batch)
{
    *out = (struct qb_output){.batch = batch,
                              .report_path = qb_cli_text(cli, QB_OPTION_REPORT),
                              .json = qb_cli_has(cli, QB_OPTION_JSON)};
    if (out->report_path && open_report(out, out->report_path) < 0)
        return -1;
    out->table = (struct qb_table){.out = stdout,
                                   .errors = stderr,
                                   .quiet = qb_cli_has(cli, QB_OPTION_QUIET),
                                   .verbose = qb_cli_has(cli, QB_OPTION_VERBOSE),
                                   .diff = qb_cli_has(cli, QB_OPTION_DIFF),
                                   .color = qb_table_wants_color(stdout)};
    out->sum.dry_run = qb_cli_has(cli, QB_OPTION_DRY_RUN);
    out->started = now();
    qb_table_start(&out->table, batch);
    out->progress = qb_progress_start(
        out->table.quiet && cli->watching == QB_WATCH_AUTO ? QB_WATCH_NONE : cli->watching,
        &out->meter, batch);
    return 0;
}

/* ---- while it runs --------------------------------------------------------------------------- */

static void hide(struct qb_output *out)
{
    if (!out->hidden)
        qb_progress_hide(out->progress);
    out->hidden = true;
}

static void note_failure(int *where, int failed)
{
    if (failed && *where == 0)
        *where = errno ? errno : EIO;
}

static void on_image(void *arg, size_t i, const struct qb_outcome *outcome)
{
    struct qb_output *out = arg;
    const struct qb_job *job = &out->batch->jobs[i];

    hide(out);
    qb_summary_add(&out->sum, &outcome->result);
    if (out->sum.dry_run)
        qb_foresee(&out->foresight, out->batch, job, &outcome->result);
    qb_table_alarm(&out->table, job, &outcome->result);
    if (out->report)
        note_failure(&out->report_errno,
                     qb_line_image(out->report, out->batch, job, &outcome->result, false));
    if (out->json)
        note_failure(&out->stdout_errno,
                     qb_line_image(stdout, out->batch, job, &outcome->result, true));
    else
        qb_table_row(&out->table, job, outcome);
}

static void on_pause(void *arg)
{
    struct qb_output *out = arg;

    note_failure(&out->stdout_errno, fflush(stdout));
    if (out->report)
        note_failure(&out->report_errno, fflush(out->report));
    if (out->hidden)
        qb_progress_show(out->progress);
    out->hidden = false;
}

static void on_notice(void *arg, const char *text)
{
    struct qb_output *out = arg;

    hide(out);
    fprintf(stderr, "qbatch: %s\n", text);
    on_pause(out);
}

struct qb_listener qb_output_listener(struct qb_output *out)
{
    return (struct qb_listener){.arg = out,
                                .image = on_image,
                                .pause = on_pause,
                                .notice = out->table.quiet ? NULL : on_notice,
                                .meter = &out->meter};
}

/* ---- the end --------------------------------------------------------------------------------- */

static void close_report(struct qb_output *out)
{
    if (!out->report)
        return;
    note_failure(&out->report_errno, fclose(out->report));
    out->report = NULL;
    if (out->report_errno)
        complain(out->report_path, strerror(out->report_errno));
}

int qb_stdout_end(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno == EPIPE)
        return code;
    fprintf(stderr, "qbatch: standard output: %s\n", strerror(errno));
    return code ? code : 1;
}

static int stdout_code(const struct qb_output *out, int code)
{
    int error = out->stdout_errno;

    if (error == 0)
        return qb_stdout_end(code);
    if (error == EPIPE)
        return code;
    fprintf(stderr, "qbatch: standard output: %s\n", strerror(error));
    return code ? code : 1;
}

int qb_output_close(struct qb_output *out, bool detailed)
{
    int code = qb_summary_exit_code(&out->sum, detailed);

    qb_progress_stop(out->progress);
    out->sum.seconds = now() - out->started;
    if (out->json)
        note_failure(&out->stdout_errno,
                     qb_line_summary(stdout, out->batch, &out->sum, &out->foresight, code));
    else
        qb_table_end(&out->table, &out->sum);
    if (!out->json && !out->table.quiet)
        qb_foresight_print(&out->foresight, stdout);
    qb_foresight_free(&out->foresight);
    qb_table_alarm_end(&out->table, &out->sum);
    close_report(out);
    if (code == 0 && out->report_errno)
        code = 1;
    return stdout_code(out, code);
}

int qb_output_abort(struct qb_output *out, const char *why)
{
    qb_progress_stop(out->progress);
    fputs("qbatch: ", stderr);
    qb_text_safe(stderr, why);
    fputc('\n', stderr);
    if (out->json)
        qb_line_abort(stdout, why, 2);
    close_report(out);
    return qb_stdout_end(2);
}
