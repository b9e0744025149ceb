/* A parallel loop over a wave's slots that keeps `jobs_per_filesystem`: each file system has that
 * many lanes, a lane is driven by one worker at a time, and takes the next slot of its file system
 * when it is done with one. */
#ifndef QB_RUN_PER_FS_H
#define QB_RUN_PER_FS_H

#include "run/wave.h"

/* Calls fn(wave, io, i) once for every slot i, as qb_sched_each does. */
void qb_lanes_each(struct qb_wave *wave, qb_sched_fn *fn);

#endif
