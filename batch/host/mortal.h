/* A process that reads strangers' images for its parent, and may die of one: how it is started,
 * what it tells, and how it ended.
 *
 * It is forked before its parent has threads of OpenMP, ends with its parent, and is believed no
 * more than the images that it reads. */
#ifndef QB_HOST_MORTAL_H
#define QB_HOST_MORTAL_H

#include <stdatomic.h>
#include <sys/types.h>

#include "opener/helper.h"
#include "outcome/wire.h"

enum {
    QB_MORTAL_HOW = 120,
    QB_MORTAL_READ = 64 << 10,
    QB_MORTAL_LOST_HELPER = 70, /* the exit code of one whose helper (opener/helper.h) has ended */
};

/* Images that it has begun, in memory that both have: 1 + a number, or 0. */
enum { QB_BEGUN_MAX = 1024 };
struct qb_begun {
    atomic_size_t of[QB_BEGUN_MAX];
};

/* A place for this number until it is set to 0; NULL where there is none left. */
atomic_size_t *qb_begun_add(struct qb_begun *begun, size_t number);

/* Zeroed memory that a process has in common with those that it forks; NULL when memory is short.
 */
void *qb_mortal_share(size_t n);
void qb_mortal_unshare(void *memory, size_t n); /* may be NULL */

struct qb_mortal {
    pid_t pid;
    int fd;                      /* where its messages come from */
    bool (*stopped)(void);       /* asked while they are waited for: true ends it; NULL: never */
    char buffer[QB_MORTAL_READ]; /* what was read of the next ones */
    size_t at, n_read;
    bool over; /* nothing more comes */
    /* It tells so often that its messages are taken some at a time, up to half a millisecond late:
     * each time that one is waited for costs a change of process. */
    bool gathers;
};

struct qb_mortal_wish {
    void (*body)(void *arg, int fd); /* all that it does; it ends where that returns */
    void *arg;
    struct qb_errands *errands; /* its helper's, which keeps the socket, too; NULL: has none */
    int kept;                   /* a descriptor that it keeps, or -1 */
    bool keeps_output;          /* else standard input and output are none */
};

/* Besides it keeps standard error.  -1 with *err: no process could be made. */
int qb_mortal_start(struct qb_mortal *m, const struct qb_mortal_wish *wish, struct qb_err *err);

/* In that process: tells what the wire holds, and empties it.  Where nobody is there any more who
 * could be told, or the wire has failed, the process ends. */
void qb_mortal_tell(int fd, struct qb_wire *wire);

/* Takes n bytes of what it tells; false: it has ended before. */
bool qb_mortal_take(struct qb_mortal *m, void *out, size_t n);

/* Whether all that it told was taken. */
static inline bool qb_mortal_is_over(const struct qb_mortal *m)
{
    return m->over && m->at == m->n_read;
}

/* Ends it and its helper, and closes the socket; with `done` it ends by itself, having told all, as
 * long as it is not stopped.  `how`, unless NULL: "was ended by signal 9 (Killed)". */
void qb_mortal_end(struct qb_mortal *m, bool done, char how[QB_MORTAL_HOW]);

#endif
