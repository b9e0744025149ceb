/* ^C, SIGTERM and SIGHUP: the program under measurement is ended, and the bench cleans up. */
#ifndef QB_BENCH_STOP_H
#define QB_BENCH_STOP_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

void bench_stop_install(void);
bool bench_stop_asked(void);

/* -1 with code cancelled and who asked. */
int bench_stop_fail(struct qb_err *err);

/* Between these two no signal is taken, so that a child is known before one arrives. */
void bench_stop_hold(void);
void bench_stop_release(pid_t group); /* the process group that a signal ends; 0: none */

#endif
