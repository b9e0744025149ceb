#include "journal/history.h"

#include <string.h>

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
static struct qb_trace *trace_of(struct qb_history *h, const struct qb_json *record,
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

static void keep_text(const struct qb_json *record, const char *key, char **out)
{
    const char *text = qb_json_get_text(record, key);

    free(*out);
    *out = text ? strdup(text) : NULL;
}

/* A journal without "format" is of format 1.  Another one has records that cannot be passed over.
 */
static int check_format(const struct qb_history *h, const struct qb_json *record,
                        struct qb_err *err)
{
    const char *by = qb_json_get_text(record, "qbatch");
    uint64_t format = qb_json_get_number(record, "format", QB_JOURNAL_FORMAT);

    if (format <= QB_JOURNAL_FORMAT)
        return 0;
    return qb_fail(
        err, QB_E_UNSUPPORTED, QB_NOWHERE,
        "run %s: the journal is of format %llu, by qbatch %.20s; this qbatch reads up to "
        "format %d",
        h->id, (unsigned long long)format, by ? by : "(unknown)", QB_JOURNAL_FORMAT);
}

static char *copy_of(const char *text)
{
    return text ? strdup(text) : NULL;
}

static void read_origin(const struct qb_json *record, struct qb_origin *o)
{
    uint64_t n = qb_json_get_number(record, "labels", 0);

    qb_origin_free(o);
    o->host = copy_of(qb_json_get_text(record, "host"));
    o->caller = copy_of(qb_json_get_text(record, "caller"));
    o->command = copy_of(qb_json_get_text(record, "command_line"));
    for (uint64_t i = 1; i <= n && i <= QB_LABELS_MAX; i++) {
        char key[40], value[40];
        const char *k, *v;

        snprintf(key, sizeof(key), "label_%llu", (unsigned long long)i);
        snprintf(value, sizeof(value), "value_%llu", (unsigned long long)i);
        k = qb_json_get_text(record, key);
        v = qb_json_get_text(record, value);
        if (k && v)
            qb_origin_add_label(o, k, v);
    }
}

static int on_run(struct qb_history *h, const struct qb_json *record, struct qb_err *err)
{
    const char *print = qb_json_get_text(record, "manifest_print");

    keep_text(record, "manifest", &h->manifest);
    keep_text(record, "name", &h->name);
    keep_text(record, "started", &h->started);
    keep_text(record, "folder", &h->folder);
    keep_text(record, "command", &h->typed);
    read_origin(record, &h->origin);
    snprintf(h->manifest_print, sizeof(h->manifest_print), "%s", print ? print : "");
    h->ages_from = qb_json_get_number(record, "ages_from", 0);
    h->images = h->left = qb_json_get_number(record, "images", 0);
    h->undo = qb_json_get_bool(record, "undo");
    h->backup = qb_json_get_bool(record, "backup");
    return check_format(h, record, err);
}

static void on_planned(struct qb_trace *t, const struct qb_json *record, uint64_t at,
                       unsigned attempt)
{
    t->uncertain = true;
    t->attempt = attempt;
    t->size_added = qb_json_get_number(record, "size_added", 0);
    t->planned = true;
    t->ended = t->committed = t->verified = t->undone = t->discarded = false;
    t->tail_left = t->mistrusted = false;
    t->proof_at = t->discarding_at = 0;
    t->asks = (uint32_t)qb_json_get_number(record, "asks", 0);
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
    if (t->appends && t->abandoned_from == 0)
        t->abandoned_from = t->length_before;
}

/* Whether the last plan was carried out.  A record does not say so if the header was written but
 * syncing it failed, nor if a later attempt failed before it had a plan.  A later attempt that
 * found nothing to do proves that the run carried it out; the state of the file after that was not
 * recorded. */
static void note_outcome(struct qb_trace *t, const struct qb_json *record, unsigned attempt)
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

static void on_over(struct qb_trace *t, const struct qb_json *record, enum qb_status status,
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
    keep_text(record, "message", &t->message);
}

static bool is_of_image(const char *is)
{
    static const char *const kinds[] = {"planned",   "proof",     "undone", "discarding",
                                        "discarded", "abandoned", "cloned", "pruned"};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(is, kinds[i]) == 0)
            return true;
    for (int s = 0; s < QB_STATUS_COUNT; s++)
        if (strcmp(is, qb_status_names[s]) == 0)
            return true;
    return false;
}

