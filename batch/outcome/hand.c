#include "outcome/hand.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/num.h"
#include "job/job.h"
#include "job/keys.h"

bool qb_hand_open(struct qb_hand *hand, size_t n_jobs, const struct qb_limits *limits)
{
    hand->claims = calloc(n_jobs + 1, sizeof(hand->claims[0]));
    if (!hand->claims)
        return false;
    qb_pace_init(&hand->pace, (double)limits->rate, (double)limits->iops);
    hand->served = true;
    return true;
}

void qb_hand_close(struct qb_hand *hand)
{
    if (hand->served)
        qb_pace_free(&hand->pace);
    free(hand->claims);
    hand->claims = NULL;
    hand->served = false;
}

bool qb_hand_note(struct qb_hand *hand, const struct qb_act *act, bool must)
{
    size_t n = atomic_load(&hand->n_acts);

    if (n >= QB_ACTS_MAX - (must ? 0 : QB_ACTS_KEPT))
        return false;
    hand->acts[n] = *act;
    atomic_store(&hand->n_acts, n + 1);
    return true;
}

bool qb_hand_has_room(const struct qb_hand *hand, size_t n)
{
    return atomic_load(&hand->n_acts) + n <= QB_ACTS_MAX - QB_ACTS_KEPT;
}

static enum qb_hand_claim claim(struct qb_hand *hand, size_t job, enum qb_hand_claim wanted)
{
    unsigned char was = QB_HAND_FREE;

    atomic_compare_exchange_strong(&hand->claims[job], &was, (unsigned char)wanted);
    return (enum qb_hand_claim)was;
}

bool qb_hand_begins(struct qb_hand *hand, size_t job)
{
    return !hand || !hand->served || claim(hand, job, QB_HAND_BEGUN) != QB_HAND_SKIPPED;
}

void qb_hand_puts_off(struct qb_hand *hand, size_t job)
{
    if (hand && hand->served)
        atomic_store(&hand->claims[job], QB_HAND_FREE);
}

void qb_hand_is_over(struct qb_hand *hand, size_t job)
{
    if (hand && hand->served && atomic_load(&hand->claims[job]) != QB_HAND_SKIPPED)
        atomic_store(&hand->claims[job], QB_HAND_OVER);
}

enum qb_hand_claim qb_hand_skip(struct qb_hand *hand, size_t job)
{
    return claim(hand, job, QB_HAND_SKIPPED);
}

/* ---- shared ---------------------------------------------------------------------------------- */

static size_t shared_bytes(size_t n_jobs)
{
    return sizeof(struct qb_hand) + (n_jobs + 1) * sizeof(atomic_uchar);
}

static atomic_uchar *claims_of(struct qb_hand *hand)
{
    return (atomic_uchar *)(hand + 1);
}

struct qb_hand *qb_hand_share(size_t n_jobs, const struct qb_limits *limits)
{
    struct qb_hand *hand =
        mmap(NULL, shared_bytes(n_jobs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (hand == MAP_FAILED)
        return NULL;
    hand->claims = claims_of(hand);
    qb_pace_init(&hand->pace, (double)limits->rate, (double)limits->iops);
    hand->served = true;
    return hand;
}

void qb_hand_unshare(struct qb_hand *hand, size_t n_jobs)
{
    if (hand)
        munmap(hand, shared_bytes(n_jobs));
}

static bool is_limit(const struct qb_key_row *key)
{
    bool found = false;

    for (size_t i = 0; i < qb_keys_count && !found; i++)
        found = key == &qb_keys[i] && key->section == QB_SECTION_limits && key->live;
    return found;
}

static void mend_act(struct qb_act *act, size_t n_jobs)
{
    act->who[QB_ACT_WHO - 1] = act->what[QB_ACT_WHAT - 1] = act->print[QB_ACT_PRINT - 1] = '\0';
    if (!is_limit(act->key) || !strchr(act->what, '='))
        act->key = NULL;
    if (act->image > n_jobs)
        act->image = 0;
    if (!(act->at >= 0 && act->at < 1e12))
        act->at = 0;
}

static bool is_true(const void *byte)
{
    return *(const unsigned char *)byte != 0;
}

void qb_hand_mend(struct qb_hand *hand, size_t n_jobs)
{
    size_t n = qb_min(atomic_load(&hand->n_acts), (size_t)QB_ACTS_MAX);

    hand->claims = claims_of(hand);
    hand->served = true;
    atomic_init(&hand->paused, is_true(&hand->paused));
    atomic_init(&hand->ends, is_true(&hand->ends));
    atomic_store(&hand->rests, false);
    atomic_store(&hand->waits_for, NULL);
    atomic_store(&hand->under_way, 0);
    atomic_store(&hand->n_acts, n);
    atomic_store(&hand->heeded, qb_min(atomic_load(&hand->heeded), n));
    for (size_t i = 0; i < n; i++)
        mend_act(&hand->acts[i], n_jobs);
    for (size_t i = 0; i < n_jobs; i++)
        if (atomic_load(&hand->claims[i]) != QB_HAND_SKIPPED)
            atomic_store(&hand->claims[i], QB_HAND_FREE);
}
