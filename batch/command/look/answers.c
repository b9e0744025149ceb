#include "look/answers.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/own.h"

struct qb_answers {
    pthread_mutex_t mutex;
    pthread_cond_t room; /* some were passed on, or the check stops */
    qb_answer_fn *fn;
    void *arg;
    uint64_t held, most; /* bytes of answers that wait */
    size_t n, next;
    struct qb_answer *waiting[]; /* NULL: not there, or passed on */
};

struct qb_answers *qb_answers_new(size_t n, uint64_t most, qb_answer_fn *fn, void *arg)
{
    struct qb_answers *a = calloc(1, sizeof(*a) + n * sizeof(a->waiting[0]));

    if (!a)
        return NULL;
    pthread_mutex_init(&a->mutex, NULL);
    pthread_cond_init(&a->room, NULL);
    a->n = n;
    a->most = most;
    a->fn = fn;
    a->arg = arg;
    return a;
}

void qb_answer_clear(struct qb_answer *answer)
{
    free(qb_take(&answer->text));
    free(qb_take(&answer->failure));
    for (size_t i = 0; i < QB_SINK_COUNT; i++)
        free(qb_take(&answer->files[i].text));
}

static void drop(struct qb_answer *answer)
{
    if (!answer)
        return;
    qb_answer_clear(answer);
    free(answer);
}

void qb_answers_free(struct qb_answers *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n; i++)
        drop(a->waiting[i]);
    pthread_cond_destroy(&a->room);
    pthread_mutex_destroy(&a->mutex);
    free(a);
}

void qb_answers_wait(struct qb_answers *a, size_t i, bool (*stopped)(void *arg), void *arg)
{
    pthread_mutex_lock(&a->mutex);
    while (a->held > a->most && a->next != i && !stopped(arg))
        pthread_cond_wait(&a->room, &a->mutex);
    pthread_mutex_unlock(&a->mutex);
}

static uint64_t size_of(const struct qb_answer *answer)
{
    uint64_t bytes = sizeof(*answer) + answer->len;

    for (size_t i = 0; i < QB_SINK_COUNT; i++)
        bytes += answer->files[i].len;
    return bytes;
}

static void pass_on(struct qb_answers *a, size_t i, struct qb_answer *answer)
{
    a->fn(a->arg, i, answer);
    qb_answer_clear(answer);
}

/* Those that waited for this one. */
static void pass_next(struct qb_answers *a)
{
    while (a->next < a->n && a->waiting[a->next]) {
        struct qb_answer *answer = qb_take(&a->waiting[a->next]);

        a->held -= size_of(answer);
        pass_on(a, a->next++, answer);
        drop(answer);
    }
    pthread_cond_broadcast(&a->room);
}

/* Without memory to keep it, it is passed on at once: out of its order, but not lost. */
static void keep(struct qb_answers *a, size_t i, struct qb_answer *answer)
{
    struct qb_answer *kept = malloc(sizeof(*kept));

    if (!kept) {
        pass_on(a, i, answer);
        return;
    }
    *kept = *answer;
    *answer = (struct qb_answer){0};
    a->held += size_of(kept);
    a->waiting[i] = kept;
}

void qb_answers_put(struct qb_answers *a, size_t i, struct qb_answer *answer)
{
    pthread_mutex_lock(&a->mutex);
    if (i == a->next) {
        a->next++;
        pass_on(a, i, answer);
        pass_next(a);
    } else {
        keep(a, i, answer);
    }
    pthread_mutex_unlock(&a->mutex);
}

bool qb_answers_part(struct qb_answers *a, size_t i, const struct qb_answer *part,
                     bool (*stopped)(void *arg), void *arg)
{
    bool is_next;

    pthread_mutex_lock(&a->mutex);
    while (a->next != i && !stopped(arg))
        pthread_cond_wait(&a->room, &a->mutex);
    is_next = a->next == i && !stopped(arg);
    if (is_next)
        a->fn(a->arg, i, part);
    pthread_mutex_unlock(&a->mutex);
    return is_next;
}

size_t qb_answers_turn(struct qb_answers *a)
{
    size_t next;

    pthread_mutex_lock(&a->mutex);
    next = a->next;
    pthread_mutex_unlock(&a->mutex);
    return next;
}

bool qb_answers_has(struct qb_answers *a, size_t i)
{
    bool has;

    pthread_mutex_lock(&a->mutex);
    has = i < a->next || a->waiting[i];
    pthread_mutex_unlock(&a->mutex);
    return has;
}

uint64_t qb_answers_held(struct qb_answers *a)
{
    uint64_t held;

    pthread_mutex_lock(&a->mutex);
    held = a->held;
    pthread_mutex_unlock(&a->mutex);
    return held;
}

void qb_answers_mirror(struct qb_answers *a, qb_answer_fn *fn, void *arg)
{
    a->fn = fn;
    a->arg = arg;
    for (size_t i = a->next; i < a->n; i++)
        if (a->waiting[i])
            qb_answer_clear(a->waiting[i]);
}

void qb_answers_wake(struct qb_answers *a)
{
    pthread_mutex_lock(&a->mutex);
    pthread_cond_broadcast(&a->room);
    pthread_mutex_unlock(&a->mutex);
}

void qb_answers_end(struct qb_answers *a)
{
    for (; a->next < a->n; a->next++)
        pass_next(a);
}
