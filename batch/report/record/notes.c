#include "record/notes.h"

#include <stdio.h>
#include <string.h>

void qb_notes_add(struct qb_notes *notes, size_t job, const struct qb_result *r)
{
    char room[QB_NOTE_ROOM];
    unsigned bits = qb_note_bits(r);
    const char *text;

    for (enum qb_note note = 0; bits >> note; note++) { /* most images have none */
        struct qb_noted *noted = &notes->of[note];

        text = qb_note_text(r, note, room);
        if (!text)
            continue;
        if (noted->n++ == 0) {
            noted->first = job;
            snprintf(noted->text, sizeof(noted->text), "%s", text);
            noted->status = r->status;
        }
        noted->leaks.clusters += r->leaks.clusters;
        noted->leaks.bytes += r->leaks.bytes;
        noted->refcounts_raised += r->refcounts_raised;
        noted->flags_corrected += r->flags_corrected;
        noted->reclaimed_bytes += r->reclaimed_bytes;
        noted->moved_bytes += r->moved_bytes;
        noted->reclaim_errno = r->reclaim_errno;
        noted->device_lacks += r->device_lacks;
        noted->snapshots += r->n_snapshots_deleted;
        noted->bitmaps += r->n_bitmaps_changed;
    }
}

const char *qb_notes_text(const struct qb_notes *notes, enum qb_note note, char room[QB_NOTE_ROOM])
{
    const struct qb_noted *noted = &notes->of[note];
    struct qb_result all = {.status = noted->status,
                            .converted = true,
                            .repaired = true,
                            .leaks = noted->leaks,
                            .refcounts_raised = noted->refcounts_raised,
                            .flags_corrected = noted->flags_corrected,
                            .mark_cleared = true,
                            .reclaimed_bytes = noted->reclaimed_bytes,
                            .moved_bytes = noted->moved_bytes,
                            .reclaim_errno = noted->reclaim_errno,
                            .n_snapshots_deleted = noted->snapshots,
                            .n_bitmaps_changed = noted->bitmaps,
                            .backing_unchecked = true,
                            .data_file_unchecked = true,
                            .bitmaps_dropped = true,
                            .device_lacks = noted->device_lacks,
                            .without_locks = true,
                            .writers_unseen = true,
                            .other_names = 1};

    all.leaks.freed = note == QB_NOTE_LEAKS_FREED;
    if (noted->n == 1) {
        memcpy(room, noted->text, QB_NOTE_ROOM);
        return room;
    }
    return noted->n ? qb_note_text(&all, note, room) : NULL;
}
