/* Divides a fleet into shards, of which each process amends one.  Pure: no image is read here.
 *
 * An image belongs to the shard with the greatest weight for its name (rendezvous hashing), so that
 * one shard more takes its share from all others, and nothing else moves.  The name is that of the
 * manifest, so that all hosts divide alike, wherever each of them has mounted the manifest's
 * directory.  An image whose base is amended in the same batch goes where its base goes.
 *
 * The weights are permanent: hosts with different versions must divide alike. */
#ifndef QB_SHARD_SHARD_H
#define QB_SHARD_SHARD_H

#include "job/origin.h"
#include "util/scalar.h"

enum { QB_SHARDS_MAX = 65536 };

/* An environment: getenv(3), or a test's; NULL: an empty one. */
typedef const char *qb_environment_fn(const char *name);

/* Parses "3/16"; "auto", by the environment of Slurm or SGE; "auto/16", where the total must be
 * that of Slurm or SGE, and is the one of an indexed job of Kubernetes.  false with the reason. */
bool qb_shard_read(const char *text, qb_environment_fn *get, struct qb_shard *out,
                   struct qb_why *why);

/* "3/16", or "" of a run without shards. */
enum { QB_SHARD_TEXT = 24 };
const char *qb_shard_text(struct qb_shard shard, char out[QB_SHARD_TEXT]);

/* What decides where a name belongs. */
uint64_t qb_shard_hash(const char *name);

/* The shard, counted from 1, of `of` shards; and whether it is this one, which mostly takes a look
 * at a few others. */
unsigned qb_shard_of(uint64_t hash, unsigned of);
bool qb_shard_has(struct qb_shard shard, uint64_t hash);

/* No base. */
#define QB_SHARD_ALONE SIZE_MAX

/* Sets mine[i] for each of n images of which the shard has it.  base[i] is the image that is
 * amended in the same batch and next below image i in its chain, or QB_SHARD_ALONE; a loop goes
 * together.  Overwrites base[]. */
void qb_shard_divide(struct qb_shard shard, size_t n, const uint64_t *hashes, size_t *base,
                     bool *mine);

/* Whether two runs of one manifest can have images in common. */
static inline bool qb_shards_overlap(struct qb_shard a, struct qb_shard b)
{
    return !a.of || !b.of || a.of != b.of || a.number == b.number;
}

/* Whether the images of b are all in a. */
static inline bool qb_shard_covers(struct qb_shard a, struct qb_shard b)
{
    return !a.of || (a.of == b.of && a.number == b.number);
}

#endif
