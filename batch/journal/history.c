#include "journal/history_parts.h"

#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "qcow2/disk.h"

/* ---- traces by path -------------------------------------------------------------------------- */

struct qb_trace *qb_history_find(const struct qb_history *h, const char *path)
{
    struct qb_probe p = qb_index_probe(&h->by_path, qb_key_of_text(path));

    while (qb_index_next(&h->by_path, &p))
        if (strcmp(h->traces.items[p.item].path, path) == 0)
            return &h->traces.items[p.item];
    return NULL;
}

/* The trace that a record is about; a new one where there is none. */
static struct qb_trace *trace_of(struct qb_history *h, const struct qb_parsed *record,
                                 struct qb_err *err)
{
    QB_AUTO(qb_buf) char *path = qb_json_get_path(record);
    struct qb_trace *t = path ? qb_history_find(h, path) : NULL;

    if (t)
        return t;
    if (!path || !qb_index_room(&h->by_path, 1) || !qb_vec_push(&h->traces, (struct qb_trace){0})) {
        if (path)
            qb_fail_memory(err);
        else
            qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "a record of the journal lacks its path");
        return NULL;
    }
    t = &h->traces.items[h->traces.n - 1];
    t->path = qb_take(&path);
    qb_index_add(&h->by_path, qb_key_of_text(t->path), h->traces.n - 1);
    return t;
}

/* ---- records --------------------------------------------------------------------------------- */

void qb_history_keep_text(const struct qb_parsed *record, const char *key, char **out)
{
    const char *text = qb_json_get_text(record, key);

    free(*out);
    *out = text ? strdup(text) : NULL;
}

/* A manifest that was read again is the one that a resumed run must have. */
static void on_hand(struct qb_history *h, const struct qb_parsed *record)
{
    const char *print = qb_json_get_text(record, "manifest_print");

    qb_order_read(record, &h->orders);
    if (print)
        snprintf(h->manifest_print, sizeof(h->manifest_print), "%s", print);
}

/* Numbers that no rollout has are none. */
static unsigned step_of(const struct qb_parsed *record)
{
    uint64_t step = qb_json_get_number(record, "step", 0);

    return step <= QB_STEPS_MAX ? (unsigned)step : 0;
}

static void on_step(struct qb_history *h, const struct qb_parsed *record)
{
    const char *verdict = qb_json_get_text(record, "verdict");

    h->asked = h->step_failed = 0;
    h->steps = (unsigned)qb_min(qb_json_get_number(record, "steps", 0), QB_STEPS_MAX);
    if (verdict && strcmp(verdict, qb_gate_names[QB_GATE_PASSED]) == 0)
        h->steps_passed = step_of(record);
    else if (verdict && strcmp(verdict, qb_gate_names[QB_GATE_ASKED]) == 0)
        h->asked = step_of(record);
    else if (verdict && strcmp(verdict, qb_gate_names[QB_GATE_FAILED]) == 0)
        h->step_failed = step_of(record);
    if (h->step_failed)
        qb_history_keep_text(record, "why", &h->step_why);
}

static void on_planned(struct qb_trace *t, const struct qb_parsed *record, uint64_t at,
                       unsigned attempt)
{
    t->uncertain = true;
    t->attempt = attempt;
    t->size_added = qb_json_get_number(record, "size_added", 0);
    t->planned = true;
    t->ended = t->committed = t->verified = t->undone = t->discarded = t->undoing = false;
    t->tail_left = t->mistrusted = false;
    t->proof_at = t->discarding_at = 0;
    t->asks = (uint32_t)qb_json_get_number(record, "asks", 0);
    t->step = step_of(record);
    t->appends = qb_json_get_bool(record, "appends");
    t->cuts_data |= qb_json_get_bool(record, "cuts_data");
    t->header_wrong = false;
    t->undo_asks = t->asks;
    t->has_undo = qb_json_get_text(record, "old_sector") != NULL;
    t->sectors_at = at;
    t->header_at = qb_json_has(record, "header") ? at : 0;
    t->length_before = qb_json_get_number(record, "length", 0);
    t->virtual_size = qb_json_get_number(record, "virtual_size", 0);
    t->done = (struct qb_seen){0};
    t->appended_from = t->abandoned_from;
    if (t->appends && t->abandoned_from == 0)
        t->abandoned_from = t->length_before;
}

