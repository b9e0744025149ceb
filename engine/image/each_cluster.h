/* Reads clusters of metadata on all threads that there are, each of which reads and handles a slice
 * at a time while the system reads ahead of all of them. */
#ifndef QB_IMAGE_EACH_CLUSTER_H
#define QB_IMAGE_EACH_CLUSTER_H

#include "io/crew.h"
#include "image/reads.h"

struct qb_each_cluster {
    struct qb_io *io;
    struct qb_file *file;
    uint64_t cluster_size;
    const char *what; /* names a cluster in messages */
    qb_place_fn *place;
    const void *list;
    size_t n; /* clusters of the list */
    /* Called once for each cluster that has something in the file, in any order, by thread `who` of
     * them, with the bytes.  0 or -1; of failures the one of the first slice is reported. */
    int (*fn)(void *arg, unsigned who, size_t i, const uint8_t *bytes, struct qb_err *err);
    void *arg;
};

/* The most threads that are of use, of which the caller is one. */
unsigned qb_each_cluster_hands(const struct qb_each_cluster *e);

/* What each of them takes, bytes. */
uint64_t qb_each_cluster_memory(const struct qb_each_cluster *e);

/* How many clusters to handle between two looks at what came of them, at least 1. */
size_t qb_each_cluster_batch(const struct qb_each_cluster *e);

/* Sets *i to the first cluster from *i on that has something in the file; e->n: there is none.
 * Threads are not worth waking for what lies in holes.  0 or -1. */
int qb_each_cluster_skip(const struct qb_each_cluster *e, size_t *i, struct qb_err *err);

/* Handles the clusters [first, end) of the list. */
int qb_each_cluster(const struct qb_each_cluster *e, size_t first, size_t end, unsigned hands,
                    struct qb_err *err);

#endif
