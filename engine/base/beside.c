#include "base/beside.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <signal.h>
#include <unistd.h>

#include "base/num.h"

/* Who forks comes before those that would go on working. */
#define UNLOCKED PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP

static pthread_rwlock_t forking = UNLOCKED;

struct begin {
    void *(*fn)(void *);
    void *arg;
    sem_t begun;
};

static void *begin(void *arg)
{
    struct begin *b = arg;
    void *(*fn)(void *) = b->fn, *its = b->arg;

    sem_post(&b->begun); /* b is gone from here on */
    return fn(its);
}

int qb_beside_start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    struct begin b = {.fn = fn, .arg = arg};
    sigset_t all, old;
    int errnum;

    sem_init(&b.begun, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    errnum = pthread_create(thread, NULL, begin, &b);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    while (errnum == 0 && sem_wait(&b.begun) < 0 && errno == EINTR)
        ;
    sem_destroy(&b.begun);
    return errnum;
}

void qb_beside_work(void)
{
    pthread_rwlock_rdlock(&forking);
}

void qb_beside_rest(void)
{
    pthread_rwlock_unlock(&forking);
}

enum { OTHERS_MAX = 16, TAKEN_AT_ONCE = 16 };

struct each {
    size_t n;
    atomic_size_t next;
    void (*fn)(void *arg, size_t i);
    void *arg;
};

static void *take_some(void *arg)
{
    struct each *each = arg;

    for (size_t i; (i = atomic_fetch_add(&each->next, TAKEN_AT_ONCE)) < each->n;)
        for (size_t end = qb_min(i + TAKEN_AT_ONCE, each->n); i < end; i++)
            each->fn(each->arg, i);
    return NULL;
}

void qb_beside_each(size_t n, unsigned others, void (*fn)(void *arg, size_t i), void *arg)
{
    struct each each = {.n = n, .fn = fn, .arg = arg};
    pthread_t threads[OTHERS_MAX];
    unsigned begun = 0;

    others = (unsigned)qb_min(others, OTHERS_MAX);
    while (begun < others && qb_beside_start(&threads[begun], take_some, &each) == 0)
        begun++;
    take_some(&each);
    for (unsigned i = 0; i < begun; i++)
        pthread_join(threads[i], NULL);
}

/* The lock remembers who holds it, and the child's thread is another one. */
pid_t qb_fork(void)
{
    int errnum;
    pid_t pid;

    pthread_rwlock_wrlock(&forking);
    pid = fork();
    errnum = errno;
    if (pid == 0)
        forking = (pthread_rwlock_t)UNLOCKED;
    else
        pthread_rwlock_unlock(&forking);
    errno = errnum;
    return pid;
}
