#include "report/table.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "util/text.h"

enum {
    SHOWN_WHOLE = 50, /* images: a batch up to this size is shown row by row */
    ALIKE_SHOWN = 20, /* rows of a kind that a larger one may have very many of */
    STATUS_WIDTH = 13,
    PATH_WIDTH_MAX = 60,
};

static const char *const colors[QB_STATUS_COUNT] = {
    [QB_STATUS_CHANGED] = "\033[32m",      [QB_STATUS_UNCHANGED] = "\033[2m",
    [QB_STATUS_WOULD_CHANGE] = "\033[36m", [QB_STATUS_SKIPPED] = "\033[33m",
    [QB_STATUS_FAILED] = "\033[31m",       [QB_STATUS_INTERRUPTED] = "\033[35m",
};

bool qb_table_wants_color(FILE *f)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(fileno(f)) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

void qb_table_start(struct qb_table *t, const struct qb_batch *batch)
{
    t->batch = batch;
    for (size_t i = 0; i < batch->n_jobs && t->path_width < PATH_WIDTH_MAX; i++)
        t->path_width = QB_MAX(t->path_width, qb_text_columns(batch->jobs[i].path));
    t->path_width = QB_MIN(t->path_width, (size_t)PATH_WIDTH_MAX);
}

static bool changes(enum qb_status status)
{
    return status == QB_STATUS_CHANGED || status == QB_STATUS_WOULD_CHANGE;
}

/* Whether this may be one of very many that are all alike. */
static bool is_common(const struct qb_result *r)
{
    return changes(r->status) || r->err.code == QB_E_CANCELLED || r->err.code == QB_E_NOT_FOUND;
}

static bool is_shown(struct qb_table *t, const struct qb_result *r)
{
    if (t->verbose || t->batch->n_jobs <= SHOWN_WHOLE)
        return true;
    if (is_common(r) ? t->shown[r->status]++ < ALIKE_SHOWN : r->status != QB_STATUS_UNCHANGED)
        return true;
    t->left_out[r->status]++;
    return false;
}

static void print_value(FILE *f, struct qb_value v)
{
    char buf[QB_TEXT_NUMBER];

    switch (v.kind) {
    case QB_VALUE_TEXT:
        qb_text_safe(f, v.text);
        break;
    case QB_VALUE_NUMBER:
        fprintf(f, "%llu", (unsigned long long)v.number);
        break;
    case QB_VALUE_BYTES:
        fputs(qb_text_size(v.number, buf), f);
        break;
    case QB_VALUE_BOOL:
        fputs(v.number ? "on" : "off", f);
        break;
    default:
        fputs("none", f);
    }
}

/* Two sizes that look alike when rounded are told in bytes. */
static void print_change(FILE *f, const struct qb_change *c)
{
    char from[QB_TEXT_NUMBER], to[QB_TEXT_NUMBER];

    fprintf(f, "%s: ", c->key);
    if (c->from.kind == QB_VALUE_BYTES &&
        strcmp(qb_text_size(c->from.number, from), qb_text_size(c->to.number, to)) == 0) {
        fprintf(f, "%llu -> %llu bytes", (unsigned long long)c->from.number,
                (unsigned long long)c->to.number);
        return;
    }
    print_value(f, c->from);
    fputs(" -> ", f);
    print_value(f, c->to);
}

static void print_changes(FILE *f, const struct qb_result *r)
{
    struct qb_change list[QB_CHANGES_MAX];
    size_t n = qb_report_changes(r, list);

    for (size_t i = 0; i < n; i++) {
        fputs(i > 0 ? ", " : "", f);
        print_change(f, &list[i]);
    }
}

/* What was and what is, a line each. */
static void print_diff(const struct qb_table *t, const struct qb_result *r)
{
    static const char *const signs[] = {"- ", "+ "}, *const tints[] = {"\033[31m", "\033[32m"};
    struct qb_change list[QB_CHANGES_MAX];
    size_t n = qb_report_changes(r, list);

    for (size_t i = 0; i < 2 * n; i++) {
        const struct qb_change *c = &list[i / 2];

        fprintf(t->out, "%*s%s%s%s: ", STATUS_WIDTH, "", t->color ? tints[i % 2] : "", signs[i % 2],
                c->key);
        print_value(t->out, i % 2 ? c->to : c->from);
        if (c->from.kind == QB_VALUE_BYTES)
            fprintf(t->out, " (%llu bytes)", (unsigned long long)(i % 2 ? c->to : c->from).number);
        fprintf(t->out, "%s\n", t->color ? "\033[0m" : "");
    }
}

const char *qb_table_changes(const struct qb_result *r, char *out, size_t size)
{
    FILE *f = fmemopen(out, size, "w");

    out[0] = '\0';
    if (f) {
        print_changes(f, r);
        fclose(f);
    }
    out[size - 1] = '\0';
    return out;
}

static void print_error(FILE *f, const struct qb_err *err)
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

/* The same advice under a thousand rows would bury them. */
static void print_hint(struct qb_table *t, FILE *f, enum qb_code code)
{
    const char *hint = qb_code_hint(code);

    if (t->hinted & 1u << code || !*hint)
        return;
    t->hinted |= 1u << code;
    start_line(t, f, "hint: ");
    fprintf(f, "%s\n", hint);
}

static void print_notes(const struct qb_table *t, const struct qb_result *r)
{
    char room[QB_NOTE_ROOM];
    const char *note;

    for (unsigned i = 0; (note = qb_report_note(r, i, room)) != NULL; i++) {
        start_line(t, t->out, "note: ");
        fprintf(t->out, "%s\n", note);
    }
}

