#include "report/notes.h"

void qb_notes_add(struct qb_notes *notes, size_t job, const struct qb_result *r)
{
    char room[QB_NOTE_ROOM];

    for (enum qb_note note = 0; note < QB_NOTE_COUNT; note++) {
        struct qb_noted *noted = &notes->of[note];

        if (!qb_note_text(r, note, room))
            continue;
        if (noted->n++ == 0) {
            noted->first = job;
            noted->status = r->status;
        }
        noted->leaks.clusters += r->leaks.clusters;
        noted->leaks.bytes += r->leaks.bytes;
    }
}

const char *qb_notes_text(const struct qb_notes *notes, enum qb_note note, char room[QB_NOTE_ROOM])
{
    const struct qb_noted *noted = &notes->of[note];
    struct qb_result all = {.status = noted->status,
                            .repaired = true,
                            .leaks = noted->leaks,
                            .backing_unchecked = true,
                            .bitmaps_dropped = true,
                            .without_locks = true,
                            .writers_unseen = true};

    all.leaks.freed = note == QB_NOTE_LEAKS_FREED;
    return noted->n ? qb_note_text(&all, note, room) : NULL;
}
