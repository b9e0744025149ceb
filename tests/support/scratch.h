/* Files in a folder of the test's own, and single requests to them past the write guard. */
#ifndef QB_TESTS_SCRATCH_H
#define QB_TESTS_SCRATCH_H

#include "io/io.h"
#include "unit.h"

/* Makes the folder, runs the tests as unit_main does, and removes the folder with all that is in
 * it. */
int scratch_main(const char *suite_name, const struct unit_test *tests, size_t n);

const char *scratch_folder(void);

/* The folder, which other users can reach from then on. */
const char *shared_folder(void);

/* A path in the folder; valid until the fourth call after it. */
const char *in_folder(const char *name);

/* A file in the folder that holds these bytes; its path, as from in_folder. */
const char *make_file(const char *name, const void *bytes, size_t n);

struct qb_file open_or_die(const char *path, bool writable);

/* NULL where the host forbids this back end, as containers do io_uring. */
struct qb_io *open_kind(enum qb_io_kind kind);

/* Takes the write guard away, as far as one phase goes. */
void unguard_for(struct qb_file *file, enum qb_phase phase);
void unguard(struct qb_file *file);

/* One request; its error.  An unguarded file gets the phase that allows it. */
int run_one(struct qb_io *io, struct qb_file *f, enum qb_op op, uint64_t at, uint64_t len,
            void *buf);

/* For qb_io_set_stop: true. */
bool stop_always(void *arg);

/* Puts /dev/null in the place of this process's ring, as a kernel might that has lost it; false
 * where there is no ring. */
bool spoil_ring(void);

/* Opens, locks as an amend or as a reader does, and closes: what qb_file_lock returned. */
int try_lock(const char *path, bool for_amend, struct qb_err *err);

#endif
