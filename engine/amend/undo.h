/* Takes an amend back, as long as nobody has used the image since: the old header's sector is
 * written over the new one, and everything that it refers to is still there because keep_undo had
 * it kept.
 *
 *     check -> flip -> [barrier] -> flipped -> close
 *
 * The discipline is that of an amend (amend.h): QEMU's locks are held throughout, every refusal is
 * made before the first write, one aligned sector is the whole change, and nothing is called done
 * before the barrier.  The object belongs to one thread at a time; a call that returns -1 has
 * filled the result's err. */
#ifndef QB_AMEND_UNDO_H
#define QB_AMEND_UNDO_H

#include "io/in_use.h"

/* What was written down when the image was amended. */
struct qb_undo_facts {
    const uint8_t *old_sector, *new_sector; /* 512 bytes each; must outlive the undo */
    uint64_t old_length;                    /* of the file before, bytes */
    uint64_t length, mtime_ns, ino;         /* of the file as the amend left it */
    uint64_t memory_limit;                  /* for counting; 0: 512 MiB */
    bool header_wrong; /* the amend's own verification found the header on disk to be neither */
};

struct qb_undo;

struct qb_undo *qb_undo_new(const char *path); /* NULL when memory is short */
void qb_undo_close(struct qb_undo *u);         /* NULL is fine */

/* Opens and locks the image and makes sure that it may be undone: it is the very file, nobody wrote
 * it since, and the old image, counted from its old header, is sound.  Status becomes would_change,
 * or unchanged where the old header stands there already. */
int qb_undo_check(struct qb_undo *u, struct qb_io *io, const struct qb_undo_facts *facts,
                  struct qb_claim how);

/* Writes the old sector. */
int qb_undo_flip(struct qb_undo *u, struct qb_io *io);

/* To be called with the barrier's result for the file.  Cuts off what the amend had appended. */
int qb_undo_flipped(struct qb_undo *u, struct qb_io *io, int errnum);

/* Instead of all this: opens and locks the image, counts it, and gives the space of every cluster
 * that it neither uses nor counts back to the file system.  Status becomes changed, or unchanged
 * where there was none. */
int qb_undo_discard(struct qb_undo *u, struct qb_io *io, uint64_t memory_limit,
                    struct qb_claim how);

struct qb_file *qb_undo_file(struct qb_undo *u);
struct qb_result *qb_undo_result(struct qb_undo *u);

#endif
