/* `qbatch status`: summarises the journals of the state directory. */
#include <stdlib.h>
#include <string.h>

#include "common/commands.h"
#include "common/finish.h"
#include "common/output.h"
#include "fleet/status_images.h"
#include "record/orders_json.h"
#include "record/report_json.h"
#include "journal/runs.h"
#include "shard/shard.h"
#include "util/text.h"

static int say(const struct qb_cli *cli, const struct qb_err *err)
{
    fputs("qbatch status: ", stderr);
    qb_text_safe(stderr, err->text);
    fputc('\n', stderr);
    if (qb_cli_has(cli, QB_OPTION_JSON))
        qb_line_abort(stdout, err->text, QB_EXIT_USAGE);
    return qb_stdout_end(QB_EXIT_USAGE);
}

/* ---- all runs -------------------------------------------------------------------------------- */

static const char *state_of(const struct qb_glance *g)
{
    return g->held           ? "running"
           : g->lost         ? "lost"
           : !g->is_readable ? "damaged"
           : g->superseded   ? "superseded"
           : g->ended        ? "ended"
                             : "unfinished";
}

static void print_glance(const struct qb_glance *g)
{
    char shard[QB_SHARD_TEXT];

    printf("%-22s  %-10s  %7llu  %7llu  %7llu  %6llu  %6llu  ", g->id.text, state_of(g),
           (unsigned long long)g->images, (unsigned long long)g->counts[QB_STATUS_CHANGED],
           (unsigned long long)g->counts[QB_STATUS_SKIPPED], (unsigned long long)g->failed,
           (unsigned long long)g->undone);
    qb_text_safe(stdout, g->manifest ? g->manifest : "-");
    if (g->shard.of)
        printf(", shard %s", qb_shard_text(g->shard, shard));
    fputc('\n', stdout);
}

static void json_glance(const struct qb_glance *g)
{
    struct qb_json o = qb_json_object();
    char shard[QB_SHARD_TEXT];

    qb_json_text(&o, "type", "run");
    qb_json_text(&o, "run", g->id.text);
    qb_json_text(&o, "state", state_of(g));
    qb_json_text(&o, "started", g->started);
    qb_json_text(&o, "manifest", g->manifest);
    qb_json_text(&o, "shard", qb_shard_text(g->shard, shard));
    qb_json_number(&o, "images", g->images);
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        qb_json_number(&o, qb_status_names[i], g->counts[i]);
    qb_json_number(&o, "to_finish", g->to_finish);
    qb_json_number(&o, "undone", g->undone);
    qb_json_bool(&o, "keep_undo", g->undo);
    qb_json_line(stdout, o);
}

static int show_all(const struct qb_cli *cli, const char *dir)
{
    bool json = qb_cli_has(cli, QB_OPTION_JSON);
    qb_run_ids ids = {0};
    struct qb_err err;

    if (qb_state_dir_list(dir, &ids, &err) < 0) {
        qb_vec_free(&ids);
        return say(cli, &err);
    }
    if (!json && ids.n)
        printf("%-22s  %-10s  %7s  %7s  %7s  %6s  %6s  %s\n", "RUN", "STATE", "IMAGES", "CHANGED",
               "SKIPPED", "FAILED", "UNDONE", "MANIFEST");
    else if (!json)
        puts("no runs are recorded");
    for (size_t i = 0; i < ids.n; i++) {
        struct qb_glance g;

        qb_glance_at(dir, ids.items[i], &g);
        if (json)
            json_glance(&g);
        else
            print_glance(&g);
        qb_glance_free(&g);
    }
    qb_vec_free(&ids);
    return qb_stdout_end(0);
}

/* ---- one run --------------------------------------------------------------------------------- */

struct shown {
    const struct qb_history *h;
    const char *state;
    size_t counts[QB_STATUS_COUNT], undoable, undone, left;
    size_t restored; /* of `undone`: from their clones */
    size_t unsure;   /* of `undoable`: planned, and perhaps not amended */
    uint64_t to_finish;
    char *finish;          /* owned: the command for these, or NULL */
    const char *undone_at; /* the last time that some were; NULL: never, or not told */
};

