/* Handles ^C, SIGTERM and SIGHUP: ends the measured program, so that the bench can clean up. */
#ifndef QB_CLOCK_STOP_H
#define QB_CLOCK_STOP_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

void bench_stop_install(void);
bool bench_stop_asked(void);

/* Fails with QB_E_CANCELLED; the text names the signal and its sender. */
int bench_stop_fail(struct qb_err *err);

/* Between these two no signal is taken, so that a child is known before one arrives. */
void bench_stop_hold(void);
void bench_stop_release(pid_t group); /* the process group that a signal ends; 0: none */

#endif
