/* The machine: how many workers it is good for and where they run.  The only file that knows hwloc,
 * which is asked only when there is enough work to pay for its discovery. */
#ifndef QB_BATCH_TOPO_H
#define QB_BATCH_TOPO_H

#include <stddef.h>

struct qb_topo; /* NULL where workers are not bound: every call takes that */

/* The workers for `jobs` images: one a core that this process may use (affinity, cpuset), no more
 * than its cgroup's CPU quota is worth, and never more than there are images.  `wanted` > 0 is the
 * user's own number and wins, up to the number of images. */
unsigned qb_topo_workers(unsigned wanted, size_t jobs);

/* Where binding pays (many workers, the whole machine ours), the cores to bind to; else NULL. */
struct qb_topo *qb_topo_open(unsigned workers);
void qb_topo_close(struct qb_topo *topo);

/* Binds the calling thread to worker number `worker`'s core.  Failing to is no failure. */
void qb_topo_bind(const struct qb_topo *topo, unsigned worker);

#endif
