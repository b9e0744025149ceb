/* Undoes an amend: writes the old header's sector over the new one.  With keep_undo everything that
 * the old header refers to is still there, for it stays counted in the amended image.
 *
 *     check -> flip -> [barrier] -> flipped -> close
 *
 * The discipline is that of an amend (amend.h): QEMU's locks are held throughout, every refusal is
 * made before the first write, one aligned sector is the whole change, nothing is called done
 * before the barrier, and only then the appended tail is cut off.
 *
 * If the modification time, length or header has changed, the undo is refused.  But the
 * modification time of an overwrite need not survive a power cut, so an unchanged one proves
 * nothing: qb_undo_check proves from the disk, reading what was appended and taking one census
 * under each header, that
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
 *   (d) in every layer both headers map every guest cluster alike, as far as both sizes reach, in
 *       entries of either size;
 *       tables that both use show nothing past the old disk's end, no zero cluster to a version
 *       without them, and no compressed cluster to a header of another compression type; bytes of
 *       the old header past its first sector are as they were.  Where a shrink ended the disk
 *       within a cluster, the rest of that cluster reads as it did.
 *
 * An image that failed verification is undone only if it is unchanged: where a guest of it may have
 * written is unknown, and without keep_undo the old clusters are free in its refcounts.  So the
 * proof is that no byte of the file has changed since, by a fingerprint of all of them, and that
 * the old image is sound.  There is no fingerprint of an external data file: both headers must map
 * every guest cluster alike, so that what was written there since belongs to the undone image as
 * well; what growing took into use of it must still be zero, another file that the old header names
 * must hold the same, and one that only the old header says to be raw must read like the disk, here
 * and with keep_undo.
 *
 * An image that was made of a raw disk (undo_raw.c) has tables of its own alone.  These must be as
 * the amend wrote them, which excludes every allocation and move; the file as long as then; what is
 * not mapped, and what follows the disk's end in its last cluster, zeros; and the first cluster,
 * which is in the file twice, in both places the same.
 *
 * An undo that dies in its write may have set the modification time and written nothing, and one
 * whose write failed did: where it is recorded that one had begun, the time is not looked at.  Nor
 * is the length where giving the undo up was begun, as long as the run's header is in place: what
 * that appended is cut off with the rest.
 *
 * `ignore_times` leaves the time out, for whoever knows that only that has changed, or wants to
 * keep what a guest wrote in place.
 *
 * A block device has no length and no time of its own, and its node is another one after each boot:
 * there the proof, or the fingerprint of all of it, is all that is asked for.
 *
 * What remains is what a guest wrote in place into clusters that both images map, or changed in
 * tables that both use with refcounts that both use: that belongs to the undone image as well, and
 * is kept.  The object belongs to one thread at a time; a call that returns -1 has filled the
 * result's err. */
#ifndef QB_UNDO_UNDO_H
#define QB_UNDO_UNDO_H

#include "plan/proof.h"
#include "opener/in_use.h"

/* What was recorded when the image was amended. */
struct qb_undo_facts {
    const uint8_t *old_sector, *new_sector; /* 512 bytes each; must outlive the undo */
    const uint8_t *given_up; /* the one that gives the undo up; NULL: none is known */
    uint64_t old_length;     /* of the file before, bytes */
    uint64_t appended_from;  /* what attempts of the run before that had appended; 0: nothing */
    const struct qb_proof *proof;   /* NULL: none was recorded; must outlive the undo */
    bool seen;                      /* the following was recorded: */
    uint64_t length, mtime_ns, ino; /* of the file after the amend */
    bool begun;        /* an undo was about to write: the modification time may be of that */
    bool longer;       /* giving it up was: so may the length, too */
    bool ignore_times; /* the caller says so: the modification time refuses nothing */
    bool mistrusted;   /* verification found the amended image wrong: nothing was freed */
    bool header_wrong; /* ... and the header on disk to be neither the old nor the new one */
    struct qb_digest as_found; /* ... with this fingerprint of the file (as_found.h) */
    uint64_t memory_limit;     /* for each census; 0: 512 MiB */
};

struct qb_undo;

struct qb_undo *qb_undo_new(const char *path); /* NULL when memory is short */
void qb_undo_close(struct qb_undo *u);         /* NULL is fine */

int qb_undo_fail_given_up(struct qb_err *err); /* refused; returns -1 */

/* Before qb_undo_check: a claimed file (qb_file_claim) of the image, which is taken over. */
void qb_undo_give_file(struct qb_undo *u, struct qb_file *file);

/* Opens and locks the image and proves that it may be undone.  Sets the status to would_change;
 * where the old header is in place already, to would_change if a tail is left to cut off, else to
 * unchanged. */
int qb_undo_check(struct qb_undo *u, struct qb_io *io, const struct qb_undo_facts *facts,
                  struct qb_claim how);

/* Writes the old sector, unless it is in place already. */
int qb_undo_flip(struct qb_undo *u, struct qb_io *io);

/* To be called with the barrier's result for the file (0 or an errno).  Cuts off what the amend had
 * appended.  If that fails, the undo fails: the image is as it was before the amend
 * (qb_undo_is_done) except for the tail, which the next undo cuts off. */
int qb_undo_flipped(struct qb_undo *u, struct qb_io *io, int errnum);

/* Where there was nothing left to write: the barrier for what an earlier undo wrote has failed. */
int qb_undo_not_durable(struct qb_undo *u, int errnum);

/* Whether the old header is durable in the file. */
bool qb_undo_is_done(const struct qb_undo *u);

struct qb_file *qb_undo_file(struct qb_undo *u);

/* As for an amend: see amend.h. */
struct qb_result *qb_undo_result(struct qb_undo *u);
struct qb_err *qb_undo_err(struct qb_undo *u);
struct qb_result qb_undo_take_result(struct qb_undo *u);

#endif
