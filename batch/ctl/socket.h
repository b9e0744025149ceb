/* Makes and finds the control socket of a run: "RUN.ctl" in the state directory, for packets.  It
 * is readable and writable for its user only, and whoever connects is looked at as well. */
#ifndef QB_CTL_SOCKET_H
#define QB_CTL_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

enum {
    QB_CTL_VERSION = 1,     /* of the messages */
    QB_CTL_REQUEST = 4096,  /* bytes of a request at most */
    QB_CTL_ANSWER = 131072, /* bytes of an answer at most */
};

/* A socket that listens.  The caller holds the journal of the run: a socket of that name is one
 * that a killed process left, and is replaced.  -1 with *err. */
int qb_ctl_listen(const char *dir, const char *run, struct qb_err *err);

/* Removes its name. */
void qb_ctl_unlink(const char *dir, const char *run);

/* A connection to the run.  -1 with *err: QB_E_NOT_FOUND where no process listens. */
int qb_ctl_connect(const char *dir, const char *run, struct qb_err *err);

/* The user at the other end.  false: not known. */
bool qb_ctl_peer(int fd, uid_t *uid);

/* Whether that user may give orders to a process of the user `owner`. */
bool qb_ctl_may(uid_t uid, uid_t owner);

#endif
