/* What files of backing chains name, for all waves of a run.
 *
 * What is known of a file holds for as long as it has the ctime that was seen before its header was
 * read, or after it was written: any write changes that, also one that puts mtime back.  Within a
 * wave it holds in any case, so that all images go by the same chains. */
#ifndef QB_BACKING_LINK_CACHE_H
#define QB_BACKING_LINK_CACHE_H

#include <time.h>

#include "base/index.h"
#include "base/vec.h"
#include "opener/named.h"

struct qb_file_id {
    dev_t dev;
    ino_t ino; /* 0: no such file */
};

struct qb_link {
    struct qb_file_id id;
    struct timespec changed; /* ctime */
    struct qb_naming owner;  /* without a path */
    char *backing;           /* path of its backing file; NULL: none */
    bool ends;               /* that file is declared not to be qcow2 */
    size_t wave;             /* the cache's: in which it was used last */
};

struct qb_link_cache { /* zeros: empty */
    QB_VEC(struct qb_link) links;
    struct qb_index by_id;
    size_t wave;
};

void qb_link_cache_free(struct qb_link_cache *c);

/* What holds of the file; NULL: nothing.  Valid until the next call, its path until the next wave.
 */
const struct qb_link *qb_link_cache_find(struct qb_link_cache *c, struct qb_file_id id,
                                         struct timespec changed);

/* In place of what was known of the file before.  Takes the path over; NULL when memory is short.
 * As above. */
const struct qb_link *qb_link_cache_put(struct qb_link_cache *c, struct qb_link link);

void qb_link_cache_next_wave(struct qb_link_cache *c);

#endif
