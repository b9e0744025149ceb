/* Serves the control socket of a run, by a thread of its own that touches no image: it reads the
 * run's counters, and sets what the run reads between its waves.
 *
 * A connection is one request and one answer, each a packet.  A few are open at a time, for at most
 * two seconds each, so that neither the run nor other requests wait for one that hangs. */
#ifndef QB_CTL_SERVER_H
#define QB_CTL_SERVER_H

#include "base/err.h"
#include "ctl/answer.h"

struct qb_ctl_server;

/* Makes the socket, by which connections wait until qb_ctl_start.  -1 with *err: the run can do
 * without. */
int qb_ctl_open(const char *dir, const struct qb_ctl_scene *scene, struct qb_ctl_server **out,
                struct qb_err *err);

/* Starts the thread.  -1 with *err: nobody will be served; the name of the socket stays. */
int qb_ctl_start(struct qb_ctl_server *server, struct qb_err *err);

/* Ends the thread and closes the socket, whose name then leads nowhere (qb_ctl_unlink); NULL is
 * permitted. */
void qb_ctl_end(struct qb_ctl_server *server);

#endif
