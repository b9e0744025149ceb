/* Confines this process to the files that it has open (opener/confine.h), once, with all threads of
 * a sched: policy.sandbox.
 *
 * What must be done afterwards with the rights that it had before (opening a file that an image
 * names, giving a report its name) is an errand of a helper (opener/helper.h), which is started
 * only where there can be some. */
#ifndef QB_HOST_CONFINING_H
#define QB_HOST_CONFINING_H

#include <stdatomic.h>

#include "base/index.h"
#include "host/sched.h"
#include "opener/confine.h"
#include "opener/opener.h"
#include "job/job.h"
#include "job/sandboxed.h"
#include "outcome/wire.h"

/* A run of up to this many images that takes no time is confined once it has opened them; any
 * other before the first, and a helper opens all of them. */
enum { QB_CONFINED_IMAGES = 8 };

/* Files that may be read besides the images of the batch: asked in the helper, by several threads
 * at a time. */
struct qb_more_files {
    bool (*has)(void *arg, const char *path);
    void *arg;
};

struct qb_confining {
    struct qb_batch *batch;
    struct qb_sandboxed sandboxed; /* what came of it, for reports */
    atomic_uint on_all;            /* bits: what is in force on every thread */
    bool begun;
    bool entered;      /* it has a user and a mount namespace of its own, and the helper is there */
    char refused[200]; /* why the helper could not be started; "": it could, or was not wanted */
    bool wants_helper; /* an errand is certain, or likely */
    bool early;        /* due before the first image is opened, with a helper to the end */
    bool dry_run;
    bool has_parent; /* a process that may die (mortal.h): its parent tells what is to be told */
    struct qb_errands errands;
    struct qb_helper helper;
    struct qb_opener opener;
    struct qb_opening_rules opening;
    struct qb_index images;    /* of the batch, and of other shards, by path */
    struct qb_more_files more; /* .has may be NULL */
};

/* The batch must stay as it is, but for its `opener`.  Then errands may be offered, and descriptors
 * kept. */
void qb_confining_init(struct qb_confining *c, struct qb_batch *batch, bool dry_run);

/* With `strict`: -1 where the kernel or this build lacks something.  Nothing is changed. */
int qb_confining_check(struct qb_confining *c, struct qb_err *err);

/* Whether this process is to be confined, and is not yet. */
bool qb_confining_is_due(const struct qb_confining *c);

/* With `strict`, while there is one thread, before qb_sched_run: starts the helper, and takes a
 * user and a mount namespace of its own for this process, with which it sees no path.  0, also
 * where there is nothing to do; -1 where that cannot be: the process must end, or read no image. */
struct qb_confine_wish;
int qb_confining_enter(struct qb_confining *c, struct qb_sched *sched,
                       const struct qb_confine_wish *wish, struct qb_err *err);

/* Confines all threads, between two loops of the sched.  With `helper` a helper is started first,
 * which opens files as these owners permit, and which all workers of the sched then ask.  Where
 * that cannot be started (a limit on processes, a container that forbids it) this process stays as
 * it is. -1 with `strict` where anything was refused. */
struct qb_confine_wish {
    struct qb_owners *owners;
    bool helper;
    bool local_time; /* localtime(3) is used later */
    bool hands;      /* workers may have loops of their own (io/crew.h) */
};
int qb_confining_begin(struct qb_confining *c, struct qb_sched *sched,
                       const struct qb_confine_wish *wish, struct qb_err *err);

/* What a notice says once that lacks here; NULL: nothing. */
const char *qb_confining_lack(const struct qb_confining *c, char out[QB_SANDBOX_TEXT]);

/* Whether an errand is to be asked of a helper, as this process cannot do it itself. */
bool qb_confining_asks(const struct qb_confining *c);

/* The qb_io of the helper's channel by which the request came. */
struct qb_io *qb_confining_io(const struct qb_confining *c, const struct qb_parcel *request);

/* Of an errand of c->errands; see qb_helper_ask. */
int qb_confining_ask(struct qb_confining *c, unsigned errand, struct qb_io *stop,
                     struct qb_parcel *parcel);

/* What came of it, as bytes: of a process that did so, for its parent, which believes no more than
 * can be. */
void qb_confining_put(const struct qb_confining *c, struct qb_wire *wire);
bool qb_confining_take(struct qb_confining *c, struct qb_wired *wired);

/* Ends the helper. */
void qb_confining_end(struct qb_confining *c);

#endif
