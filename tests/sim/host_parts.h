/* What the parts of the simulated host share; for host.c and workers.c only. */
#ifndef QB_TESTS_SIM_HOST_PARTS_H
#define QB_TESTS_SIM_HOST_PARTS_H

#include "host.h"

void host_at_work(bool begins);

/* A number below n. */
unsigned host_roll(unsigned n);

/* The numbers [0, n) in any order; to be freed. */
unsigned *host_shuffled(size_t n);

/* A worker's access to the disks. */
struct qb_io *host_open_disks(void);

#endif