static void note_trace(struct shown *s, const struct qb_trace *t)
{
    if (qb_trace_holds_undo(t) && (t->committed || t->uncertain)) {
        s->undoable++;
        s->unsure += !t->committed;
    }
    s->restored += qb_trace_is_taken_back(t) && t->clones.restored;
    if (t->undone && t->undone_at && (!s->undone_at || strcmp(t->undone_at, s->undone_at) > 0))
        s->undone_at = t->undone_at;
}

/* Without an end record, the images without any record remain. */
static struct shown look(const struct qb_history *h, bool held)
{
    struct shown s = {.h = h};
    size_t told = 0;

    for (int i = 0; i < QB_STATUS_COUNT; i++) {
        s.counts[i] = qb_history_count(h, (enum qb_status)i);
        told += i == QB_STATUS_INTERRUPTED ? 0 : s.counts[i];
    }
    for (size_t i = 0; i < h->traces.n; i++)
        note_trace(&s, &h->traces.items[i]);
    s.undone = qb_history_count_undone(h);
    told += s.undone;
    s.to_finish = h->superseded ? 0 : qb_history_to_finish(h);
    if (!held && qb_finish_can_help_run(h) && h->typed)
        s.finish = qb_finish_resume(h->id, h->asked ? " --yes" : "", h->typed);
    s.left = h->ended ? h->left : h->images > told ? h->images - told : 0;
    s.state = held                       ? "running"
              : h->superseded            ? "superseded"
              : !h->ended || h->left > 0 ? "unfinished"
                                         : "ended";
    return s;
}

static void print_origin(const struct qb_origin *o)
{
    qb_status_fact("host", o->host);
    qb_status_fact("caller", o->caller);
    qb_status_fact("command", o->command);
    for (size_t i = 0; i < o->labels.n; i++) {
        fputs(i == 0 ? "labels    " : ", ", stdout);
        qb_text_safe(stdout, o->labels.items[i].key);
        fputs(": ", stdout);
        qb_text_safe(stdout, o->labels.items[i].value);
    }
    fputs(o->labels.n ? "\n" : "", stdout);
}

/* Where a run was killed, only an undo finds out which of the planned images it had amended. */
static void print_undo(const struct shown *s)
{
    size_t sure = s->undoable - s->unsure;
    char buf[QB_TEXT_NUMBER];

    printf("undo      %s image%s can be put back", qb_text_count(sure, buf), sure == 1 ? "" : "s");
    if (s->unsure)
        printf(", and %s more if the run had come to amending %s", qb_text_count(s->unsure, buf),
               s->unsure == 1 ? "it" : "them");
    putchar('\n');
}

static void print_run(const struct shown *s)
{
    const struct qb_history *h = s->h;
    char buf[QB_TEXT_NUMBER];

    printf("run       %s, %s\nmanifest  ", h->id, s->state);
    qb_text_safe(stdout, h->manifest ? h->manifest : "none");
    if (h->origin.shard.of)
        printf(", shard %s", qb_shard_text(h->origin.shard, buf));
    printf("\nstarted   %s\n", h->started ? h->started : "?");
    print_origin(&h->origin);
    if (h->ended && h->ended_at)
        printf("ended     %s\n", h->ended_at);
    printf("images    %s", qb_text_count(h->images, buf));
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        if (s->counts[i])
            printf(", %s %s", qb_text_count(s->counts[i], buf), qb_status_words[i]);
    if (s->undone)
        printf(", %s undone", qb_text_count(s->undone, buf));
    if (s->left)
        printf(", %s left to do", qb_text_count(s->left, buf));
    fputc('\n', stdout);
    qb_status_steps(h);
    qb_status_orders(h);
    if (s->undone_at)
        printf("undone    %s%s\n", s->undone_at, s->undoable ? ", in part" : "");
    if (s->restored)
        printf("restored  %s image%s from %s\n", qb_text_count(s->restored, buf),
               s->restored == 1 ? "" : "s", s->restored == 1 ? "its clone" : "their clones");
    if (h->undo)
        print_undo(s);
    if (h->end.cuts)
        printf("note      a power cut lost records of this journal, in %s place%s\n",
               qb_text_count(h->end.cuts, buf), h->end.cuts == 1 ? "" : "s");
    if (s->finish) {
        fputs("finish    cd ", stdout);
        qb_text_shell(stdout, h->folder ? h->folder : "/");
        printf(" && %s\n", s->finish);
    }
}

