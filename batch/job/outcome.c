#include "job/outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/result.h"
#include "base/num.h"
#include "job/keys.h"
#include "util/text.h"

const char *const qb_status_names[QB_STATUS_COUNT] = {
    [QB_STATUS_CHANGED] = "changed",
    [QB_STATUS_UNCHANGED] = "unchanged",
    [QB_STATUS_WOULD_CHANGE] = "would_change",
    [QB_STATUS_SKIPPED] = "skipped",
    [QB_STATUS_FAILED] = "failed",
    [QB_STATUS_INTERRUPTED] = "interrupted",
};

const char *const qb_status_words[QB_STATUS_COUNT] = {
    [QB_STATUS_CHANGED] = "changed",
    [QB_STATUS_UNCHANGED] = "unchanged",
    [QB_STATUS_WOULD_CHANGE] = "would change",
    [QB_STATUS_SKIPPED] = "skipped",
    [QB_STATUS_FAILED] = "failed",
    [QB_STATUS_INTERRUPTED] = "interrupted",
};

void qb_outcome_fail(struct qb_outcome *o, enum qb_code code, const char *text)
{
    struct qb_err err;

    qb_fail(&err, code, QB_NOWHERE, "%s", text);
    qb_result_fail(&o->result, &err);
}

void qb_outcome_clear(struct qb_outcome *o)
{
    free(qb_take(&o->steps));
    qb_result_clear(&o->result);
}

const char *const qb_span_names[QB_SPAN_COUNT] = {
    [QB_SPAN_OPEN] = "open", [QB_SPAN_PLAN] = "plan",     [QB_SPAN_WRITE] = "write",
    [QB_SPAN_SYNC] = "sync", [QB_SPAN_COMMIT] = "commit", [QB_SPAN_VERIFY] = "verify",
};

double qb_timing_end(const struct qb_timing *t)
{
    double end = t->started_seconds + t->seconds;

    for (int i = 0; i < QB_SPAN_COUNT; i++)
        if (t->spans[i].seconds > 0)
            end = QB_MAX(end, t->spans[i].started_seconds + t->spans[i].seconds);
    return end;
}

void qb_summary_add(struct qb_summary *sum, const struct qb_result *result)
{
    sum->images++;
    sum->by_status[result->status]++;
    sum->not_meant += result->err.code == QB_E_WHEN;
    sum->undone += result->err.code == QB_E_UNDONE;
    sum->mistrusted += result->err.code == QB_E_VERIFY;
    sum->by_code[result->err.code]++;
    sum->leaked_clusters += result->leaks.clusters;
    sum->leaked_bytes += result->leaks.bytes;
    sum->io.read_bytes += result->io.read_bytes;
    sum->io.write_bytes += result->io.write_bytes;
    sum->io.zeroed_bytes += result->io.zeroed_bytes;
    sum->io.read_ops += result->io.read_ops;
    sum->io.write_ops += result->io.write_ops;
    sum->io.barriers += result->io.barriers;
}

int qb_summary_exit_code(const struct qb_summary *sum, bool detailed)
{
    if (sum->mistrusted)
        return QB_EXIT_MISTRUSTED;
    if (sum->by_status[QB_STATUS_INTERRUPTED])
        return QB_EXIT_INTERRUPTED;
    if (sum->by_status[QB_STATUS_FAILED] || sum->journal_errno)
        return QB_EXIT_FAILED;
    if (sum->by_status[QB_STATUS_SKIPPED] > sum->not_meant + sum->undone)
        return QB_EXIT_SKIPPED;
    return detailed && sum->by_status[QB_STATUS_WOULD_CHANGE] ? QB_EXIT_PENDING : QB_EXIT_OK;
}

/* ---- what changed ---------------------------------------------------------------------------- */

static struct qb_value text_or_none(const char *text)
{
    return (struct qb_value){.kind = text && text[0] ? QB_VALUE_TEXT : QB_VALUE_NONE, .text = text};
}

bool qb_is_raw(const struct qb_info *info)
{
    return info->format && strcmp(info->format, "raw") == 0;
}

