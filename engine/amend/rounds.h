/* Declares what the calls of amend.h have to know of the rounds that follow an amend. */
#ifndef QB_AMEND_ROUNDS_H
#define QB_AMEND_ROUNDS_H

#include "amend/amend_state.h"

/* After a call that failed: ends the round that is in progress, if any.  The amend has failed too
 * where the round was flipped.  Returns -1. */
int qb_round_failed(struct qb_amend *a);

/* Ends a round without taking over its outcome. */
void qb_round_drop(struct qb_amend *a);

#endif
