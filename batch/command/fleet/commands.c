#include "common/commands.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "clones/backup.h"
#include "fleet/fleet_run.h"
#include "fleet/run_ctl.h"
#include "fleet/run_relayed.h"
#include "fleet/run_sandbox.h"
#include "fleet/saving.h"
#include "fleet/session.h"
#include "job/file_name.h"
#include "job/keys.h"
#include "outcome/planned.h"
#include "record/report_json.h"
#include "common/overrides.h"
#include "common/shard_batch.h"
#include "host/caller.h"
#include "host/priority.h"
#include "manifest/o_option.h"
#include "common/output.h"
#include "run/run.h"
#include "util/signal.h"
#include "util/text.h"
#include "host/topo.h"

static void free_batch(struct qb_batch *batch)
{
    qb_batch_free(batch);
}

/* Says what is wrong with the request, and to a program that nothing came of it.  A request whose
 * reading was interrupted is not wrong. */
int qb_fleet_refuse(const struct qb_cli *cli, const char *what)
{
    bool interrupted = qb_signal_seen();
    int code = interrupted ? QB_EXIT_INTERRUPTED : QB_EXIT_USAGE;

    if (interrupted)
        what = "interrupted before the first image; nothing was touched";
    if (qb_cli_has(cli, QB_OPTION_JSON))
        qb_line_abort(stdout, what, code);
    return qb_stdout_end(code);
}

/* Runs a batch that is right, and whose journal, if it has one, is open. */
static int run_kept(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep)
{
    struct qb_saving saving = {.plan = NULL};
    int code;
    struct qb_run_options options = {
        .io = cli->io,
        .jobs = cli->jobs,
        .dry_run = qb_cli_has(cli, QB_OPTION_DRY_RUN),
        .describe = qb_cli_has(cli, QB_OPTION_VERBOSE) && !qb_cli_has(cli, QB_OPTION_JSON),
        .state = keep->kept ? &keep->state : NULL,
        .stopped = qb_signal_seen,
    };
    __attribute__((cleanup(qb_run_sandbox_end))) struct qb_run_sandbox sandbox = {.cli = cli};
    bool detailed = qb_cli_has(cli, QB_OPTION_DETAILED), relayed;
    struct qb_listener listener;
    struct qb_output out;
    struct qb_err err;
    int r;

    if (qb_output_open(&out, cli, batch) < 0)
        return QB_EXIT_USAGE;
    listener = qb_output_listener(&out);
    qb_run_sandbox_begin(&sandbox, cli, keep, batch, &options, &out);
    relayed = qb_fleet_is_relayed(&sandbox);
    qb_keep_begin(keep, batch);
    if (keep->notice[0] && listener.notice)
        listener.notice(listener.arg, keep->notice);
    if (!qb_cli_has(cli, QB_OPTION_QUIET))
        qb_signal_first_words("qbatch: interrupted: each image is finished or left as it was; once "
                              "more to leave at once\n");
    if (qb_cli_text(cli, QB_OPTION_SAVE)) {
        if (qb_saving_begin(&saving, cli, batch, relayed ? NULL : &sandbox.confining, &listener,
                            &err) < 0)
            return qb_output_abort(&out, err.text);
        batch->policy.on_error = QB_ON_ERROR_CONTINUE; /* a plan has all images */
        batch->policy.max_failed = (struct qb_amount){.n = 0};
        batch->rollout = (struct qb_rollout){.ask = false}; /* in the manifest's order */
    }
    r = qb_confining_check(&sandbox.confining, &err);
    if (r == 0)
        r = relayed ? qb_fleet_run_relayed(&sandbox, &options, batch, keep, &out, &listener, &err)
                    : qb_fleet_run_served(&sandbox, &options, &out, &listener, &err);
    if (r < 0) {
        if (saving.plan)
            qb_plan_write_end(saving.plan, false, &(struct qb_err){0});
        return qb_output_abort(&out, err.text);
    }
    qb_run_sandbox_tell(&sandbox, &listener, out.sum.by_code[QB_E_LOCKED] > 0);
    qb_keep_end(keep, batch, &out.sum, qb_summary_exit_code(&out.sum, detailed));
    code = qb_output_close(&out, detailed);
    return saving.plan ? qb_saving_end(&saving, cli, code) : code;
}

