/* Finds out whether reports that are joined have each shard of a fleet, and each image once.
 *
 * A shard may be in several reports: of a run that was killed, and of the one that resumed it. What
 * counts of an image is the newest line, except that one which found nothing to do does not replace
 * one that tells of the change. */
#ifndef QB_RECORD_JOINED_SHARDS_H
#define QB_RECORD_JOINED_SHARDS_H

#include "job/job.h"
#include "record/telling.h"
#include "util/json.h"

/* One line about an image, in the order of the files. */
struct qb_joined_line {
    size_t part;
    enum qb_status status;
    bool left_out; /* another line counts */
};

/* Two images of different shards that are one file. */
struct qb_in_two {
    size_t first, other; /* lines */
};

enum { QB_IN_TWO_LISTED = 20 };

struct qb_joined_shards {
    unsigned of; /* how many there are; 0: the reports are not those of shards */
    bool mixed;  /* some are of another division */
    QB_VEC(unsigned) missing;
    QB_VEC(unsigned) unfinished;  /* the newest report has no end: the run was killed, or goes on */
    QB_VEC(unsigned) overlapping; /* more than one run came to its end; attempts of one are one */
    QB_VEC(struct qb_in_two) in_two;
    QB_VEC(char *) sentences; /* owned: all of that, for people */
};

/* `batch` has a job for each of the n lines, with the file's device and inode; `parts` are the
 * runs. Sets left_out.  false when memory is short; free it in either case. */
bool qb_joined_shards_find(struct qb_joined_shards *j, const struct qb_batch *batch,
                           struct qb_joined_line *lines, size_t n, const struct qb_part *parts,
                           size_t n_parts);
void qb_joined_shards_free(struct qb_joined_shards *j);

/* The exit code of the whole, where the images alone come to `code`. */
int qb_joined_shards_exit_code(const struct qb_joined_shards *j, int code);

/* Adds "shards" to an object: null if there are none. */
void qb_joined_shards_json(struct qb_json *o, const struct qb_joined_shards *j,
                           const struct qb_batch *batch);

#endif
