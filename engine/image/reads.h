/* Clusters of metadata that are read together: neighbours are one request, and what lies in holes
 * of the file is not read. */
#ifndef QB_IMAGE_READS_H
#define QB_IMAGE_READS_H

#include "io/io.h"

struct qb_reads {
    struct qb_file *file;
    uint64_t cluster_size;
    uint8_t *bytes;
    struct qb_req *reqs;
    bool *is_zero; /* of the bytes of each cluster: nothing was read into them since they were
                      zeroed */
    size_t *which; /* whose each cluster is: as qb_reads_add was told */
    size_t most;   /* clusters that fit */
    size_t n, n_reqs;
};

/* 0 or -1; close it in either case. */
int qb_reads_open(struct qb_reads *r, struct qb_file *file, uint64_t cluster_size, size_t most,
                  struct qb_err *err);
void qb_reads_close(struct qb_reads *r);

/* The next ones; those before are over. */
static inline void qb_reads_begin(struct qb_reads *r)
{
    r->n = r->n_reqs = 0;
}

/* Adds the cluster at this byte of the file; 0 is nowhere.  One that has nothing in the file is
 * zeros, or left out with `held_only`.  There must be room for it. */
void qb_reads_add(struct qb_reads *r, size_t which, uint64_t offset, bool held_only);

static inline const uint8_t *qb_reads_cluster(const struct qb_reads *r, size_t i)
{
    return r->bytes + i * r->cluster_size;
}

/* Fills *err for the first request that failed; -1. */
int qb_reads_fail(const struct qb_reads *r, const char *what, struct qb_err *err);

/* What is read ahead of what is waited for, bytes: 64 clusters of the usual size. */
enum { QB_READ_AHEAD = 4 << 20 };

/* Where cluster `i` of a list lies: byte of the file; 0: nowhere. */
typedef uint64_t qb_place_fn(const void *list, size_t i);

/* Has the system start to read the clusters [first, end) of a list. */
void qb_reads_ahead(struct qb_file *file, uint64_t cluster_size, qb_place_fn *place,
                    const void *list, size_t first, size_t end);

#endif
