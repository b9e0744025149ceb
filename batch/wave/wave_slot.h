/* Handles one slot in the phases of a wave; for wave*.c, and for the run that confines itself. */
#ifndef QB_WAVE_WAVE_SLOT_H
#define QB_WAVE_WAVE_SLOT_H

#include "host/confining.h"
#include "wave/wave.h"

/* ---- wave_slot.c ----------------------------------------------------------------------------- */

/* One parallel loop over the slots. */
void qb_wave_each(struct qb_wave *wave, qb_sched_fn *fn);

/* The same for calls that may mostly wait for the disk, within the shares of the memory. */
void qb_wave_each_waiting(struct qb_wave *wave, qb_sched_fn *fn);

/* The image's plan is made: adds what it will write to the meter. */
void qb_slot_plan_known(struct qb_wave *wave, struct qb_slot *slot);

/* Notes that a span of the image began at `from` and ends now. */
void qb_slot_span(struct qb_wave *wave, struct qb_slot *slot, const struct qb_io *io,
                  enum qb_span_kind kind, double from);

/* Sets the slot's step, and updates the meter. */
void qb_slot_step(struct qb_wave *wave, struct qb_slot *slot, enum qb_step to);

/* Whether no more images may be started: the run was stopped, or too many failed. */
bool qb_wave_starts_no_more(const struct qb_wave *wave);

/* Whether this image, which may have an append, must stop here, in which case it is cancelled and
 * over: the run was stopped, its time-out has passed, or a required record is not in the journal.
 */
bool qb_slot_leave(struct qb_wave *wave, struct qb_slot *slot, struct qb_io *io);

/* Like qb_slot_leave for an untouched image: also if too many others failed. */
bool qb_slot_leave_untouched(struct qb_wave *wave, struct qb_slot *slot, struct qb_io *io);

/* A phase of one image that may take long: shown by the meter meanwhile, and, if it may be
 * interrupted, stopped before a batch of requests.  The slot is over if it was interrupted. */
struct qb_long_phase {
    const struct qb_wave *wave;
    struct qb_slot *slot;
    enum qb_span_kind kind;
    bool may_be_left;
    double busy_before, from; /* seconds */
    struct qb_busy *busy;     /* NULL: not shown */
};
void qb_slot_begin_long(struct qb_wave *wave, struct qb_slot *slot, struct qb_io *io,
                        enum qb_span_kind kind, bool may_be_left, struct qb_long_phase *phase);
void qb_slot_end_long(struct qb_wave *wave, struct qb_slot *slot, struct qb_io *io,
                      const struct qb_long_phase *phase);

/* Cuts off what an interrupted run appended to this image.  An amend that appends begins at the
 * image's end, and so has done that already. */
void qb_slot_give_back_tail(struct qb_wave *wave, struct qb_slot *slot, struct qb_io *io);

/* ---- wave_claim.c ---------------------------------------------------------------------------- */

/* Opens and locks the images of a wave, and reads their headers. */
void qb_wave_open(struct qb_wave *wave);

/* The image is over, or put off where others have what it needs. */
void qb_slot_fail_or_put_off(struct qb_wave *wave, struct qb_slot *slot);

/* ---- wave_budget.c --------------------------------------------------------------------------- */

/* What the image may cost, which its file's size on disk decides, or limits. */
void qb_slot_open_budget(const struct qb_wave *wave, struct qb_slot *slot);
uint64_t qb_slot_memory_budget(const struct qb_wave *wave, const struct qb_slot *slot); /* bytes */

/* Names the key, where its plan takes more memory than that. */
void qb_slot_explain_memory(struct qb_slot *slot);

/* Whether its append would allocate more; then its failure is set. */
bool qb_slot_allocates_too_much(const struct qb_wave *wave, struct qb_slot *slot);

/* ---- wave_memory.c --------------------------------------------------------------------------- */

/* Sets the slot's share of the memory that all images hold together, bytes. */
void qb_slot_hold(struct qb_wave *wave, struct qb_slot *slot, uint64_t bytes);

/* Books memory for planning the image, in addition to what it holds: a share of the rest, or all of
 * it if no other image holds any, or if that is twice what was not enough.  0: too little is left.
 */
uint64_t qb_slot_grant(struct qb_wave *wave, struct qb_slot *slot);

/* How many threads there may be besides the workers: with more, their shares would be too small. */
unsigned qb_wave_more_threads(const struct qb_wave *wave);

/* The image gives way: it wants all memory if it had the share of a worker, and that was too small.
 * If there were more threads than workers, there are none from now on. */
void qb_slot_wants_more(struct qb_wave *wave, struct qb_slot *slot);

/* Whether the image failed because other images hold the memory or open files that it needs: then
 * it is postponed instead. */
bool qb_slot_gives_way(const struct qb_wave *wave, struct qb_slot *slot);

/* Closes the image once it is over, and frees all but its result. */
void qb_slot_release(struct qb_wave *wave, struct qb_slot *slot);

/* Closes the image untouched, to be opened again in another wave. */
void qb_slot_put_off(struct qb_wave *wave, struct qb_slot *slot, enum qb_step why);

/* ---- wave_planned.c -------------------------------------------------------------------------- */

/* Whether a saved plan has something else of the image than its plan now; then the
 * error says so. */
bool qb_slot_is_stale(struct qb_wave *wave, struct qb_slot *slot);

/* ---- wave_confine.c -------------------------------------------------------------------------- */

/* To be called when the images of a wave are open, their headers read and their
 * order known: the first time it confines all threads (host/confining.h).  Images fail that
 * `strict` could not confine. */
void qb_wave_confine(struct qb_wave *wave);

/* What such a process must still be able to do, with the most that images of the batch may need.
 * `owners` is borrowed. */
struct qb_confine_wish qb_wave_confine_wish(const struct qb_run_options *options,
                                            const struct qb_batch *batch, struct qb_owners *owners);

/* ---- wave_room.c ----------------------------------------------------------------------------- */

/* Makes a device that is too small for the plan larger, by policy.extend_command.
 * false: that failed, and the slot is over. */
bool qb_slot_make_room(struct qb_wave *wave, struct qb_slot *slot, struct qb_io *io);

/* ---- wave_again.c ---------------------------------------------------------------------------- */

/* Plans the next commit of a slot with QB_STEP_AGAIN. */
void qb_slot_plan_again(struct qb_wave *wave, struct qb_slot *slot, struct qb_io *io);

#endif