/* `finish`: the command that is to be given instead, or NULL. */
static int refuse_run(const struct qb_cli *cli, const char *why, const char *finish)
{
    QB_AUTO(qb_buf) char *text = NULL;

    fputs("qbatch: ", stderr);
    qb_text_safe(stderr, why);
    fputc('\n', stderr);
    if (!finish)
        return qb_fleet_refuse(cli, why);
    fprintf(stderr, "qbatch: to finish that run: %s\n", finish);
    return qb_fleet_refuse(
        cli, asprintf(&text, "%s; to finish that run: %s", why, finish) < 0 ? why : text);
}

int qb_fleet_run(const struct qb_cli *cli, struct qb_batch *batch)
{
    struct qb_keep keep = {0};
    struct qb_err err;
    int code;

    qb_override(cli, batch);
    qb_caller_note(&batch->origin);
    if (cli->shard.of && qb_shard_batch(batch, cli->shard, cli->jobs, &err) < 0)
        return refuse_run(cli, err.text, NULL);
    if (batch->limits.deadline_seconds > 0)
        qb_signal_deadline(batch->limits.deadline_seconds);
    if (qb_keep_open(cli, batch, &keep, &err) < 0 ||
        qb_backup_prepare(batch, qb_cli_has(cli, QB_OPTION_DRY_RUN), &err) < 0 ||
        qb_neighbour_begin(&batch->limits, &err) < 0) {
        code = refuse_run(cli, err.text, keep.finish);
        qb_keep_drop(&keep);
        return code;
    }
    code = run_kept(cli, batch, &keep);
    qb_keep_drop(&keep); /* unless it came to its end */
    return code;
}

static int show_topology(unsigned wanted, const struct qb_batch *batch)
{
    if (qb_topo_show(stdout, wanted, batch) == 0)
        return qb_stdout_end(0);
    fputs("qbatch: out of memory\n", stderr);
    return 1;
}

int qb_command_run(const struct qb_cli *cli)
{
    __attribute__((cleanup(free_batch))) struct qb_batch batch;

    if (cli->n_operands == 0) { /* --topology alone */
        qb_batch_init(&batch);
        return show_topology(cli->jobs, NULL);
    }
    if (qb_command_load(cli, &batch) < 0)
        return qb_fleet_refuse(cli, "the manifest is wrong; nothing was touched");
    if (qb_cli_has(cli, QB_OPTION_TOPOLOGY))
        return show_topology(cli->jobs ? cli->jobs : batch.limits.jobs, &batch);
    return qb_fleet_run(cli, &batch);
}

/* ---- amend ----------------------------------------------------------------------------------- */

/* All of the -o; every one is looked at, so that every mistake is told. */
static int parse_keys(const struct qb_cli *cli, struct qb_batch *batch, struct qb_request *rq)
{
    uint64_t listed = 0;
    int worst = 0;

    for (size_t i = 0; i < cli->keys.n; i++) {
        struct qb_diags diags;
        int r = qb_options_parse(cli->keys.items[i], batch, rq, &listed, &diags);

        qb_diags_render(&diags, stderr);
        qb_diags_free(&diags);
        worst = worst < 0 || r == 0 ? worst : r;
    }
    return worst;
}

static const char *path_of(const void *batch, size_t i)
{
    return ((const struct qb_batch *)batch)->jobs[i].path;
}

static struct qb_file_name *sorted_files(struct qb_batch *batch)
{
    struct qb_file_name *files = calloc(batch->n_jobs + 1, sizeof(*files));

