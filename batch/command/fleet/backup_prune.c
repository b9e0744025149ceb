/* `qbatch backup prune`: removes the clones of a run, or those of all runs that are old. */
#include <string.h>
#include <time.h>

#include "fleet/backup_parts.h"
#include "fleet/earlier.h"
#include "common/output.h"
#include "common/overrides.h"
#include "clones/prune.h"
#include "util/json.h"
#include "util/scalar.h"
#include "util/signal.h"
#include "util/text.h"

struct pruning {
    const struct qb_cli *cli;
    struct qb_io *io;
    bool json, dry_run, quiet;
    struct qb_claim how;
    double before; /* seconds since 1970: only what was made by then; 0: all */
    size_t removed, kept;
    uint64_t bytes;
    bool journal_lost;
};

/* ---- reporting ------------------------------------------------------------------------------- */

static void json_file(const struct pruning *p, const struct qb_history *h, const struct qb_trace *t,
                      const struct qb_clone *c, const struct qb_pruned *done,
                      const struct qb_err *err)
{
    struct qb_json o = qb_json_object(), e;

    qb_json_text(&o, "type", "pruned");
    qb_json_text(&o, "run", h->id);
    qb_json_path(&o, t->path);
    qb_json_path_of(&o, "at", c->path);
    qb_json_text(&o, "status", !done->removed ? "kept" : p->dry_run ? "would_remove" : "removed");
    if (done->removed && done->bytes_known)
        qb_json_number(&o, "bytes", done->bytes);
    else
        qb_json_null(&o, "bytes");
    if (done->removed) {
        qb_json_null(&o, "error");
    } else {
        e = qb_json_object();
        qb_json_text(&e, "code", qb_code_name(err->code));
        qb_json_text(&e, "message", err->text);
        qb_json_child(&o, "error", e);
    }
    qb_json_line(stdout, o);
}

static void print_file(const struct pruning *p, const struct qb_clone *c,
                       const struct qb_pruned *done, const struct qb_err *err)
{
    FILE *f = p->quiet ? stderr : stdout;
    char size[QB_TEXT_NUMBER];

    if (p->quiet && done->removed)
        return;
    fprintf(f, "%-12s  ", !done->removed ? "kept" : p->dry_run ? "would remove" : "removed");
    qb_text_safe(f, c->path);
    if (!done->removed) {
        fprintf(f, "  %s: ", qb_code_name(err->code));
        qb_text_safe(f, err->text);
    } else if (done->bytes_known) {
        fprintf(f, "  %s", qb_text_size(done->bytes, size));
    }
    fputc('\n', f);
}

static void print_end(const struct pruning *p)
{
    char n[QB_TEXT_NUMBER], size[QB_TEXT_NUMBER];

    if (p->quiet)
        return;
    printf("%s file%s %s, %s freed", qb_text_count(p->removed, n), p->removed == 1 ? "" : "s",
           p->dry_run ? "would be removed" : "removed", qb_text_size(p->bytes, size));
    if (p->kept)
        printf("; %s kept", qb_text_count(p->kept, n));
    fputc('\n', stdout);
}

static void json_end(const struct pruning *p, int code)
{
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "type", "prune_summary");
    qb_json_bool(&o, "dry_run", p->dry_run);
    qb_json_number(&o, "removed", p->removed);
    qb_json_number(&o, "kept", p->kept);
    qb_json_number(&o, "bytes", p->bytes);
    qb_json_number(&o, "exit_code", (uint64_t)code);
    qb_json_line(stdout, o);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A file whose age is not recorded is not known to be old. */
static bool is_meant(const struct pruning *p, const struct qb_clones *all, const struct qb_clone *c)
{
    double made = qb_text_time_read(c->at);

    if (!c->path || c->pruned || (c == &all->before && all->restored))
        return false;
    return p->before == 0 || (made > 0 && made <= p->before);
}

static void prune_file(struct pruning *p, struct qb_earlier *e, const struct qb_trace *t,
                       const struct qb_clone *c)
{
    struct qb_pruned done;
    struct qb_err err = {0};
    int r = qb_prune_one(p->io, &e->history, t, c, p->how, p->dry_run, &done, &err);

    if (r == 0 && done.nothing_there)
        return;
    p->removed += r == 0;
    p->kept += r < 0;
    p->bytes += r == 0 ? done.bytes : 0;
    if (r == 0 && !p->dry_run)
        qb_clones_pruned(&e->journal, t->path, c == &t->clones.amended);
    if (p->json)
        json_file(p, &e->history, t, c, &done, &err);
    else
        print_file(p, c, &done, &err);
}