/* Whether the last plan was carried out.  A record does not say so if the header was written but
 * syncing it failed, nor if a later attempt failed before it had a plan.  A later attempt that
 * found nothing to do proves that the run carried it out; the state of the file after that was not
 * recorded. */
static void note_outcome(struct qb_trace *t, const struct qb_parsed *record, unsigned attempt)
{
    bool committed = t->status == QB_STATUS_CHANGED || t->status == QB_STATUS_UNCHANGED ||
                     qb_json_get_bool(record, "committed");
    bool told = committed || (t->attempt == attempt && !qb_json_get_bool(record, "uncertain"));

    if (committed)
        t->reached |= t->planned;
    if (t->status == QB_STATUS_UNCHANGED && t->uncertain)
        t->committed = true;
    if (told)
        t->uncertain = false;
    /* Before the flip every failure cuts off again what it appended. */
    if (told && t->status != QB_STATUS_SKIPPED) {
        t->abandoned_from = 0;
        t->cuts_data = false;
    }
}

static void on_over(struct qb_trace *t, const struct qb_parsed *record, enum qb_status status,
                    uint64_t at)
{
    const char *code = qb_json_get_text(record, "code");

    t->ended = true;
    t->status = status;
    t->asks = (uint32_t)qb_json_get_number(record, "asks", 0);
    t->verified = qb_json_get_bool(record, "verified");
    t->seen = qb_seen_read(record);
    if (status == QB_STATUS_CHANGED || qb_json_get_bool(record, "committed")) {
        t->committed = true;
        t->undone = t->discarded = false;
        t->done = t->seen;
        t->step = step_of(record);
    }
    if (qb_json_get_text(record, "old_sector")) {
        t->has_undo = true;
        t->undone = t->discarded = t->tail_left = false;
        t->mistrusted = true;
        t->undo_asks = t->asks;
        t->sectors_at = at;
        t->length_before = qb_json_get_number(record, "length_before", 0);
        t->header_wrong = qb_json_get_bool(record, "header_wrong");
    }
    t->code = QB_E_NONE;
    for (int c = QB_E_NONE + 1; code && c < QB_E_COUNT; c++)
        if (strcmp(code, qb_code_name((enum qb_code)c)) == 0)
            t->code = (enum qb_code)c;
    qb_history_keep_text(record, "message", &t->message);
}

static bool is_of_image(const char *is)
{
    static const char *const kinds[] = {"planned",    "proof",      "undoing",   "undone",
                                        "discarding", "discarded",  "abandoned", "cloned",
                                        "pruned",     "clone_stays"};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(is, kinds[i]) == 0)
            return true;
    for (int s = 0; s < QB_STATUS_COUNT; s++)
        if (strcmp(is, qb_status_names[s]) == 0)
            return true;
    return false;
}

/* The step whose image it was is not complete any more, and is judged again. */
static void on_undone(struct qb_history *h, struct qb_trace *t, const struct qb_parsed *record)
{
    if (t->step)
        h->steps_passed = QB_MIN(h->steps_passed, t->step - 1);
    if (t->step && h->asked >= t->step)
        h->asked = 0;
    t->undone = true;
    t->undoing = false;
    t->uncertain = t->reached = false;
    t->tail_left = qb_json_get_bool(record, "tail");
    qb_history_keep_text(record, "at", &t->undone_at);
}

