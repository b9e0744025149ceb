/* Finds out who runs the program, on which host, and by what command line. */
#ifndef QB_HOST_CALLER_H
#define QB_HOST_CALLER_H

#include "job/origin.h"

/* Fills host, caller, command and started; what cannot be determined stays NULL. */
void qb_caller_note(struct qb_origin *origin);

#endif