struct qb_value qb_shown(const struct qb_key_row *key, const struct qb_info *info)
{
    const void *member = (const char *)info + key->shown.field;

    if (qb_is_raw(info) && key->bit != QB_KEY_SIZE && member != &info->format)
        return (struct qb_value){.kind = QB_VALUE_NONE};
    switch (key->shown.kind) {
    case QB_SHOWN_BOOL:
        return (struct qb_value){.kind = QB_VALUE_BOOL, .number = *(const bool *)member};
    case QB_SHOWN_NUMBER:
        return (struct qb_value){.kind = QB_VALUE_NUMBER, .number = *(const unsigned *)member};
    case QB_SHOWN_BYTES:
        return (struct qb_value){.kind = QB_VALUE_BYTES, .number = *(const uint64_t *)member};
    case QB_SHOWN_TEXT:
        return text_or_none(*(const char *const *)member);
    case QB_SHOWN_COMPAT:
        return text_or_none(*(const unsigned *)member == 2 ? "0.10" : "1.1");
    case QB_SHOWN_NOT:
        break;
    }
    return (struct qb_value){.kind = QB_VALUE_NONE};
}

static bool equal(struct qb_value a, struct qb_value b)
{
    if (a.kind != b.kind)
        return false;
    return a.kind == QB_VALUE_TEXT ? strcmp(a.text, b.text) == 0 : a.number == b.number;
}

static struct qb_value bool_of(bool on)
{
    return (struct qb_value){.kind = QB_VALUE_BOOL, .number = on};
}

static struct qb_value number_of(unsigned n)
{
    return (struct qb_value){.kind = QB_VALUE_NUMBER, .number = n};
}

static size_t add_change(struct qb_change out[QB_CHANGES_MAX], size_t n, const char *key,
                         struct qb_value from, struct qb_value to)
{
    if (!equal(from, to) && n < QB_CHANGES_MAX)
        out[n++] = (struct qb_change){key, from, to};
    return n;
}

/* Whether both have such a property: a raw disk has few. */
static bool is_of_both(const struct qb_key_row *key, const struct qb_result *r)
{
    if (qb_is_raw(r->before) && qb_shown(key, r->before).kind == QB_VALUE_NONE)
        return false;
    return !qb_is_raw(r->after) || qb_shown(key, r->after).kind != QB_VALUE_NONE;
}

size_t qb_report_changes(const struct qb_result *r, struct qb_change out[QB_CHANGES_MAX])
{
    size_t n = 0;

    if ((r->status != QB_STATUS_CHANGED && r->status != QB_STATUS_WOULD_CHANGE) || !r->before ||
        !r->after)
        return 0;
    qb_keys_each (key, QB_SECTION_amend)
        if (is_of_both(key, r))
            n = add_change(out, n, key->name, qb_shown(key, r->before), qb_shown(key, r->after));
    n = add_change(out, n, "dirty", bool_of(r->before->dirty), bool_of(r->after->dirty));
    return add_change(out, n, "bitmaps", number_of(r->before->nb_bitmaps),
                      number_of(r->after->nb_bitmaps));
}

static const char *leaks_text(const struct qb_leaks *l, bool done, char room[QB_NOTE_ROOM])
{
    char size[QB_TEXT_NUMBER], count[QB_TEXT_NUMBER];

    snprintf(room, QB_NOTE_ROOM, "leaks: %s leaked cluster%s (%s) %s",
             qb_text_count(l->clusters, count), l->clusters == 1 ? "" : "s",
             qb_text_size(l->bytes, size),
             l->freed ? (done ? "freed" : "to be freed")
                      : "kept as found; qbatch check lists them, policy.on_leaks: free frees them");
    return room;
}