static int on_image(struct qb_history *h, const struct qb_parsed *record, const char *is,
                    uint64_t at, struct qb_err *err)
{
    struct qb_trace *t;

    if (!is_of_image(is))
        return 0;
    t = trace_of(h, record, err);
    if (!t)
        return -1;
    qb_clones_note(&t->clones, record, is);
    h->backup |= t->clones.before.path != NULL;
    if (strcmp(is, "planned") == 0)
        on_planned(t, record, at, h->attempt);
    else if (strcmp(is, "proof") == 0)
        t->proof_at = at;
    else if (strcmp(is, "undoing") == 0)
        t->undoing = true;
    else if (strcmp(is, "undone") == 0)
        on_undone(h, t, record);
    else if (strcmp(is, "discarding") == 0)
        t->discarding_at = at;
    else if (strcmp(is, "discarded") == 0)
        t->discarded = true;
    else if (strcmp(is, "abandoned") == 0)
        t->abandoned_from = qb_json_get_number(record, "length", 0);
    for (int s = 0; s < QB_STATUS_COUNT; s++)
        if (strcmp(is, qb_status_names[s]) == 0) {
            on_over(t, record, (enum qb_status)s, at);
            note_outcome(t, record, h->attempt);
        }
    return 0;
}

/* Records of a kind that a later version added are passed over.  The first line may be lost in a
 * power cut; then it is not known of which run the others are. */
static int on_record(void *arg, const struct qb_parsed *record, uint64_t at, struct qb_err *err)
{
    struct qb_history *h = arg;
    const char *is = qb_json_get_text(record, "is");

    if (!is || (at == 0 && strcmp(is, "run") != 0))
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "run %s: not a qbatch journal", h->id);
    h->begun |= at == 0;
    if (at == 0)
        return qb_history_on_run(h, record, err);
    if (strcmp(is, "end") == 0) {
        h->ended = true;
        h->undo |= qb_json_get_bool(record, "undo");
        h->left = qb_json_get_number(record, "left", 0);
        h->to_finish = qb_json_get_number(record, "to_finish", h->left);
        qb_history_keep_text(record, "at", &h->ended_at);
    } else if (strcmp(is, "resumed") == 0) {
        h->ended = false;
        h->attempt++;
        h->step_failed = 0; /* it is judged again */
    } else if (strcmp(is, "step") == 0) {
        on_step(h, record);
    } else if (strcmp(is, "hand") == 0) {
        on_hand(h, record);
    } else if (strcmp(is, "superseded") == 0) {
        h->superseded = true;
    } else {
        return on_image(h, record, is, at, err);
    }
    return 0;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void begin(struct qb_history *h, const char *dir, const char *id, char path[QB_JOURNAL_PATH])
{
    *h = (struct qb_history){.fd = -1};
    snprintf(h->id, sizeof(h->id), "%s", id);
    qb_state_dir_journal(dir, id, path);
}

static int check(const struct qb_history *h, int r, struct qb_err *err)
{
    if (r == 0 && !h->begun)
        return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE,
                       "run %s: a power cut came before its journal was on the disk", h->id);
    return r;
}

int qb_history_read(const char *dir, const char *id, struct qb_history *h, struct qb_err *err)
{
    char path[QB_JOURNAL_PATH];

    begin(h, dir, id, path);
    return check(h, qb_journal_read(path, on_record, h, &h->end, err), err);
}

int qb_history_reopen(const char *dir, const char *id, struct qb_history *h, struct qb_journal *j,
                      struct qb_err *err)
{
    char path[QB_JOURNAL_PATH];
    int r;

    begin(h, dir, id, path);
    r = qb_journal_reopen(path, on_record, h, j, &h->end, err);
    if (check(h, r, err) == 0) {
        h->fd = j->file.fd;
        return 0;
    }
    if (r == 0)
        qb_journal_close(j);
    return -1;
}

void qb_history_free(struct qb_history *h)
{
    qb_vec_each (t, &h->traces) {
        free(t->path);
        free(t->message);
        free(t->undone_at);
        qb_clones_free(&t->clones);
    }
    qb_vec_free(&h->traces);
    qb_index_free(&h->by_path);
    free(h->manifest);
    free(h->name);
    free(h->started);
    free(h->step_why);
    free(h->ended_at);
    free(h->folder);
    free(h->typed);
    qb_origin_free(&h->origin);
    qb_orders_free(&h->orders);
    qb_run_roots_free(&h->roots);
    *h = (struct qb_history){0};
}
