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
#include "io/named.h"

struct graphing {
    struct qb_batch batch;
    struct qb_owners *owners;
    struct qb_sched *sched;
    struct qb_confined_reading reading;
    struct qb_family family;
    struct qb_findings findings;
    struct qb_err err;
    bool failed;
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

    g->failed =
        qb_confined_reading_begin(&g->reading, &g->batch, g->sched, g->owners, &g->err) < 0 ||
        qb_family_read(&g->batch, g->sched, qb_signal_seen, &g->family, &g->err) < 0 ||
        qb_family_order(&g->family, &g->batch, g->sched, &g->err) < 0 ||
        qb_findings_make(&g->family, &g->batch, &g->findings, &g->err) < 0;
}

static int read_with_workers(struct graphing *g, const struct qb_cli *cli)
{
    unsigned wanted = cli->jobs ? cli->jobs : g->batch.limits.jobs;
    const char *fell_back;

    /* A header is one small read, mostly of what is in memory: a ring would gain nothing. */
    if (qb_sched_open(qb_topo_open(wanted, &g->batch), QB_IO_POSIX, false, &g->sched, &fell_back,
                      &g->err) < 0)
        return -1;
    g->owners = qb_policy_owners(&g->batch.policy, false, &g->err);
    if (!g->owners)
        return -1;
    qb_sched_set_owners(g->sched, g->owners);
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

int qb_command_graph(const struct qb_cli *cli)
{
    __attribute__((cleanup(free_all))) struct graphing g = {0};
    const char *format = qb_cli_text(cli, QB_OPTION_GRAPH_FORMAT);
    int code;

    if (load(&g, cli->operands[0]) < 0) {
        if (format && strcmp(format, "json") == 0)
            qb_line_abort(stdout, "the manifest is wrong", QB_EXIT_USAGE);
        return qb_stdout_end(QB_EXIT_USAGE);
    }
    if (read_with_workers(&g, cli) < 0) {
        fputs("qbatch graph: ", stderr);
        qb_text_safe(stderr, g.err.text);
        fputc('\n', stderr);
        return QB_EXIT_FAILED;
    }
    qb_confining_tell_lack(cli, &g.reading.confining);
    if (qb_signal_seen())
        return QB_EXIT_INTERRUPTED;
    code = g.findings.errors || g.family.unknown.n ? QB_EXIT_FAILED : 0;
    show(&g, format ? format : "tree", code);
    return qb_stdout_end(code);
}
