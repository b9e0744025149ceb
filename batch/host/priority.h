/* Sets the priorities of the process, and measures the I/O load of the host. */
#ifndef QB_HOST_PRIORITY_H
#define QB_HOST_PRIORITY_H

#include "job/job.h"

/* To be called before the workers start: sets nice value and I/O priority of the process, and
 * checks that the host reports its I/O load if limits.load needs it.  -1 with *err when one of
 * these fails. */
int qb_neighbour_begin(const struct qb_limits *limits, struct qb_err *err);

/* The share of the last ten seconds in which some task of this host waited for I/O, in percent:
 * "some avg10" of a text like /proc/pressure/io.  Negative when the text does not have it. */
double qb_pressure_of(const char *text);

/* Opens that text, which can be read again and again: -1 with errno. */
int qb_pressure_open(void);

/* This value of the host now, by that descriptor. */
double qb_pressure_now(int fd);

#endif
