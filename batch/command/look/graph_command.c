/* `qbatch graph`: shows the backing files and overlays of the images of a manifest, and which of
 * them a run would amend first.  Reads only headers. */
#include <string.h>

#include "common/commands.h"
#include "common/confined_reading.h"
#include "look/graph_show.h"
#include "record/report_json.h"
#include "manifest/manifest.h"
#include "common/output.h"
#include "util/signal.h"
#include "util/text.h"
#include "host/topo.h"
#include "opener/named.h"
#include "util/whole.h"

struct graphing {
    const struct qb_cli *cli;
    struct qb_batch batch;
    struct qb_owners *owners;
    struct qb_sched *sched;
    struct qb_confined_reading reading;
    struct qb_family family;
    struct qb_findings findings;
    struct qb_err err;
    bool failed;
    int code; /* of a process that has shown it */
};

static void free_all(struct graphing *g)
{
    qb_findings_free(&g->findings);
    qb_family_free(&g->family);
    qb_sched_close(g->sched);
    qb_confined_reading_end(&g->reading);
    qb_owners_free(g->owners);
    qb_batch_free(&g->batch);
}

static int load(struct graphing *g, const char *path)
{
    struct qb_diags diags;
    int r = qb_manifest_load(path, NULL, &g->batch, &diags);

    qb_diags_render(&diags, stderr);
    qb_diags_free(&diags);
    return r;
}

static void read_all(void *arg)
{
    struct graphing *g = arg;

    g->failed = qb_confined_reading_begin(&g->reading, g->sched, g->owners, &g->err) < 0 ||
                qb_family_read(&g->batch, g->sched, qb_signal_seen, &g->family, &g->err) < 0 ||
                qb_family_order(&g->family, &g->batch, g->sched, &g->err) < 0 ||
                qb_findings_make(&g->family, &g->batch, &g->findings, &g->err) < 0;
}

static int read_with_workers(struct graphing *g)
{
    unsigned wanted = g->cli->jobs ? g->cli->jobs : g->batch.limits.jobs;
    const char *fell_back;

    /* A header is one small read, mostly of what is in memory: a ring would gain nothing. */
    if (qb_sched_open(qb_topo_open(wanted, &g->batch), QB_IO_POSIX, false, &g->sched, &fell_back,
                      &g->err) < 0)
        return -1;
    g->owners = qb_policy_owners(&g->batch.policy, false, &g->err);
    if (!g->owners)
        return -1;
    qb_sched_set_owners(g->sched, g->owners);
    if (qb_confined_reading_enter(&g->reading, &g->batch, g->sched, g->owners, &g->err) < 0)
        return -1;
    qb_sched_run(g->sched, read_all, g);
    return g->failed ? -1 : 0;
}

static void show(const struct graphing *g, const char *format, int code)
{
    struct qb_graph_shown shown = {&g->batch, &g->family, &g->findings, code};

    if (strcmp(format, "dot") == 0)
        qb_graph_dot(stdout, &shown);
    else if (strcmp(format, "json") == 0)
        qb_graph_json(stdout, &shown);
    else
        qb_graph_tree(stdout, &shown);
}

static int fail(const struct graphing *g)
{
    if (g->err.code == QB_E_CANCELLED && qb_signal_seen())
        return QB_EXIT_INTERRUPTED;
    fputs("qbatch graph: ", stderr);
    qb_text_safe(stderr, g->err.text);
    fputc('\n', stderr);
    return QB_EXIT_FAILED;
}

/* Once all headers were read. */
static int show_all(struct graphing *g)
{
    const char *format = qb_cli_text(g->cli, QB_OPTION_GRAPH_FORMAT);
    int code = g->findings.errors || g->family.unknown.n ? QB_EXIT_FAILED : 0;

    qb_confining_tell_lack(g->cli, &g->reading.confining);
    if (qb_signal_seen())
        return QB_EXIT_INTERRUPTED;
    show(g, format ? format : "tree", code);
    return qb_stdout_end(code);
}

static int read_and_show(struct graphing *g)
{
    return read_with_workers(g) < 0 ? fail(g) : show_all(g);
}

/* ---- by a process that may die of an image ----------------------------------------------------
 */

/* What it tells: that all headers are read, and in the end the exit code. */
static void be_reader(void *arg, int fd)
{
    struct graphing *g = arg;
    int failed = read_with_workers(g), code;

    if (qb_write_whole(fd, &failed, sizeof(failed)))
        return;
    code = failed ? fail(g) : show_all(g);
    qb_write_whole(fd, &code, sizeof(code));
    free_all(g);
}

/* What is shown in part is not begun again. */
static bool take_code(void *arg, struct qb_mortal *from)
{
    struct graphing *g = arg;
    int failed;

    if (!qb_mortal_take(from, &failed, sizeof(failed)))
        return false;
    if (qb_mortal_take(from, &g->code, sizeof(g->code)) && g->code >= 0 &&
        g->code <= QB_EXIT_INTERRUPTED)
        return true;
    g->code = qb_signal_seen() ? QB_EXIT_INTERRUPTED : QB_EXIT_FAILED;
    if (!qb_signal_seen())
        fputs("qbatch graph: the process that shows the graph has ended\n", stderr);
    return true;
}

static int show_apart(struct graphing *g)
{
    const struct qb_headers_apart apart = {.batch = &g->batch,
                                           .program = "qbatch graph",
                                           .body = be_reader,
                                           .take = take_code,
                                           .arg = g,
                                           .keeps_output = true};
    bool began;

    if (qb_headers_read_apart(&apart, &began, &g->err) == 0)
        return g->code;
    if (began || g->batch.policy.sandbox == QB_SANDBOX_STRICT)
        return fail(g);
    return read_and_show(g);
}

int qb_command_graph(const struct qb_cli *cli)
{
    __attribute__((cleanup(free_all))) struct graphing g = {.cli = cli};
    const char *format = qb_cli_text(cli, QB_OPTION_GRAPH_FORMAT);

    if (load(&g, cli->operands[0]) < 0) {
        if (format && strcmp(format, "json") == 0)
            qb_line_abort(stdout, "the manifest is wrong", QB_EXIT_USAGE);
        return qb_stdout_end(QB_EXIT_USAGE);
    }
    return g.batch.policy.sandbox == QB_SANDBOX_OFF ? read_and_show(&g) : show_apart(&g);
}