/* How many, and the names of the first, as far as there is room. */
static const char *snapshots_text(const struct qb_result *r, bool done, char room[QB_NOTE_ROOM])
{
    unsigned n = r->n_snapshots_deleted, named = 0;
    size_t used = (size_t)snprintf(room, QB_NOTE_ROOM, "%u snapshot%s %s", n, n == 1 ? "" : "s",
                                   done ? "deleted" : "to be deleted");

    for (; named < r->n_snapshots_listed; named++) {
        const struct qb_deleted_snapshot *s = &r->snapshots_deleted[named];
        const char *name = s->name[0] ? s->name : s->id;

        if (used + strlen(name) + 20 > QB_NOTE_ROOM)
            break;
        used +=
            (size_t)snprintf(room + used, QB_NOTE_ROOM - used, "%s%s", named ? ", " : ": ", name);
    }
    if (named && named < n)
        snprintf(room + used, QB_NOTE_ROOM - used, " and %u more", n - named);
    return room;
}

const char *const qb_bitmap_change_names[] = {"removed", "renamed", "added",    "merged",
                                              "cleared", "enabled", "disabled", NULL};

/* "day-1 renamed from monday, cleared". */
static size_t bitmap_text(const struct qb_changed_bitmap *b, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s", b->name);

    for (unsigned k = 0, n = 0; qb_bitmap_change_names[k]; k++) {
        bool renamed = 1u << k == QB_BITMAP_CHANGE_RENAMED;

        if (!(b->changes >> k & 1) || used >= size)
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s%s%s", n++ ? " and " : " ",
                                 qb_bitmap_change_names[k], renamed ? " from " : "",
                                 renamed && b->from ? b->from : "");
    }
    return used;
}

/* How many, and the first of them, as far as there is room. */
static const char *bitmaps_text(const struct qb_result *r, bool done, char room[QB_NOTE_ROOM])
{
    unsigned n = r->n_bitmaps_changed, named = 0;
    size_t used = (size_t)snprintf(room, QB_NOTE_ROOM, "%u bitmap%s %s", n, n == 1 ? "" : "s",
                                   done ? "changed" : "to be changed");

    for (; named < r->n_bitmaps_listed; named++) {
        char one[QB_NOTE_ROOM];
        size_t len = bitmap_text(&r->bitmaps_changed[named], one, sizeof(one));

        if (used + len + 20 > QB_NOTE_ROOM)
            break;
        used +=
            (size_t)snprintf(room + used, QB_NOTE_ROOM - used, "%s%s", named ? ", " : ": ", one);
    }
    if (named && named < n)
        snprintf(room + used, QB_NOTE_ROOM - used, " and %u more", n - named);
    return room;
}

static bool applies(const struct qb_result *r, enum qb_note note)
{
    const bool set[QB_NOTE_COUNT] = {
        [QB_NOTE_CONVERTED] = r->converted,
        [QB_NOTE_REPAIRED] = r->repaired,
        [QB_NOTE_REFCOUNTS_RAISED] = r->refcounts_raised,
        [QB_NOTE_FLAGS_CORRECTED] = r->flags_corrected,
        [QB_NOTE_MARK_CLEARED] = r->mark_cleared,
        [QB_NOTE_SNAPSHOTS_DELETED] = r->n_snapshots_deleted,
        [QB_NOTE_BITMAPS_CHANGED] = r->n_bitmaps_changed,
        [QB_NOTE_RECLAIMED] = r->reclaimed_bytes,
        [QB_NOTE_NOT_RECLAIMED] = r->reclaim_errno,
        [QB_NOTE_LEAKS_KEPT] = r->leaks.clusters && !r->leaks.freed,
        [QB_NOTE_LEAKS_FREED] = r->leaks.clusters && r->leaks.freed,
        [QB_NOTE_BACKING_UNCHECKED] = r->backing_unchecked,
        [QB_NOTE_DATA_FILE_UNCHECKED] = r->data_file_unchecked,
        [QB_NOTE_BITMAPS_DROPPED] = r->bitmaps_dropped,
        [QB_NOTE_DEVICE_EXTENDED] = r->device_lacks,
        [QB_NOTE_WITHOUT_LOCKS] = r->without_locks,
        [QB_NOTE_WRITERS_UNSEEN] = r->writers_unseen,
        [QB_NOTE_OTHER_NAMES] = r->other_names,
    };

    return set[note] && (r->status == QB_STATUS_CHANGED || r->status == QB_STATUS_WOULD_CHANGE);
}

