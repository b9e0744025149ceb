/* Takes an amend back: the old header's sector is written over the new one.  With keep_undo all
 * that it refers to is still there, for it stays counted in the amended image.
 *
 *     check -> flip -> [barrier] -> flipped -> close
 *
 * The discipline is that of an amend (amend.h): QEMU's locks are held throughout, every refusal is
 * made before the first write, one aligned sector is the whole change, nothing is called done
 * before the barrier, and only then the appended tail is cut off.
 *
 * A changed modification time, length or header refuses.  But the modification time of an overwrite
 * need not survive a power cut, so that an unchanged one proves nothing: qb_undo_check proves from
 * the disk, reading what was appended and taking one census under each header, that
 *
 *   (a) what only the amended image refers to is what the amend wrote: its tables and refcounts by
 *       their fingerprint, its new clusters of zeros by being zero.  This excludes data written
 *       into new or copied clusters, and every allocation, discard, snapshot or move that went
 *       through a table or a refcount block of the amended image alone.
 *   (b) everything the old image refers to is counted at least as often in the amended image, and
 *       nothing below the appended stretch is referred to more often than by the old image.  As all
 *       of it was counted when the amend was made, no guest can have allocated, or written in
 *       place, what the old image alone refers to; had somebody freed it since (`qemu-img check -r
 *       leaks`), the count would be too low, or a new owner would refer to it.
 *   (c) a census under each header finds it whole.  This excludes damage, and changes to tables
 *       that both use which the other one's refcounts do not cover.
 *   (d) in every layer both headers map every guest cluster alike, as far as both sizes reach;
 * tables that both use show nothing past the old disk's end, no zero cluster to a version without
 *       them, and no compressed cluster to a header of another compression type; bytes of the old
 *       header past its first sector are as they were.  Where a shrink ended the disk within a
 *       cluster, the rest of that cluster reads as it did.
 *
 * An image that verification found wrong is taken back whole or not at all: where a guest of it may
 * have written is anybody's guess, and without keep_undo the old clusters are free in its
 * refcounts. So the proof is that no byte of the file has changed since, by a fingerprint of all of
 * them, and that the old image is whole.  Of an external data file there is no fingerprint: both
 * headers must map every guest cluster alike, so that what was written there since is the undone
 * image's as well.
 *
 * What is left is what a guest wrote in place into clusters that both images map, or changed in
 * tables that both use with refcounts that both use: that is the undone image's as well, and kept.
 * The object belongs to one thread at a time; a call that returns -1 has filled the result's err.
 */
#ifndef QB_AMEND_UNDO_H
#define QB_AMEND_UNDO_H

#include "amend/proof.h"
#include "io/in_use.h"

/* What was written down when the image was amended. */
struct qb_undo_facts {
    const uint8_t *old_sector, *new_sector; /* 512 bytes each; must outlive the undo */
    uint64_t old_length;                    /* of the file before, bytes */
    const struct qb_proof *proof;           /* NULL: none was written down; must outlive the undo */
    bool seen;                              /* how the run left the file was written down: */
    uint64_t length, mtime_ns, ino;         /* of the file as the amend left it */
    bool mistrusted;           /* verification found the amended image wrong: nothing was freed */
    bool header_wrong;         /* ... and the header on disk to be neither */
    struct qb_digest as_found; /* ... and left this fingerprint of the file (as_found.h) */
    uint64_t memory_limit;     /* for each census; 0: 512 MiB */
};

struct qb_undo;

struct qb_undo *qb_undo_new(const char *path); /* NULL when memory is short */
void qb_undo_close(struct qb_undo *u);         /* NULL is fine */

/* Opens and locks the image and proves that it may be undone.  Status becomes would_change; or,
 * where the old header is there already, would_change when a tail is left to cut off, else
 * unchanged. */
int qb_undo_check(struct qb_undo *u, struct qb_io *io, const struct qb_undo_facts *facts,
                  struct qb_claim how);

/* Writes the old sector, unless it is there already. */
int qb_undo_flip(struct qb_undo *u, struct qb_io *io);

/* To be called with the barrier's result for the file.  Cuts off what the amend had appended.  A
 * failure of that is one of the undo: the image is as it was (qb_undo_is_done) but for the tail,
 * which the next undo cuts off. */
int qb_undo_flipped(struct qb_undo *u, struct qb_io *io, int errnum);

/* Whether the old header is durable in the file. */
bool qb_undo_is_done(const struct qb_undo *u);

struct qb_file *qb_undo_file(struct qb_undo *u);

/* As for an amend: see amend.h. */
struct qb_result *qb_undo_result(struct qb_undo *u);
struct qb_err *qb_undo_err(struct qb_undo *u);
struct qb_result qb_undo_take_result(struct qb_undo *u);

#endif
