/* Being a good neighbour to what else the host does: priorities, and waiting while it is busy. */
#ifndef QB_HOST_PRIORITY_H
#define QB_HOST_PRIORITY_H

#include "job/job.h"

/* Before the workers start: nice value and I/O priority of the process, and whether the host can
 * tell how busy it is, where limits.load asks.  -1 with *err when one of these cannot be had. */
int qb_neighbour_begin(const struct qb_limits *limits, struct qb_err *err);

/* How much of the last ten seconds something on this host waited for I/O, in percent: "some avg10"
 * of a text like /proc/pressure/io.  Negative when it does not say. */
double qb_pressure_of(const char *text);

/* The same of the host now. */
double qb_pressure_now(void);

#endif
