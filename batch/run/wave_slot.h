/* What the phases of a wave do to one slot; for wave*.c only. */
#ifndef QB_RUN_WAVE_SLOT_H
#define QB_RUN_WAVE_SLOT_H

#include "run/wave.h"

bool qb_wave_stopped(const struct qb_wave *wave);

/* One parallel loop over the slots. */
void qb_wave_each(struct qb_wave *wave, qb_sched_fn *fn);

/* The image's plan is made: the meter is told what it is going to write. */
void qb_slot_plan_known(struct qb_wave *wave, struct qb_slot *slot);

/* Notes that a span of the image began at `from` and ends now. */
void qb_slot_span(struct qb_wave *wave, struct qb_slot *slot, const struct qb_io *io,
                  enum qb_span_kind kind, double from);

/* Takes the slot to a step, and counts that into the meter. */
void qb_slot_step(struct qb_wave *wave, struct qb_slot *slot, enum qb_step to);

/* Whether no more images are to be started: the run was told to stop, or too many failed. */
bool qb_wave_starts_no_more(const struct qb_wave *wave);

/* What the slot counts for in the memory that all images hold together, from now on; bytes. */
void qb_slot_hold(struct qb_wave *wave, struct qb_slot *slot, uint64_t bytes);

/* Books memory for planning the image, beside what it holds: a share of what is left, or all of it
 * where no other image holds any.  0: too little is left. */
uint64_t qb_slot_grant(struct qb_wave *wave, struct qb_slot *slot);

/* Whether the image failed for want of memory or open files that other images have: it is put off
 * then, instead of failing. */
bool qb_slot_gives_way(const struct qb_wave *wave, struct qb_slot *slot);

/* Closes the image once it is over, and frees all but its result. */
void qb_slot_release(struct qb_wave *wave, struct qb_slot *slot);

/* Closes it untouched, to be opened again in another wave. */
void qb_slot_put_off(struct qb_wave *wave, struct qb_slot *slot, enum qb_step why);

/* Whether this image, which may have been written, is to be left as it is now, in which case it is
 * given up and over: the run was told to stop, the image has had its time, or what the journal must
 * say of it, it does not. */
bool qb_slot_leave(struct qb_wave *wave, struct qb_slot *slot, struct qb_io *io);

/* The same for one that is untouched: also where too many others failed. */
bool qb_slot_leave_untouched(struct qb_wave *wave, struct qb_slot *slot, struct qb_io *io);

/* A phase of one image that may take long: shown by the meter meanwhile, and, where it may be left
 * in its middle, asked whether to go on before each batch of requests.  The slot is over where it
 * was left. */
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

/* What an interrupted run appended to this image.  An amend that appends has begun at the image's
 * end, and so given it back already. */
void qb_slot_give_back_tail(struct qb_wave *wave, struct qb_slot *slot, struct qb_io *io);

#endif