static void json_run(const struct shown *s)
{
    const struct qb_history *h = s->h;
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "type", "run");
    qb_json_text(&o, "run", h->id);
    qb_json_text(&o, "state", s->state);
    qb_json_text(&o, "started", h->started);
    qb_json_text(&o, "ended", h->ended ? h->ended_at : NULL);
    qb_json_text(&o, "manifest", h->manifest);
    qb_line_origin(&o, &h->origin);
    qb_json_number(&o, "images", h->images);
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        qb_json_number(&o, qb_status_names[i], s->counts[i]);
    qb_json_number(&o, "left", s->left);
    qb_json_number(&o, "undoable", s->undoable);
    qb_json_number(&o, "to_finish", s->to_finish);
    qb_json_number(&o, "undone", s->undone);
    qb_json_text(&o, "undone_at", s->undone_at);
    qb_json_number(&o, "restored", s->restored);
    qb_status_steps_json(&o, h);
    qb_orders_json(&o, &h->orders);
    qb_json_text(&o, "folder", h->folder);
    qb_json_text(&o, "finish", s->finish);
    qb_json_bool(&o, "torn", h->end.torn);
    qb_json_number(&o, "cuts", h->end.cuts);
    qb_json_line(stdout, o);
}

static void json_image(const struct qb_trace *t)
{
    struct qb_json o = qb_json_object(), e;
    bool undone = qb_trace_is_taken_back(t);

    qb_json_text(&o, "type", "image");
    qb_json_path(&o, t->path);
    qb_json_text(&o, "status", undone ? "undone" : qb_status_names[t->status]);
    if (t->undone)
        qb_json_text(&o, "undone_at", t->undone_at);
    if (undone)
        qb_json_bool(&o, "restored", t->clones.restored);
    if (undone) {
        qb_json_line(stdout, o);
        return;
    }
    e = qb_json_object();
    qb_json_text(&e, "code", qb_code_name(t->code));
    qb_json_text(&e, "message", t->message);
    qb_json_child(&o, "error", e);
    qb_json_line(stdout, o);
}

static int show_one(const struct qb_cli *cli, const char *dir)
{
    bool json = qb_cli_has(cli, QB_OPTION_JSON);
    char path[QB_JOURNAL_PATH];
    struct qb_history h = {0};
    struct qb_run_id id;
    struct shown s;
    struct qb_err err;

    if (qb_state_dir_pick(dir, cli->operands[0], &id, &err) < 0 ||
        qb_history_read(dir, id.text, &h, &err) < 0) {
        qb_history_free(&h);
        return say(cli, &err);
    }
    qb_state_dir_journal(dir, id.text, path);
    s = look(&h, qb_journal_is_held(path));
    if (json)
        json_run(&s);
    else
        print_run(&s);
    for (size_t i = 0; json && i < h.traces.n; i++)
        if (qb_status_tells(&h.traces.items[i]))
            json_image(&h.traces.items[i]);
    if (!json)
        qb_status_images(&h);
    free(s.finish);
    qb_history_free(&h);
    return qb_stdout_end(0);
}

int qb_command_status(const struct qb_cli *cli)
{
    char dir[PATH_MAX];
    struct qb_err err;

    if (qb_state_dir_find(qb_cli_text(cli, QB_OPTION_STATE), dir, &err) < 0)
        return say(cli, &err);
    return cli->n_operands ? show_one(cli, dir) : show_all(cli, dir);
}