/* The images of which some file is meant. */
static int choose(const struct pruning *p, struct qb_earlier *e, struct qb_err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < e->history.traces.n; i++) {
        const struct qb_trace *t = &e->history.traces.items[i];

        if (is_meant(p, &t->clones, &t->clones.before) ||
            is_meant(p, &t->clones, &t->clones.amended))
            r = qb_earlier_add(e, t, err);
    }
    qb_override(p->cli, &e->batch);
    return r;
}

/* The files of a run that is open. */
static int prune_files(struct pruning *p, struct qb_earlier *e, struct qb_err *err)
{
    if (qb_prune_permit(&e->history, err) < 0 || choose(p, e, err) < 0)
        return -1;
    for (size_t i = 0; i < e->batch.n_jobs && !qb_signal_seen(); i++) {
        const struct qb_clones *all = &e->traces[i]->clones;

        p->how.without_locks = e->batch.jobs[i].request.without_locks;
        p->how.on_link = e->batch.jobs[i].request.on_link;
        if (is_meant(p, all, &all->before))
            prune_file(p, e, e->traces[i], &all->before);
        if (is_meant(p, all, &all->amended))
            prune_file(p, e, e->traces[i], &all->amended);
    }
    p->journal_lost |= qb_journal_write(&e->journal) != 0;
    return 0;
}

static int prune_run(struct pruning *p, const char *word, struct qb_err *err)
{
    struct qb_earlier e;
    int r = qb_earlier_open(&e, p->cli, word, err);

    if (r == 0)
        r = prune_files(p, &e, err);
    qb_earlier_close(&e);
    return r;
}

/* ---- runs ------------------------------------------------------------------------------------ */

static bool has_old(const struct pruning *p, const struct qb_history *h)
{
    for (size_t i = 0; i < h->traces.n; i++) {
        const struct qb_clones *all = &h->traces.items[i].clones;

        if (is_meant(p, all, &all->before) || is_meant(p, all, &all->amended))
            return true;
    }
    return false;
}

/* A run is opened, and so locked, only if it has old clones. */
static bool is_old(const struct pruning *p, const char *dir, const char *id)
{
    struct qb_history h;
    struct qb_err err;
    bool old = false;

    if (qb_history_read(dir, id, &h, &err) < 0)
        qb_backup_note(err.text);
    else
        old = has_old(p, &h);
    qb_history_free(&h);
    return old;
}

static int prune_old(struct pruning *p, struct qb_err *err)
{
    char dir[PATH_MAX];
    qb_run_ids ids = {0};
    int r = qb_state_dir_find(qb_cli_text(p->cli, QB_OPTION_STATE), dir, err);

    if (r == 0)
        r = qb_state_dir_list(dir, &ids, err);
    for (size_t i = 0; r == 0 && i < ids.n && !qb_signal_seen(); i++)
        if (is_old(p, dir, ids.items[i].text) && prune_run(p, ids.items[i].text, err) < 0) {
            qb_backup_note(err->text);
            p->kept++;
        }
    qb_vec_free(&ids);
    return r;
}

static int exit_code(const struct pruning *p)
{
    if (qb_signal_seen())
        return QB_EXIT_INTERRUPTED;
    return p->kept || p->journal_lost ? QB_EXIT_FAILED : QB_EXIT_OK;
}

int qb_backup_prune(const struct qb_cli *cli)
{
    const char *age = qb_cli_text(cli, QB_OPTION_OLDER_THAN);
    struct pruning p = {
        .cli = cli,
        .json = qb_cli_has(cli, QB_OPTION_JSON),
        .dry_run = qb_cli_has(cli, QB_OPTION_DRY_RUN),
        .quiet = qb_cli_has(cli, QB_OPTION_QUIET),
    };
    struct qb_why why;
    struct qb_err err;
    double seconds = 0;
    int r;

    if (age && qb_scalar_duration(age, &seconds, &why))
        p.before = (double)time(NULL) - seconds;
    if (qb_io_open(QB_IO_POSIX, &p.io, NULL, &err) < 0)
        return qb_backup_refuse(cli, &err);
    r = age ? prune_old(&p, &err) : prune_run(&p, cli->operands[1], &err);
    qb_io_close(p.io);
    if (r < 0)
        return qb_backup_refuse(cli, &err);
    if (p.journal_lost)
        qb_backup_note("the journal could not be written: list may show removed clones as gone");
    if (p.json)
        json_end(&p, exit_code(&p));
    else
        print_end(&p);
    return qb_stdout_end(exit_code(&p));
}
