/* The memory back end: files that live in memory, with a log of every change and barrier, for tests
 * of crash states and faults. */
#ifndef QB_TESTS_MEM_H
#define QB_TESTS_MEM_H

#include <limits.h>

#include "io/io.h"

#define QB_MEM_EVERY_DISK UINT_MAX

struct qb_mem_event {
    enum qb_op op; /* WRITE, FILL, ZERO, PUNCH, SET_SIZE, or SYNC (a barrier) */
    unsigned disk; /* which file, in order of creation; QB_MEM_EVERY_DISK for a barrier over all */
    uint64_t offset, len;
    unsigned char *bytes; /* WRITE: what was written, owned by the log */
};

struct qb_mem_log; /* the log of one simulated machine; owns the disks */

struct qb_mem_log *qb_mem_log_new(void);
void qb_mem_log_free(struct qb_mem_log *log);

/* A new file with this content (copied), opened.  The log keeps the content as of now as the
 * starting point for replays.  qb_file_close on it keeps the disk. */
int qb_mem_file(struct qb_mem_log *log, const void *content, uint64_t size, struct qb_file *out);

/* A new file with this content, which is the external data file of image `image`, another file of
 * the log.  -1 when memory is short. */
int qb_mem_data_file(struct qb_mem_log *log, unsigned image, const void *content, uint64_t size);

/* The number of the image's data file; QB_MEM_EVERY_DISK: it has none. */
unsigned qb_mem_data_of(const struct qb_mem_log *log, unsigned image);
/* The image whose data file this is; the number itself for an image. */
unsigned qb_mem_image_of(const struct qb_mem_log *log, unsigned disk);

/* Opens the file number `disk` of the log once more, as a second run of the program would. */
int qb_mem_reopen(struct qb_mem_log *log, unsigned disk, struct qb_file *out);

/* From now on files that are opened of this disk say that their space is reserved (reserve.h). */
void qb_mem_reserve(struct qb_mem_log *log, unsigned disk);

/* From now on files that are opened of this disk are block devices: as long as they are. */
void qb_mem_make_device(struct qb_mem_log *log, unsigned disk);

/* From now on blocks of zeros of this disk are holes, as far as the simulator is asked. */
void qb_mem_make_holes(struct qb_mem_log *log, unsigned disk);

/* An I/O object on these files. */
struct qb_io *qb_io_open_mem(struct qb_mem_log *log);

/* From now on the request number `nth` (0 = the next one), counted over reads, writes, size changes
 * and barriers, fails with errnum; `onwards` makes all later ones fail too.  errnum 0: none. */
void qb_mem_fail(struct qb_mem_log *log, uint64_t nth, int errnum, bool onwards);

size_t qb_mem_events(const struct qb_mem_log *log, const struct qb_mem_event **events);

/* The present content of a file: owned by the log, valid until the next change. */
const unsigned char *qb_mem_content(const struct qb_mem_log *log, unsigned disk, uint64_t *size);

/* What the disk may hold after a power cut: starts from the content at creation, applies all events
 * before `sure`, and of the events [sure, upto) those that a lottery keeps, where a WRITE or FILL
 * is decided for each of its 512-byte sectors apart.  The lots are drawn in order from a generator
 * seeded with `seed`, for the events of all disks, so that one seed is one state of the whole
 * machine; seed 0 keeps everything.  *out is malloc'ed (NULL when empty), *size its length; -1 when
 * memory is short. */
int qb_mem_replay(const struct qb_mem_log *log, unsigned disk, size_t sure, size_t upto,
                  uint64_t seed, unsigned char **out, uint64_t *size);

#endif
