/* The notes of an image's report, as sentences. */
#include <stdio.h>
#include <string.h>

#include "outcome/outcome.h"
#include "util/text.h"

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

unsigned qb_note_bits(const struct qb_result *r)
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

    unsigned bits = 0;

    if (r->status != QB_STATUS_CHANGED && r->status != QB_STATUS_WOULD_CHANGE)
        return 0;
    for (enum qb_note note = 0; note < QB_NOTE_COUNT; note++)
        bits |= (unsigned)set[note] << note;
    return bits;
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
        return "all persistent bitmaps are dropped: version 2 cannot hold them, or their directory "
               "is damaged";
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
    char count[QB_TEXT_NUMBER], moved[QB_TEXT_NUMBER];

    if (!(qb_note_bits(r) >> note & 1))
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
        snprintf(room, QB_NOTE_ROOM, "unused space %s: %s%s%s", done ? "freed" : "to be freed",
                 qb_text_size(r->reclaimed_bytes, count), r->moved_bytes ? ", by moving " : "",
                 r->moved_bytes ? qb_text_size(r->moved_bytes, moved) : "");
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
        if (qb_note_bits(r) >> note & 1 && i-- == 0)
            return qb_note_text(r, note, room);
    return NULL;
}
