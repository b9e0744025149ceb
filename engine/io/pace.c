#include "io/pace.h"

#include <time.h>

#include "base/clock.h"
#include "base/num.h"

#define SLACK_SECONDS 0.1
#define NAP_SECONDS   0.05
#define PIECE_MIN     (UINT64_C(64) << 10)

void qb_pace_init(struct qb_pace *p, double bytes_per_second, double ops_per_second)
{
    *p = (struct qb_pace){.bytes_until = 0};
    atomic_init(&p->bytes_per_second, bytes_per_second);
    atomic_init(&p->ops_per_second, ops_per_second);
    pthread_mutex_init(&p->mutex, NULL);
}

void qb_pace_free(struct qb_pace *p)
{
    pthread_mutex_destroy(&p->mutex);
}

void qb_pace_set(struct qb_pace *p, double bytes_per_second, double ops_per_second)
{
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->bytes_per_second, bytes_per_second);
    atomic_store(&p->ops_per_second, ops_per_second);
    p->bytes_until = p->ops_until = 0;
    atomic_fetch_add(&p->changes, 1);
    pthread_mutex_unlock(&p->mutex);
}

/* Books an amount: its share of the time begins where the last one's ended. */
static double book(double *until, double now, double amount, double per_second)
{
    double from = QB_MAX(*until, now - SLACK_SECONDS);

    if (per_second <= 0 || amount == 0)
        return now;
    *until = from + amount / per_second;
    return from;
}

double qb_pace_book(struct qb_pace *p, double now, uint64_t bytes, uint64_t ops)
{
    double by_bytes, by_ops;

    pthread_mutex_lock(&p->mutex);
    by_bytes = book(&p->bytes_until, now, (double)bytes, p->bytes_per_second);
    by_ops = book(&p->ops_until, now, (double)ops, p->ops_per_second);
    pthread_mutex_unlock(&p->mutex);
    return QB_MAX(by_bytes, by_ops);
}

bool qb_pace_wait(struct qb_pace *p, uint64_t bytes, uint64_t ops, bool (*stop)(void *arg),
                  void *arg)
{
    unsigned changes = atomic_load(&p->changes);
    double now, at;

    if (atomic_load(&p->bytes_per_second) <= 0 && atomic_load(&p->ops_per_second) <= 0)
        return true;
    now = qb_now();
    at = qb_pace_book(p, now, bytes, ops);
    for (; now < at && atomic_load(&p->changes) == changes; now = qb_now()) {
        double nap = QB_MIN(at - now, NAP_SECONDS);

        if (stop && stop(arg))
            return false;
        nanosleep(&(struct timespec){.tv_nsec = (long)(nap * 1e9)}, NULL);
    }
    return true;
}

uint64_t qb_pace_piece(const struct qb_pace *p, uint64_t bytes)
{
    double rate = atomic_load(&p->bytes_per_second);
    uint64_t share = (uint64_t)(rate * SLACK_SECONDS) / PIECE_MIN * PIECE_MIN;

    if (rate <= 0)
        return bytes;
    return QB_MIN(bytes, QB_MAX(share, PIECE_MIN));
}
