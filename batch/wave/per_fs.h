/* Runs a parallel loop over a wave's slots within `jobs_per_filesystem`: each file system has that
 * many lanes; a lane is run by one worker at a time, and takes one slot of its file system after
 * the other. */
#ifndef QB_WAVE_PER_FS_H
#define QB_WAVE_PER_FS_H

#include "wave/wave.h"

/* Calls fn(wave, io, i) once for every slot i, like qb_sched_each_waiting; no more threads than
 * workers with such a limit. */
void qb_lanes_each(struct qb_wave *wave, unsigned more, qb_sched_fn *fn);

#endif
