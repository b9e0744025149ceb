#include "text/table.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/own.h"
#include "shard/shard.h"
#include "text/change_text.h"
#include "util/text.h"

enum {
    SHOWN_WHOLE = 50, /* images: a batch up to this size is shown row by row */
    NAMES_SHOWN = 3,  /* of a group */
    LINES_MAX = 20,   /* groups of a status */
    STATUS_WIDTH = 13,
    PATH_WIDTH_MAX = 60,
};

static const char *const colors[QB_STATUS_COUNT] = {
    [QB_STATUS_CHANGED] = "\033[32m",      [QB_STATUS_UNCHANGED] = "\033[2m",
    [QB_STATUS_WOULD_CHANGE] = "\033[36m", [QB_STATUS_SKIPPED] = "\033[33m",
    [QB_STATUS_FAILED] = "\033[31m",       [QB_STATUS_INTERRUPTED] = "\033[35m",
};

bool qb_table_wants_color(FILE *f, enum qb_color color)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    if (color != QB_COLOR_AUTO)
        return color == QB_COLOR_ALWAYS;
    return isatty(fileno(f)) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

void qb_table_start(struct qb_table *t, const struct qb_batch *batch)
{
    t->batch = batch;
    t->by_row = t->all_rows || t->verbose || batch->n_jobs <= SHOWN_WHOLE;
    t->groups = (struct qb_groups){.keep = NAMES_SHOWN};
    if (!t->by_row || t->quiet)
        return; /* no row has columns */
    for (size_t i = 0; i < batch->n_jobs && t->path_width < PATH_WIDTH_MAX; i++)
        t->path_width = qb_max(t->path_width, qb_text_columns(batch->jobs[i].path));
    t->path_width = QB_MIN(t->path_width, (size_t)PATH_WIDTH_MAX);
}

static bool changes(enum qb_status status)
{
    return status == QB_STATUS_CHANGED || status == QB_STATUS_WOULD_CHANGE;
}

void qb_table_error(FILE *f, const struct qb_failure *err)
{
    fprintf(f, "%s: ", qb_code_name(err->code));
    qb_text_safe(f, err->text);
    if (err->offset != QB_NOWHERE)
        fprintf(f, " at 0x%llx", (unsigned long long)err->offset);
}

static void start_line(const struct qb_table *t, FILE *f, const char *label)
{
    fprintf(f, "%*s%s%s%s", STATUS_WIDTH, "", t->color ? "\033[2m" : "", label,
            t->color ? "\033[0m" : "");
}

/* Repeating a hint for every row would hide the rows. */
static void print_hint(struct qb_table *t, FILE *f, enum qb_code code)
{
    const char *hint = qb_code_hint(code);

    _Static_assert((int)QB_E_COUNT <= 64, "a bit for each");
    if (t->hinted & UINT64_C(1) << code || !*hint)
        return;
    t->hinted |= UINT64_C(1) << code;
    start_line(t, f, "hint: ");
    fprintf(f, "%s\n", hint);
}

/* Below its image, where each is shown with all that there is to say of it. */
static void print_own_notes(const struct qb_table *t, const struct qb_result *r)
{
    char room[QB_NOTE_ROOM];
    const char *note;

    for (unsigned i = 0; (note = qb_report_note(r, i, room)) != NULL; i++) {
        start_line(t, t->out, "note: ");
        qb_text_safe(t->out, note); /* a snapshot may have any name */
        fputc('\n', t->out);
    }
}

/* Once for the run. */
static void print_notes(const struct qb_table *t)
{
    char room[QB_NOTE_ROOM], buf[QB_TEXT_NUMBER];

    for (enum qb_note note = 0; note < QB_NOTE_COUNT; note++) {
        const struct qb_noted *noted = &t->notes.of[note];
        const char *text = qb_notes_text(&t->notes, note, room);

        if (!text)
            continue;
        fputs("note: ", t->out);
        if (noted->n > 1)
            fprintf(t->out, "%s images: ", qb_text_count(noted->n, buf));
        else if (t->batch->n_jobs > 1) {
            qb_text_safe(t->out, t->batch->jobs[noted->first].path);
            fputs(": ", t->out);
        }
        qb_text_safe(t->out, text);
        fputc('\n', t->out);
    }
}

static void print_steps(const struct qb_table *t, const char *steps)
{
    while (steps && *steps) {
        size_t len = strcspn(steps, "\n");
        QB_AUTO(qb_buf) char *one = strndup(steps, len);

        start_line(t, t->out, "plan: ");
        qb_text_safe(t->out, one ? one : "");
        fputc('\n', t->out);
        steps += len + (steps[len] == '\n');
    }
}

