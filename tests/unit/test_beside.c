/* A fork sees no other thread at work, and does not wait for ever for one that always is. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/beside.h"
#include "unit.h"

enum { FORKS = 100, THREADS = 2 };

static atomic_int at_work;
static atomic_bool over;

/* Nearly always at work. */
static void *work(void *arg)
{
    while (!atomic_load(&over)) {
        qb_beside_work();
        atomic_fetch_add(&at_work, 1);
        for (volatile int i = 0; i < 20000; i++)
            ;
        atomic_fetch_sub(&at_work, 1);
        qb_beside_rest();
    }
    return arg;
}

/* What the child saw: its exit code. */
static int fork_once(void)
{
    pid_t pid = qb_fork();
    int status = -1;

    if (pid == 0) {
        int seen = atomic_load(&at_work);

        qb_beside_work(); /* a child may have threads of its own, and children */
        qb_beside_rest();
        _exit(seen);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static void a_child_begins_while_nobody_works(void)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(qb_beside_start(&threads[i], work, NULL), 0);
    for (int i = 0; i < FORKS; i++)
        CU_ASSERT_EQUAL(fork_once(), 0);
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void *note_signals(void *arg)
{
    sigset_t now;

    pthread_sigmask(SIG_SETMASK, NULL, &now);
    *(bool *)arg = sigismember(&now, SIGINT) && sigismember(&now, SIGTERM);
    return NULL;
}

static void signals_are_for_the_threads_that_were_there(void)
{
    bool blocked = false;
    pthread_t thread;
    sigset_t now;

    CU_ASSERT_EQUAL_FATAL(qb_beside_start(&thread, note_signals, &blocked), 0);
    pthread_join(thread, NULL);
    CU_ASSERT(blocked);
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    CU_ASSERT(!sigismember(&now, SIGINT));
}

enum { CALLS = 1000 };

struct counted {
    atomic_uint calls[CALLS];
    atomic_uint all;
};

static void count(void *arg, size_t i)
{
    struct counted *c = arg;

    atomic_fetch_add(&c->calls[i], 1);
    atomic_fetch_add(&c->all, 1);
}

static void each_call_is_made_once_however_many_threads_there_are(void)
{
    static const unsigned others[] = {0, 1, 3, 1000};
    static const size_t n[] = {0, 1, 15, 16, 17, CALLS};

    for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++)
        for (size_t j = 0; j < sizeof(n) / sizeof(n[0]); j++) {
            static struct counted c;

            memset(&c, 0, sizeof(c));
            qb_beside_each(n[j], others[k], count, &c);
            CU_ASSERT_EQUAL(atomic_load(&c.all), n[j]);
            for (size_t i = 0; i < n[j]; i++)
                CU_ASSERT_EQUAL(atomic_load(&c.calls[i]), 1);
        }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_child_begins_while_nobody_works),
        UNIT(signals_are_for_the_threads_that_were_there),
        UNIT(each_call_is_made_once_however_many_threads_there_are),
    };

    return unit_main("beside", tests, UNIT_COUNT(tests));
}
