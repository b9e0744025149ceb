/* The orders that a run in progress takes; for batch/ctl only. */
#ifndef QB_CTL_ORDERS_H
#define QB_CTL_ORDERS_H

#include "ctl/answer.h"
#include "util/json.h"
#include "util/json_read.h"

struct qb_ctl_request {
    const struct qb_ctl_scene *scene;
    const struct qb_parsed *json;
    uid_t uid;
};

/* ---- answer.c: lines, malloc'ed; NULL when memory is short ----------------------------------- */

char *qb_ctl_refuse(const char *why);
char *qb_ctl_accept(const struct qb_ctl_request *rq, const char *text);

/* ---- orders.c, order_limits.c: the answer to each -------------------------------------------- */

char *qb_ctl_pause(const struct qb_ctl_request *rq);
char *qb_ctl_continue(const struct qb_ctl_request *rq);
char *qb_ctl_stop(const struct qb_ctl_request *rq);
char *qb_ctl_skip(const struct qb_ctl_request *rq);
char *qb_ctl_limits(const struct qb_ctl_request *rq);
char *qb_ctl_reload(const struct qb_ctl_request *rq);

/* The limits that are others than at the beginning of the run. */
void qb_ctl_put_limits(const struct qb_ctl_scene *scene, struct qb_json *o);

/* An act of whoever asks. */
struct qb_act qb_ctl_act(const struct qb_ctl_request *rq, const char *what);
char *qb_ctl_too_many(void);

#endif
