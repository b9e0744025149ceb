#include "host/waiting.h"

#include <stdbool.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/num.h"

#define LONG_ENOUGH 1e-3 /* seconds */
#define LEAST_USED  1e-5

enum { CALLS = 2 };

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

void qb_waiting_begin(struct qb_waiting *w)
{
    struct rusage now = {0};

    getrusage(RUSAGE_THREAD, &now);
    *w = (struct qb_waiting){.from = qb_now(),
                             .used = seconds(now.ru_utime) + seconds(now.ru_stime),
                             .read = now.ru_inblock,
                             .blocked = now.ru_nvcsw,
                             .preempted = now.ru_nivcsw};
}

/* A thread that other programs keep from its core has as little processor time, and so has one that
 * waited for a lock, and then for a core: only who reads is known to wait for a disk.  That single
 * calls do, as where a file system reads its own maps, is not worth more threads. */
static bool waited(const struct qb_waiting *was, const struct qb_waiting *now)
{
    long blocked = now->blocked - was->blocked, preempted = now->preempted - was->preempted;

    return now->read > was->read && blocked >= (long)was->calls && blocked > preempted;
}

unsigned qb_waiting_threads(struct qb_waiting *w)
{
    struct qb_waiting was;
    double took = qb_now() - w->from, used;

    if (++w->calls < CALLS || took < LONG_ENOUGH)
        return 0;
    was = *w;
    qb_waiting_begin(w);
    used = QB_MAX(w->used - was.used, LEAST_USED);
    if (!waited(&was, w) || 2 * used > took)
        return 0;
    return (unsigned)QB_MIN(took / used, (double)QB_WAITING_MOST);
}
