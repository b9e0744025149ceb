/* Counts the notes of all images, so that each is reported once for the whole run. */
#ifndef QB_RECORD_NOTES_H
#define QB_RECORD_NOTES_H

#include "outcome/outcome.h"

struct qb_notes {
    struct qb_noted {
        uint64_t n;            /* images */
        size_t first;          /* the job of the first of them */
        enum qb_status status; /* of the first of them */
        struct qb_leaks leaks; /* of all of them */
        uint64_t refcounts_raised, flags_corrected, device_lacks;
        unsigned snapshots, bitmaps;
        uint64_t reclaimed_bytes, moved_bytes;
        int reclaim_errno;       /* of the last of them */
        char text[QB_NOTE_ROOM]; /* of the first of them */
    } of[QB_NOTE_COUNT];
};

void qb_notes_add(struct qb_notes *notes, size_t job, const struct qb_result *result);

/* The note for all its images, which may be in `room`; NULL where it applies to none. */
const char *qb_notes_text(const struct qb_notes *notes, enum qb_note note, char room[QB_NOTE_ROOM]);

#endif
