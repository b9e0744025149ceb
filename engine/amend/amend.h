/* One amend, phase by phase, so that a wave of many can share its barriers:
 *
 *     open -> plan -> remember -> append -> [barrier] -> flip -> [barrier] -> verify -> settle
 *                 <- again, if it has more                                             -> close
 *
 * Planning never writes and makes every refusal; from the append on nothing is decided any more.
 * The object belongs to one thread at a time.  Each call returns 0, or -1 with
 * qb_amend_result()->err filled and status set to failed; after -1 the only legal calls are
 * qb_amend_result, qb_amend_take_result, qb_amend_close and, for QB_E_CANCELLED (qb_io_set_stop),
 * qb_amend_cancel.  Every call keeps the result's `io` and its own seconds up to date. */
#ifndef QB_AMEND_AMEND_H
#define QB_AMEND_AMEND_H

#include "base/digest.h"
#include "opener/in_use.h"

struct qb_amend;

/* A new, empty amend of the image at `path`; NULL when memory is short. */
struct qb_amend *qb_amend_new(const char *path);
void qb_amend_close(struct qb_amend *a); /* closes the file, drops its locks, frees; NULL is fine */

/* Closes the file, drops its locks, and frees all but the result.  Only qb_amend_result,
 * qb_amend_take_result and qb_amend_close may follow. */
void qb_amend_release(struct qb_amend *a);

/* Opens and locks the image, which no other process may use (read-only for a dry run, with the same
 * locks). */
int qb_amend_open_file(struct qb_amend *a, struct qb_io *io, struct qb_claim how);

/* Before that: the image as qb_file_claim has opened and locked it; takes the file over. */
void qb_amend_give_file(struct qb_amend *a, struct qb_file *file);

/* Before the header is read: what is going to be asked for.  Only needed for a raw disk, which the
 * request converts; the request must outlive the amend. */
void qb_amend_expect(struct qb_amend *a, const struct qb_request *request);

/* Decodes the header; to be called once the locks are held. */
int qb_amend_read_header(struct qb_amend *a, struct qb_io *io);

/* qb_amend_open_file and qb_amend_read_header.  `file` (may be NULL) is taken over instead of
 * opening the path: for tests. */
int qb_amend_open(struct qb_amend *a, struct qb_io *io, struct qb_claim how, struct qb_file *file);

/* Before planning: lends the backing file that the image's header names, open and locked for
 * reading in `chain` until the amend is closed, so that it need not be opened again for its size.
 */
struct qb_chain;
void qb_amend_lend(struct qb_amend *a, const struct qb_chain *chain);

/* Before planning: checks that the chain of the backing file which the request names reads the same
 * as the present one, wherever the image has nothing allocated; see qb_chain_same.  Reads both. */
int qb_amend_check_backing(struct qb_amend *a, struct qb_io *io, const struct qb_request *request);

/* Reads what the request needs and compiles the plan.  The request must outlive the amend.  On
 * success status is unchanged (the image has the requested properties; nothing is left to do but
 * close) or would_change (there is a plan). */
int qb_amend_plan(struct qb_amend *a, struct qb_io *io, const struct qb_request *request);

/* Before planning: a device that is too small is no refusal, as the caller makes it larger before
 * the append. */
void qb_amend_may_extend(struct qb_amend *a);

/* The bytes that the device lacks, whole sectors; valid while there is a plan.  While it is not 0
 * nothing can be appended. */
uint64_t qb_amend_lacks(const struct qb_amend *a);

/* Measures the device again, and holds the plan, which is the same, against it.  QB_E_NO_SPACE
 * while the device is too small. */
int qb_amend_fit(struct qb_amend *a);

/* Whether the plan appends anything, i.e. needs the barrier before the flip. */
bool qb_amend_appends(const struct qb_amend *a);

/* The most space that the append may allocate, bytes; valid while there is a plan. */
uint64_t qb_amend_space(const struct qb_amend *a);

/* By how many bytes files become longer, or more of a device is used: see qb_plan_growth; valid
 * while there is a plan. */
uint64_t qb_amend_growth(const struct qb_amend *a);

/* What an undo needs to know, valid from a plan with something to do until the close. */
struct qb_amend_facts {
    const uint8_t *old_sector, *new_sector; /* 512 bytes each */
    uint64_t old_length;                    /* of the file, bytes */
    bool cuts_data;                         /* settle cuts the external data file */
    bool rewrites; /* the append overwrites whatever lies past the image's end */
};
struct qb_amend_facts qb_amend_facts(const struct qb_amend *a);

/* What the undo will compare the image with: complete once the append is done; NULL without
 * keep_undo.  Valid until the amend is closed. */
struct qb_proof;
const struct qb_proof *qb_amend_proof(const struct qb_amend *a);

/* Before the first write: takes the fingerprint of the guest's data that qb_amend_verify will
 * compare with.  Does nothing unless the request's `verify` is content. */
int qb_amend_remember(struct qb_amend *a, struct qb_io *io);

/* The append epoch.  On failure the appended tail has been cut off again: the image is as it was.
 */
int qb_amend_append(struct qb_amend *a, struct qb_io *io);

/* To be called when the barrier after the append failed for this file: cuts the tail, sets the
 * error. */
void qb_amend_append_lost(struct qb_amend *a, struct qb_io *io, int errnum);

