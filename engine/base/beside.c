#include "base/beside.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

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
