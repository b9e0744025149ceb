/* A wave of images that are undone: its phases, for undo_run.c. */
#ifndef QB_UNDOING_UNDO_WAVE_H
#define QB_UNDOING_UNDO_WAVE_H

#include "qcow2/disk.h"
#include "undoing/undo_run.h"
#include "undo/undo.h"

enum { QB_UNDO_WAVE = 256 }; /* images; within every usual limit on open files */

struct qb_undo_slot {
    size_t job;
    struct qb_undo *undo;
    struct qb_file claimed; /* until the undo has it */
    bool flipped;
    bool again;           /* to be undone after the others, alone: nothing was written */
    struct qb_held *held; /* in a process that may die; else NULL */
    uint8_t old_sector[QB_SECTOR], new_sector[QB_SECTOR], given_up[QB_SECTOR];
    struct qb_proof proof;
};

struct qb_undo_wave {
    const struct qb_takeback *t;
    struct qb_sched *sched;
    struct qb_undo_slot *slots; /* QB_UNDO_WAVE of them */
    size_t n;
    const char **overlays; /* by the job; NULL: none */
};

/* Opens, locks and proves; writes the old sectors; one barrier for all.  Then each slot has its
 * result, or `again`. */
void qb_undo_wave_carry_out(struct qb_undo_wave *wave);

#endif