static void print_steps(const struct qb_table *t, const char *steps)
{
    while (steps && *steps) {
        size_t len = strcspn(steps, "\n");

        start_line(t, t->out, "plan: ");
        fprintf(t->out, "%.*s\n", (int)len, steps);
        steps += len + (steps[len] == '\n');
    }
}

/* A quiet run speaks like qemu-img: who, and what is wrong. */
static void quiet_row(struct qb_table *t, const struct qb_job *job, const struct qb_result *r)
{
    if (r->err.code == QB_E_NONE || r->err.code == QB_E_VERIFY) /* which was told already */
        return;
    fputs("qbatch: ", t->errors);
    qb_text_safe(t->errors, job->path);
    fputs(": ", t->errors);
    print_error(t->errors, &r->err);
    fputc('\n', t->errors);
}

/* The state folder, where a command without it would look elsewhere. */
static void print_state(const struct qb_table *t, FILE *f)
{
    if (!t->batch->state_dir)
        return;
    fputs(" --state ", f);
    qb_text_shell(f, t->batch->state_dir);
}

/* What a person must not miss, whatever was asked for: on stderr, and first. */
void qb_table_alarm(struct qb_table *t, const struct qb_job *job, const struct qb_result *r)
{
    if (r->err.code != QB_E_VERIFY)
        return;
    fputs("qbatch: VERIFICATION FAILED: ", t->errors);
    qb_text_safe(t->errors, job->path);
    fputs(": ", t->errors);
    print_error(t->errors, &r->err);
    fputs("\nqbatch: this image was amended and must not be used as it is\n", t->errors);
    if (!t->batch->run_id[0])
        return;
    fprintf(t->errors, "qbatch: to have the old image back: qbatch undo %s ", t->batch->run_id);
    qb_text_shell(t->errors, job->path);
    print_state(t, t->errors);
    fputc('\n', t->errors);
}

void qb_table_alarm_end(struct qb_table *t, const struct qb_summary *sum)
{
    char buf[QB_TEXT_NUMBER];

    if (sum->journal_lost)
        fprintf(t->errors, "qbatch: %s\n", sum->journal_lost);
    if (sum->adds_twice)
        fputs("qbatch: this run is not remembered: running it again would add to the sizes of the "
              "images that are done once more\n",
              t->errors);
    if (sum->mistrusted)
        fprintf(t->errors, "qbatch: VERIFICATION FAILED for %s image%s, named above\n",
                qb_text_count(sum->mistrusted, buf), sum->mistrusted == 1 ? "" : "s");
}

void qb_table_row(struct qb_table *t, const struct qb_job *job, const struct qb_outcome *outcome)
{
    const struct qb_result *r = &outcome->result;
    size_t columns = qb_text_columns(job->path);

    t->undoable |= job->request.keep_undo && r->status == QB_STATUS_CHANGED;
    if (t->quiet) {
        quiet_row(t, job, r);
        return;
    }
    if (!is_shown(t, r))
        return;
    fprintf(t->out, "%s%-*s%s", t->color ? colors[r->status] : "", STATUS_WIDTH,
            qb_status_words[r->status], t->color ? "\033[0m" : "");
    qb_text_safe(t->out, job->path);
    if (changes(r->status) || r->err.code != QB_E_NONE)
        fprintf(t->out, "%*s", (int)(columns < t->path_width ? t->path_width - columns : 0) + 2,
                "");
    if (!t->diff)
        print_changes(t->out, r);
    if (r->err.code != QB_E_NONE)
        print_error(t->out, &r->err);
    fputc('\n', t->out);
    if (r->err.code != QB_E_NONE)
        print_hint(t, t->out, r->err.code);
    if (t->diff)
        print_diff(t, r);
    print_notes(t, r);
    print_steps(t, outcome->steps);
}

static void print_undo(const struct qb_table *t)
{
    fprintf(t->out, "to take it back: qbatch undo %s", t->batch->run_id);
    print_state(t, t->out);
    fputc('\n', t->out);
}

void qb_table_end(struct qb_table *t, const struct qb_summary *sum)
{
    char buf[QB_TEXT_NUMBER];
    const char *before = ": ";

    if (t->quiet)
        return;
    for (size_t i = 0; i < QB_STATUS_COUNT; i++)
        if (t->left_out[i])
            fprintf(t->out, "... and %s%s %s\n", qb_text_count(t->left_out[i], buf),
                    i == QB_STATUS_UNCHANGED ? "" : " more",
                    i == QB_STATUS_FAILED ? "failed: not_found" : qb_status_words[i]);
    fprintf(t->out, "%s image%s", qb_text_count(sum->images, buf), sum->images == 1 ? "" : "s");
    for (size_t i = 0; i < QB_STATUS_COUNT; i++)
        if (sum->by_status[i]) {
            fprintf(t->out, "%s%s %s", before, qb_text_count(sum->by_status[i], buf),
                    qb_status_words[i]);
            before = ", ";
        }
    fprintf(t->out, " in %s%s%s%s\n", qb_text_seconds(sum->seconds, buf),
            sum->dry_run ? " (dry run: nothing was written)" : "",
            sum->finish ? "; to finish: " : "", sum->finish ? sum->finish : "");
    if (t->batch->policy.owner_need_not_read)
        fputs("policy.owner_must_read is off: backing files were opened whether or not the "
              "owners of the images could read them\n",
              t->out);
    if (sum->by_status[QB_STATUS_CHANGED] && t->batch->policy.backup && !sum->dry_run)
        fprintf(t->out, "what changed images were is in IMAGE.%s.bak beside them\n",
                t->batch->backup_id);
    if (t->undoable && t->batch->undo_kept)
        print_undo(t);
}