static void on_undone(struct qb_trace *t, const struct qb_json *record)
{
    t->undone = true;
    t->uncertain = t->reached = false;
    t->tail_left = qb_json_get_bool(record, "tail");
    keep_text(record, "at", &t->undone_at);
}

static int on_image(struct qb_history *h, const struct qb_json *record, const char *is, uint64_t at,
                    struct qb_err *err)
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
    else if (strcmp(is, "undone") == 0)
        on_undone(t, record);
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
static int on_record(void *arg, const struct qb_json *record, uint64_t at, struct qb_err *err)
{
    struct qb_history *h = arg;
    const char *is = qb_json_get_text(record, "is");

    if (!is || (at == 0 && strcmp(is, "run") != 0))
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "run %s: not a qbatch journal", h->id);
    h->begun |= at == 0;
    if (at == 0)
        return on_run(h, record, err);
    if (strcmp(is, "end") == 0) {
        h->ended = true;
        h->undo |= qb_json_get_bool(record, "undo");
        h->left = qb_json_get_number(record, "left", 0);
        h->to_finish = qb_json_get_number(record, "to_finish", h->left);
        keep_text(record, "at", &h->ended_at);
    } else if (strcmp(is, "resumed") == 0) {
        h->ended = false;
        h->attempt++;
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
    *h = (struct qb_history){0};
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
    if (check(h, r, err) == 0)
        return 0;
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
    free(h->ended_at);
    free(h->folder);
    free(h->typed);
    qb_origin_free(&h->origin);
    *h = (struct qb_history){0};
}

bool qb_history_is_unfinished(const struct qb_history *h)
{
    return !h->superseded && (!h->ended || h->left > 0 || h->to_finish > 0);
}

bool qb_trace_is_left(const struct qb_trace *t)
{
    bool not_meant =
        t->status == QB_STATUS_SKIPPED && (t->code == QB_E_WHEN || t->code == QB_E_UNDONE);

    if (!t->ended || qb_trace_is_taken_back(t))
        return !t->undone;
    return t->status != QB_STATUS_CHANGED && t->status != QB_STATUS_UNCHANGED && !not_meant;
}

bool qb_trace_has_failed(const struct qb_trace *t)
{
    return t->ended && !qb_trace_is_taken_back(t) &&
           (t->status == QB_STATUS_FAILED ||
            (t->status == QB_STATUS_SKIPPED && t->code == QB_E_LOCKED));
}

uint64_t qb_history_to_finish(const struct qb_history *h)
{
    uint64_t done = 0;

    if (h->ended)
        return h->to_finish;
    for (size_t i = 0; i < h->traces.n; i++)
        done += !qb_trace_is_left(&h->traces.items[i]);
    return h->images > done ? h->images - done : 0;
}

size_t qb_history_count_failed(const struct qb_history *h)
{
    size_t n = 0;

    for (size_t i = 0; i < h->traces.n; i++)
        n += qb_trace_has_failed(&h->traces.items[i]);
    return n;
}

size_t qb_history_count_undone(const struct qb_history *h)
{
    size_t n = 0;

    for (size_t i = 0; i < h->traces.n; i++)
        n += qb_trace_is_taken_back(&h->traces.items[i]);
    return n;
}

size_t qb_history_count(const struct qb_history *h, enum qb_status status)
{
    size_t n = 0;

    for (size_t i = 0; i < h->traces.n; i++)
        n += h->traces.items[i].ended && h->traces.items[i].status == status &&
             !qb_trace_is_taken_back(&h->traces.items[i]);
    return n;
}

bool qb_history_holds_undo(const struct qb_history *h)
{
    for (size_t i = 0; i < h->traces.n; i++)
        if (qb_trace_holds_undo(&h->traces.items[i]))
            return true;
    return false;
}