    if (!files)
        return NULL;
    qb_file_names_of(files, batch->n_jobs, path_of, batch, NULL);
    for (size_t i = 0; i < batch->n_jobs; i++) {
        batch->jobs[i].dev = files[i].file_dev;
        batch->jobs[i].ino = files[i].file_ino;
    }
    qb_file_names_sort(files, batch->n_jobs);
    return files;
}

/* One image under two names would be amended twice, and lock itself out.  -1 after a line on
 * standard error; else each job has the device and inode of its file. */
static int refuse_twins(struct qb_batch *batch)
{
    QB_AUTO(qb_buf) struct qb_file_name *files = sorted_files(batch);

    if (!files)
        return -1;
    for (size_t i = 1; i < batch->n_jobs; i++)
        if (qb_file_names_are_one(&files[i - 1], &files[i])) {
            fputs("qbatch amend: one file is named twice: ", stderr);
            qb_text_safe(stderr, batch->jobs[files[i - 1].n].path);
            fputs(" and ", stderr);
            qb_text_safe(stderr, batch->jobs[files[i].n].path);
            fputc('\n', stderr);
            return -1;
        }
    return 0;
}

static int make_stale(struct qb_batch *batch, struct qb_job *job, const struct qb_job *twin)
{
    QB_AUTO(qb_buf) char *why = NULL;
    struct qb_planned *stale;

    if (!qb_planned_applies(job->planned)) /* it stays refused */
        return 0;
    stale = qb_batch_block(batch, sizeof(*stale));
    if (!stale || asprintf(&why,
                           "the image is now the same file as another one of the plan, %.200s; "
                           "nothing was changed",
                           twin->path) < 0)
        return -1;
    *stale = (struct qb_planned){.status = QB_STATUS_FAILED,
                                 .code = QB_E_STALE,
                                 .message = qb_batch_keep(batch, why, strlen(why))};
    job->planned = stale;
    return stale->message ? 0 : -1;
}

int qb_fleet_twins(struct qb_batch *batch)
{
    QB_AUTO(qb_buf) struct qb_file_name *files = sorted_files(batch);
    int r = files ? 0 : -1;

    for (size_t i = 1; r == 0 && i < batch->n_jobs; i++) {
        struct qb_job *a = &batch->jobs[files[i - 1].n], *b = &batch->jobs[files[i].n];

        if (qb_file_names_are_one(&files[i - 1], &files[i]) &&
            (make_stale(batch, a, b) < 0 || make_stale(batch, b, a) < 0))
            r = -1;
    }
    return r;
}

static int add_images(const struct qb_cli *cli, const struct qb_request *rq, struct qb_batch *batch)
{
    for (size_t i = 0; i < cli->n_operands; i++)
        if (!qb_batch_add(batch, cli->operands[i], 0, rq)) {
            fputs("qbatch: out of memory\n", stderr);
            return -1;
        }
    return refuse_twins(batch);
}

int qb_command_amend(const struct qb_cli *cli)
{
    __attribute__((cleanup(free_batch))) struct qb_batch batch;
    struct qb_request rq;
    int r;

    qb_batch_init(&batch);
    qb_request_init(&rq);
    r = parse_keys(cli, &batch, &rq);
    if (r < 0)
        return qb_fleet_refuse(cli, "the options are wrong; nothing was touched");
    if (r == QB_OPTIONS_HELP) {
        qb_keys_help(stdout);
        return qb_stdout_end(0);
    }
    rq.allow_shrink |= qb_cli_has(cli, QB_OPTION_SHRINK);
    if (cli->n_operands == 0) {
        fputs("qbatch amend: an image is missing (see qbatch amend --help)\n", stderr);
        return qb_fleet_refuse(cli, "an image is missing");
    }
    if (add_images(cli, &rq, &batch) < 0)
        return qb_fleet_refuse(cli, "the images cannot be amended together; nothing was touched");
    return qb_fleet_run(cli, &batch);
}
