/* Threads that may take part in what one worker computes.  The engine has none of its own: who has
 * workers lends those that are idle, so there are never more threads than workers. */
#ifndef QB_IO_CREW_H
#define QB_IO_CREW_H

#include "io/io.h"

/* Computes part `i`.  `who` is below the number of hands, and no two threads have the same one at
 * the same time; 0 is the caller.  It may neither begin another loop nor use a struct qb_io, except
 * for qb_io_read_part. */
typedef void qb_part_fn(void *arg, unsigned who, size_t i);

struct qb_crew {
    unsigned (*hands)(void *arg); /* threads, the caller's included */
    /* Calls fn(fn_arg, who, i) once for every i of [0, n), in any order, on the calling thread and
     * on up to `hands` - 1 that are idle; returns after the last, with the processor time of these
     * others, seconds. */
    double (*each)(void *arg, size_t n, unsigned hands, qb_part_fn *fn, void *fn_arg);
    void *arg;
};

/* Not owned.  NULL, as at first: the calling thread alone. */
void qb_io_set_crew(struct qb_io *io, const struct qb_crew *crew);

/* The most threads that may take part, at least 1. */
unsigned qb_io_hands(const struct qb_io *io);

/* The same for parts that read: a pace permits one only. */
unsigned qb_io_readers(const struct qb_io *io);

/* Reads in a part, by plain calls: sets each request's `error`, and returns how many failed.  The
 * file of a request is one thread's own: see qb_file_part. */
size_t qb_io_read_part(struct qb_io *io, struct qb_req *reqs, size_t n);

/* The open file for one thread of a loop, which has its own statistics, and remembers holes of its
 * own; never closed.  They are added up afterwards. */
struct qb_file qb_file_part(const struct qb_file *file);
void qb_file_add_part(struct qb_file *file, const struct qb_file *part);

/* fn(arg, who, i) for every i of [0, n), by at most `hands` threads, of which the caller is one. */
void qb_io_each(struct qb_io *io, size_t n, unsigned hands, qb_part_fn *fn, void *arg);

#endif