/* The notes without a number. */
static const char *plain_text(enum qb_note note, bool done)
{
    switch (note) {
    case QB_NOTE_CONVERTED:
        return done ? "raw disk converted: in every machine that uses it, type='raw' must become "
                      "type='qcow2' before it starts"
                    : "raw disk to be converted: in every machine that uses it, type='raw' must "
                      "become type='qcow2'";
    case QB_NOTE_REPAIRED:
        return done ? "repaired: reference counts rebuilt, unreferenced clusters freed"
                    : "needs a repair first: reference counts rebuilt, unreferenced clusters freed";
    case QB_NOTE_MARK_CLEARED:
        return "marked corrupt: every reference was counted, and the mark is cleared";
    case QB_NOTE_DATA_FILE_UNCHECKED:
        return "data file: no file was found under an old name, so that the new one's content "
               "could not be compared with it";
    case QB_NOTE_BACKING_UNCHECKED:
        return "backing file: only the name in the image changes, as with `qemu-img rebase -u`; "
               "its content was not compared";
    case QB_NOTE_BITMAPS_DROPPED:
        return "persistent bitmaps are dropped: version 2 cannot hold them";
    case QB_NOTE_WITHOUT_LOCKS:
        return "the file system has no locks that reach every host: whether the image is in use "
               "elsewhere was not known";
    case QB_NOTE_WRITERS_UNSEEN:
        return "whether a program without locks had the image open for writing could not be "
               "asked: that takes its owner or root, and a file system with leases";
    case QB_NOTE_OTHER_NAMES:
        return "the file has another name (a hard link), under which it is amended, too";
    default:
        return NULL;
    }
}

const char *qb_note_text(const struct qb_result *r, enum qb_note note, char room[QB_NOTE_ROOM])
{
    bool done = r->status == QB_STATUS_CHANGED;
    char count[QB_TEXT_NUMBER];

    if (!applies(r, note))
        return NULL;
    switch (note) {
    case QB_NOTE_REFCOUNTS_RAISED:
        snprintf(room, QB_NOTE_ROOM, "refcounts that were too low %s: %s cluster%s",
                 done ? "were raised" : "are to be raised",
                 qb_text_count(r->refcounts_raised, count), r->refcounts_raised == 1 ? "" : "s");
        return room;
    case QB_NOTE_FLAGS_CORRECTED:
        snprintf(room, QB_NOTE_ROOM, "COPIED flags that did not fit %s: %s cluster%s",
                 done ? "were corrected" : "are to be corrected",
                 qb_text_count(r->flags_corrected, count), r->flags_corrected == 1 ? "" : "s");
        return room;
    case QB_NOTE_SNAPSHOTS_DELETED:
        return snapshots_text(r, done, room);
    case QB_NOTE_BITMAPS_CHANGED:
        return bitmaps_text(r, done, room);
    case QB_NOTE_RECLAIMED:
        snprintf(room, QB_NOTE_ROOM, "unused space %s: %s", done ? "freed" : "to be freed",
                 qb_text_size(r->reclaimed_bytes, count));
        return room;
    case QB_NOTE_NOT_RECLAIMED:
        snprintf(room, QB_NOTE_ROOM, "unused space could not be freed: %s",
                 strerror(r->reclaim_errno));
        return room;
    case QB_NOTE_LEAKS_KEPT:
    case QB_NOTE_LEAKS_FREED:
        return leaks_text(&r->leaks, done, room);
    case QB_NOTE_DEVICE_EXTENDED:
        snprintf(room, QB_NOTE_ROOM, "block device: policy.extend_command %s for %s bytes",
                 done ? "was run" : "is to be run", qb_text_count(r->device_lacks, count));
        return room;
    default:
        return plain_text(note, done);
    }
}

const char *qb_report_note(const struct qb_result *r, unsigned i, char room[QB_NOTE_ROOM])
{
    for (enum qb_note note = 0; note < QB_NOTE_COUNT; note++)
        if (applies(r, note) && i-- == 0)
            return qb_note_text(r, note, room);
    return NULL;
}
