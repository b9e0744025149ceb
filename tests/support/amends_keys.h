/* Parts of random requests, for amends_random.c. */
#ifndef QB_TESTS_AMENDS_KEYS_H
#define QB_TESTS_AMENDS_KEYS_H

#include "amends.h"
#include "dice.h"

void amends_random_snapshots(uint64_t seed, struct qb_request *rq);

/* The image has `n` bitmaps; what is merged is there. */
void amends_random_bitmaps(uint64_t seed, unsigned n, struct qb_request *rq);

/* Of a disk of `size` bytes.  Where the rest contradicts it, mostly without. */
void amends_random_preallocation(uint64_t seed, struct qb_request *rq, uint64_t size);

void amends_random_reclaim(uint64_t seed, struct qb_request *rq);

/* Some images of version 3 have larger clusters, and L2 entries with subclusters or without; of
 * their script, some zeros are mixtures. */
void amends_random_extended(uint64_t seed, struct image_shape *s);
void amends_random_mixtures(uint64_t seed, char *script);

/* Some images with a data file have subclusters, too, and of these most end in a cluster with
 * subclusters of several sorts: what makes the script do that goes to `script`. */
void amends_random_subclusters(uint64_t seed, struct image_shape *s);
void amends_random_end(uint64_t seed, const struct image_shape *s, char *script, size_t room);

/* Asks them for entries of either size, and some of all to keep their undo. */
void amends_random_kept(uint64_t seed, const struct image_shape *s, struct qb_request *rq);

/* Of an image with a data file: what is always refused there is rarely asked for. */
void amends_random_data_request(struct dice *d, struct qb_request *rq);

#endif