/* Whether a quiet run has to say something of it: a failed verification was reported at once. */
static bool is_quiet(const struct qb_result *r)
{
    return r->err.code == QB_E_NONE || r->err.code == QB_E_VERIFY || r->err.code == QB_E_WHEN;
}

/* A quiet run speaks like qemu-img: who, and what is wrong. */
static void quiet_row(struct qb_table *t, const struct qb_job *job, const struct qb_result *r)
{
    fputs("qbatch: ", t->errors);
    qb_text_safe(t->errors, job->path);
    fputs(": ", t->errors);
    qb_table_error(t->errors, &r->err);
    fputc('\n', t->errors);
}

static void print_status(const struct qb_table *t, enum qb_status status)
{
    fprintf(t->out, "%s%-*s%s", t->color ? colors[status] : "", STATUS_WIDTH,
            qb_status_words[status], t->color ? "\033[0m" : "");
}

static void print_row(struct qb_table *t, const struct qb_job *job,
                      const struct qb_outcome *outcome)
{
    const struct qb_result *r = &outcome->result;
    size_t columns = qb_text_columns(job->path);

    print_status(t, r->status);
    qb_text_safe(t->out, job->path);
    if (changes(r->status) || r->err.code != QB_E_NONE)
        fprintf(t->out, "%*s", (int)(columns < t->path_width ? t->path_width - columns : 0) + 2,
                "");
    if (!t->diff)
        qb_changes_print(t->out, r);
    if (r->err.code != QB_E_NONE)
        qb_table_error(t->out, &r->err);
    fputc('\n', t->out);
    if (r->err.code != QB_E_NONE)
        print_hint(t, t->out, r->err.code);
    if (t->diff)
        qb_changes_diff(t->out, r, t->color, STATUS_WIDTH);
    if (t->verbose)
        print_own_notes(t, r);
    print_steps(t, outcome->steps);
}

/* ---- a large batch: equal outcomes are one line ---------------------------------------------- */

/* What images of a group have in common, until the next call; NULL when memory is short. */
static const char *text_of(struct qb_table *t, const struct qb_result *r)
{
    if (!t->scratch)
        t->scratch = open_memstream(&t->scratch_text, &t->scratch_len);
    if (!t->scratch)
        return NULL;
    rewind(t->scratch);
    if (r->err.code != QB_E_NONE)
        fprintf(t->scratch, "%s: %s", qb_code_name(r->err.code), r->err.text);
    else if (t->diff)
        qb_changes_diff(t->scratch, r, t->color, STATUS_WIDTH);
    else
        qb_changes_print(t->scratch, r);
    fputc('\0', t->scratch); /* a longer one was there before */
    return fflush(t->scratch) == 0 ? t->scratch_text : NULL;
}

static void print_names(const struct qb_table *t, FILE *f, const struct qb_group *g)
{
    for (size_t i = 0; i < g->members.n; i++) {
        fputs(i > 0 ? ", " : "", f);
        qb_text_safe(f, t->batch->jobs[g->members.items[i].job].path);
    }
}

static void print_group(struct qb_table *t, const struct qb_group *g)
{
    bool is_diff = t->diff && g->code == QB_E_NONE;
    char n[QB_TEXT_NUMBER];

    print_status(t, g->status);
    fprintf(t->out, "%s image%s  ", qb_text_count(g->n, n), g->n == 1 ? "" : "s");
    if (!is_diff && g->text && *g->text) {
        qb_text_safe(t->out, g->text);
        fputs("  ", t->out);
    } else if (!g->text) {
        fputs("of several kinds  ", t->out);
    }
    fputc('(', t->out);
    print_names(t, t->out, g);
    fputs(g->n > g->members.n ? ", ...)\n" : ")\n", t->out);
    if (is_diff && g->text)
        fputs(g->text, t->out);
    if (g->code != QB_E_NONE)
        print_hint(t, t->out, g->code);
}

static void quiet_group(struct qb_table *t, const struct qb_group *g)
{
    char n[QB_TEXT_NUMBER];

    fputs("qbatch: ", t->errors);
    print_names(t, t->errors, g);
    if (g->n > g->members.n)
        fprintf(t->errors, " and %s more", qb_text_count(g->n - g->members.n, n));
    fputs(": ", t->errors);
    qb_text_safe(t->errors, g->text ? g->text : qb_code_name(g->code));
    fputc('\n', t->errors);
}

