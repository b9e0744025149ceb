/* Declares what the two halves of an undo share: undo_look.c decides whether it is permitted,
 * undo.c writes. */
#ifndef QB_UNDO_UNDO_STATE_H
#define QB_UNDO_UNDO_STATE_H

#include "undo/undo.h"

struct qb_undo {
    char *path;
    struct qb_file file;
    struct qb_file data;     /* the external data file, where the proof needs it; else fd is -1 */
    struct qb_file old_data; /* the one that the old header names, where it is another file */
    struct qb_undo_facts facts;
    struct qb_err err;
    struct qb_info before, after; /* their names belong to the open images */
    struct qb_result result;      /* owns all but the error's text */
    bool flipped;                 /* the old sector is in place: written now, or found */
    bool done;                    /* ... and durable */
    uint64_t cut_to;              /* length of the file in the end, bytes; UINT64_MAX: as it is */
};

/* Sets the status, and returns -1. */
int qb_undo_failed(struct qb_undo *u);

/* QB_E_CHANGED: `what` happened since the amend. */
int qb_undo_changed_since(struct qb_undo *u, const char *what);

/* Whether the file is the one that was amended, and, if the run recorded its length and
 * modification time, whether these are unchanged. */
int qb_undo_is_unwritten(struct qb_undo *u);

/* 0 when the file has the amended header, or the wrong one that the amend left; 1 when it has the
 * old one; -1 with the error set. */
int qb_undo_look_at_sector(struct qb_undo *u, struct qb_io *io);

/* undo_raw.c.  Whether the amend made an image of a raw disk: its first sector was no header. */
bool qb_undo_is_of_raw(const struct qb_undo *u);

/* That the image can be the raw disk again, and to which length the file is cut then.  Sets
 * before and after.  Reads only. */
int qb_undo_look_at_raw(struct qb_undo *u, struct qb_io *io);

/* The same where the disk is there already, and only a tail may be left. */
int qb_undo_look_for_raw_tail(struct qb_undo *u, struct qb_io *io);

/* undo_data.c: that the old header hides nothing of an external data file.  Reads what growing took
 * into use, and holds the file's locks from then on. */
struct qb_proving;
int qb_undo_look_at_data(struct qb_undo *u, struct qb_proving *p);

#endif
