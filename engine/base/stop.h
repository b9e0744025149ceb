/* Reads the stop flag of qbatch.h, for the engine. */
#ifndef QB_BASE_STOP_H
#define QB_BASE_STOP_H

#include "qbatch.h"

/* Whether a stop was requested; a qb_stop_fn (io/io.h), of which `stop` is the argument. */
bool qb_stop_requested(void *stop);

#endif