/* The largest groups of each status; how many images the others have is said in a line. */
static void print_groups(struct qb_table *t)
{
    uint64_t lines[QB_STATUS_COUNT] = {0}, rest[QB_STATUS_COUNT] = {0};
    FILE *f = t->quiet ? t->errors : t->out;
    char n[QB_TEXT_NUMBER];

    qb_groups_sort(&t->groups);
    qb_vec_each (g, &t->groups.list) {
        bool last = g + 1 == t->groups.list.items + t->groups.list.n || g[1].status != g->status;

        if (lines[g->status]++ >= LINES_MAX)
            rest[g->status] += g->n;
        else if (t->quiet)
            quiet_group(t, g);
        else
            print_group(t, g);
        if (last && rest[g->status])
            fprintf(f, "%s... and %s more %s, of other kinds; --all-rows shows them\n",
                    t->quiet ? "qbatch: " : "", qb_text_count(rest[g->status], n),
                    qb_status_words[g->status]);
    }
}

/* Images with the requested properties, or left out by `when`, are only counted. */
static void group_row(struct qb_table *t, size_t job, const struct qb_result *r)
{
    const char *text;

    if (r->status == QB_STATUS_UNCHANGED || r->err.code == QB_E_WHEN)
        return;
    text = text_of(t, r);
    t->incomplete |= !text || !qb_groups_add(&t->groups, (struct qb_grouped){.status = r->status,
                                                                             .code = r->err.code,
                                                                             .text = text,
                                                                             .member.job = job});
}

void qb_table_row(struct qb_table *t, const struct qb_job *job, const struct qb_outcome *outcome)
{
    const struct qb_result *r = &outcome->result;
    size_t number = (size_t)(job - t->batch->jobs);

    t->undoable |= job->request.keep_undo && r->status == QB_STATUS_CHANGED;
    if (!t->verbose && !t->quiet)
        qb_notes_add(&t->notes, number, r);
    if (t->quiet && is_quiet(r))
        return;
    if (!t->by_row)
        group_row(t, number, r);
    else if (t->quiet)
        quiet_row(t, job, r);
    else if (r->err.code != QB_E_WHEN || t->verbose || t->all_rows)
        print_row(t, job, outcome);
}

static void print_undo(const struct qb_table *t)
{
    fprintf(t->out, "to take it back: qbatch undo %s", t->batch->run_id);
    qb_table_state(t, t->out);
    fputc('\n', t->out);
}

static void print_recap(const struct qb_table *t, const struct qb_summary *sum)
{
    char buf[QB_TEXT_NUMBER];
    const char *before = ": ";

    if (t->batch->origin.shard.of)
        fprintf(t->out, "shard %s: ", qb_shard_text(t->batch->origin.shard, buf));
    fprintf(t->out, "%s image%s", qb_text_count(sum->images, buf), sum->images == 1 ? "" : "s");
    for (size_t i = 0; i < QB_STATUS_COUNT; i++) {
        uint64_t n = sum->by_status[i] - (i == QB_STATUS_SKIPPED ? sum->not_meant : 0);

        if (n == 0)
            continue;
        fprintf(t->out, "%s%s %s", before, qb_text_count(n, buf), qb_status_words[i]);
        before = ", ";
    }
    if (sum->not_meant)
        fprintf(t->out, "%s%s left out by `when`", before, qb_text_count(sum->not_meant, buf));
    fprintf(t->out, " in %s%s%s%s\n", qb_text_seconds(sum->seconds, buf),
            sum->dry_run ? " (dry run: nothing was written)" : "",
            sum->finish ? "; to finish: " : "", sum->finish ? sum->finish : "");
}

static void print_end(const struct qb_table *t, const struct qb_summary *sum)
{
    print_notes(t);
    print_recap(t, sum);
    qb_table_protections(t, sum);
    if (sum->by_status[QB_STATUS_CHANGED] && t->batch->policy.backup && !sum->dry_run)
        fprintf(t->out, "what changed images were is in IMAGE.%s.bak beside them\n",
                t->batch->backup_id);
    if (t->undoable && t->batch->undo_kept)
        print_undo(t);
}

void qb_table_end(struct qb_table *t, const struct qb_summary *sum)
{
    print_groups(t);
    if (t->incomplete)
        fputs("qbatch: memory was short: some images are missing above\n", t->errors);
    if (!t->quiet)
        print_end(t, sum);
    qb_groups_free(&t->groups);
    if (t->scratch)
        fclose(qb_take(&t->scratch));
    free(qb_take(&t->scratch_text));
}
