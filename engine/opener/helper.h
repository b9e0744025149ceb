/* A process beside a confined one (confine.h), for what that may no longer do: it opens files, and
 * gives them over.
 *
 * It is forked when everything that it may be asked for is known, and keeps the rights that the
 * caller had.  It can be asked for the errands of a table that its caller made, by number, with a
 * request of bounded size; it believes nothing of a request, as whoever sends it reads strangers'
 * images.  It reads no image.  When its caller ends, so does it.
 *
 * It has threads of its own where several threads of its caller ask at a time; it has none of the
 * caller's, and never runs OpenMP.
 *
 * Of the files that are open when it begins it keeps standard input, output and error, and those
 * that are named to it: it must hold no lock of an image. */
#ifndef QB_OPENER_HELPER_H
#define QB_OPENER_HELPER_H

#include <pthread.h>
#include <sys/types.h>

#include "io/io.h"
#include "opener/parcel.h"

enum { QB_CHANNELS_MAX = 8 };

/* Carries out a request, and makes the answer in its place.  The descriptors of the answer
 * are closed once they are sent. */
typedef void qb_errand_fn(void *arg, const struct qb_parcel *request, struct qb_parcel *answer);

struct qb_errand {
    qb_errand_fn *fn;
    void *arg;
    bool many; /* may be carried out for several channels at a time */
};

enum { QB_ERRANDS_MAX = 32, QB_KEPT_MAX = 64 };

/* What a helper is made of. */
struct qb_errands {
    struct qb_errand of[QB_ERRANDS_MAX];
    unsigned n;
    int kept[QB_KEPT_MAX]; /* descriptors that it keeps */
    unsigned n_kept;
};

/* The number of the new errand; QB_ERRANDS_MAX where there is no room. */
unsigned qb_errands_add(struct qb_errands *errands, qb_errand_fn *fn, void *arg);
unsigned qb_errands_add_many(struct qb_errands *errands, qb_errand_fn *fn, void *arg);
void qb_errands_keep(struct qb_errands *errands, int fd);

/* A socket, on which there is one request at a time; the helper has a thread for each. */
struct qb_channel {
    int fd;
    pthread_mutex_t mutex;
};

/* Zeroed: there is none. */
struct qb_helper {
    struct qb_channel channels[QB_CHANNELS_MAX];
    unsigned n_channels;
    pid_t pid;
};

static inline bool qb_helper_is_there(const struct qb_helper *helper)
{
    return helper && helper->n_channels > 0;
}

/* Forks it, and returns when it has closed what it does not keep: 0, or -1 with *err.  So many
 * requests are carried out at a time, at most QB_CHANNELS_MAX.  No other thread may be in the
 * middle of anything. */
int qb_helper_start(struct qb_helper *helper, const struct qb_errands *errands, unsigned channels,
                    struct qb_err *err);

/* Sends a request and waits for its answer: 0, -1 where the helper is no more, or EMFILE where no
 * more files can be open here.  While `stop` of a qb_io says that it is to stop (NULL: never), the
 * helper is told so, once; the answer then says what came of it. */
int qb_helper_ask(struct qb_helper *helper, unsigned errand, struct qb_io *stop,
                  struct qb_parcel *parcel);

/* A qb_stop_fn for the helper, of an errand that takes long: whether its caller wants it to stop,
 * or is no more.  Its argument is the request. */
bool qb_helper_is_to_stop(void *request);

/* Whether it has ended although it was not to: each further request would fail. */
bool qb_helper_is_lost(const struct qb_helper *helper);

/* Ends it, and waits for that. */
void qb_helper_end(struct qb_helper *helper);

#endif