/* Gives up before the flip (interruption, deadline): cuts the tail, sets status interrupted. */
void qb_amend_cancel(struct qb_amend *a, struct qb_io *io, enum qb_code why);

/* The flip.  Checks that the file is still the one at its path and sector 0 still what was read,
 * then writes sector 0.  Not durable, and so not done, before the barrier that follows. */
int qb_amend_flip(struct qb_amend *a, struct qb_io *io);

/* Whether the flip was tried: from then on the image may be the amended one. */
bool qb_amend_has_flipped(const struct qb_amend *a);

/* Whether the image, which was found as asked (status unchanged), may be so by a write that the
 * disk does not have yet, for example of a run that was killed: a barrier makes sure of that before
 * anybody relies on it. */
bool qb_amend_may_be_unsynced(const struct qb_amend *a);

/* To be called after that barrier, with its result for this file (0 or an errno): failed with
 * QB_E_DURABILITY where it is not 0. */
int qb_amend_found(struct qb_amend *a, int errnum);

/* To be called after the barrier that follows the flip, with its result for this file (0 or an
 * errno).  Sets status changed, or failed with QB_E_DURABILITY. */
int qb_amend_flipped(struct qb_amend *a, int errnum);

/* Before qb_amend_verify: makes it read the header's sector with O_DIRECT, where the file supports
 * that, as `verify: content` does anyway.  It costs a request to the disk. */
void qb_amend_verify_from_disk(struct qb_amend *a);

/* Reads the metadata back and counts once more, and compares what the guest can see, as the
 * request's `verify` says.  After a failure the old clusters must stay where they are, and the only
 * calls left are qb_amend_as_found and those that end the amend: with QB_E_VERIFY the result holds
 * the old header's sector. */
int qb_amend_verify(struct qb_amend *a, struct qb_io *io);

/* After a verification that failed: the fingerprint of every byte of the file as it is now, which
 * its undo compares (as_found.h).  Left empty in every other case, for block devices, and where the
 * file could not be read. */
void qb_amend_as_found(struct qb_amend *a, struct qb_io *io, struct qb_digest *out);

/* Settles: discards replaced clusters.  A failure costs space, not data, and is not reported. */
void qb_amend_settle(struct qb_amend *a, struct qb_io *io);

/* Whether settling frees space, for which it waits for the file system. */
bool qb_amend_frees(struct qb_amend *a);

/* Then: whether more is to be done in a commit of its own, as with `reclaim.compact`.  Afterwards
 * the request that was planned is not needed any more, only the strings in it. */
bool qb_amend_has_more(struct qb_amend *a);

/* Where it has: plans that commit, a round, within this much memory.  1: the amend goes on with
 * qb_amend_remember, as if it had just been planned, up to the next qb_amend_has_more.  0: nothing
 * is left to do, or it came to nothing.  -1: the memory was not enough, and another call may have
 * more.
 *
 * In a round, a call that fails before the flip leaves the image as the commit before did, and the
 * status changed, with reclaim_errno; interrupted after QB_E_CANCELLED. */
int qb_amend_again(struct qb_amend *a, struct qb_io *io, uint64_t memory_limit);

/* Between two commits, or in a round before its flip: interrupted.  The image stays as it is. */
void qb_amend_interrupt(struct qb_amend *a, struct qb_io *io);

/* In a round, before its flip: ends it for this reason.  The image stays as it is. */
void qb_amend_give_up(struct qb_amend *a, struct qb_io *io, const struct qb_err *why);

/* After an amend, or one that found nothing to do: cuts the external data file to the disk's size,
 * as an interrupted amend was about to; only once a barrier has covered the header.  Failures are
 * not reported: they cost space. */
void qb_amend_cut_data(struct qb_amend *a, struct qb_io *io);

/* The open file, and the external data file where the plan opened it, else NULL. */
struct qb_file *qb_amend_file(struct qb_amend *a);
struct qb_file *qb_amend_data_file(struct qb_amend *a);

/* The files that the next barrier must cover, of which the first is the image; how many. */
enum { QB_AMEND_FILES = 2 };
size_t qb_amend_dirty_files(struct qb_amend *a, struct qb_file *files[QB_AMEND_FILES]);

/* Before planning: `file` is taken over as the external data file, instead of opening the one that
 * the header names: for tests. */
void qb_amend_set_data_file(struct qb_amend *a, struct qb_file *file);

/* What is known of the amend so far: the caller may set members other than err.  Its pointers are
 * good until qb_amend_take_result or qb_amend_close; err is what it was at the call. */
struct qb_result *qb_amend_result(struct qb_amend *a);

/* The status alone, without what the other one brings up to date. */
enum qb_status qb_amend_status(const struct qb_amend *a);

/* The error of the result: for failures of what a caller did for this image. */
struct qb_err *qb_amend_err(struct qb_amend *a);

/* Releases the amend and gives the result away: what it points to is its own, the caller's
 * to qb_result_clear (base/result.h). */
struct qb_result qb_amend_take_result(struct qb_amend *a);

/* The memory that the amend holds now, bytes: header, plan, fingerprint, and itself.  While the
 * image is planned it stays below request.memory_limit plus what qb_amend_memory returned before
 * planning. */
size_t qb_amend_memory(const struct qb_amend *a);

/* The plan in words, a line a step, for --dry-run -v and for tests.  Calls `line` for each. */
void qb_amend_describe(const struct qb_amend *a, void (*line)(void *arg, const char *text),
                       void *arg);

#endif
