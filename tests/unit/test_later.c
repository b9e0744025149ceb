/* Calls that mostly wait are made once each, on more threads than there are workers, unless the
 * user chose the number of workers; and they keep the pace of the run.  So are those of a loop that
 * turn out to. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "host/later.h"
#include "host/sched.h"
#include "host/topo.h"
#include "io/pace.h"
#include "unit.h"

enum { CALLS = 1000, MEETING = 16 }; /* as many as one core has, at least */

struct posted {
    struct qb_sched *sched;
    pthread_t caller;
    size_t n;
    atomic_uint made[CALLS];
    atomic_uint here, met, by_caller;
};

static struct qb_sched *open_sched(unsigned wanted)
{
    struct qb_batch batch = {.n_jobs = CALLS};
    struct qb_sched *s = NULL;
    struct qb_err err;

    CU_ASSERT_EQUAL_FATAL(
        qb_sched_open(qb_topo_open(wanted, &batch), QB_IO_POSIX, false, &s, NULL, &err), 0);
    return s;
}

/* Of this process. */
static unsigned threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    unsigned n = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void count_threads(void *arg)
{
    *(unsigned *)arg = threads();
}

/* One that waits for the first run would spin, as OpenMP has it. */
static void the_threads_of_workers_begin_with_a_run(void)
{
    unsigned before = threads(), during = 0;
    struct qb_sched *s = open_sched(3);

    CU_ASSERT_EQUAL(threads(), before);
    qb_sched_run(s, count_threads, &during);
    CU_ASSERT_EQUAL(during, before + 3); /* and one that sleeps */
    qb_sched_close(s);
}

static void make(void *arg, struct qb_io *io, size_t i)
{
    struct posted *p = arg;

    CU_ASSERT_PTR_NOT_NULL(io);
    if (pthread_equal(pthread_self(), p->caller))
        atomic_fetch_add(&p->by_caller, 1);
    if (i % 10 == 0 || i == CALLS - 1)
        nanosleep(&(struct timespec){.tv_nsec = i == CALLS - 1 ? 100000000 : 1000000}, NULL);
    atomic_fetch_add(&p->made[i], 1);
}

static void post_one(void *arg, struct qb_io *io, size_t i)
{
    struct posted *p = arg;

    qb_sched_later(p->sched, io, make, p, i);
}

static void post_all(void *arg)
{
    struct posted *p = arg;

    p->caller = pthread_self();
    for (unsigned round = 1; round <= 2; round++) {
        qb_sched_each(p->sched, p->n, post_one, p);
        qb_sched_later_wait(p->sched);
        for (size_t i = 0; i < p->n; i++)
            CU_ASSERT_EQUAL(atomic_load(&p->made[i]), round);
    }
}

static void each_call_is_made_once_and_before_the_wait_is_over(void)
{
    struct posted p = {.sched = open_sched(0), .n = CALLS};

    qb_sched_run(p.sched, post_all, &p);
    qb_sched_close(p.sched);
}

/* Comes back when all the others are there, too. */
static void meet(void *arg, struct qb_io *io, size_t i)
{
    struct posted *p = arg;
    double until = qb_now() + 60;

    (void)io;
    (void)i;
    atomic_fetch_add(&p->here, 1);
    while (atomic_load(&p->here) < MEETING && qb_now() < until)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    atomic_fetch_add(&p->met, atomic_load(&p->here) == MEETING);
}

static void post_meeting(void *arg)
{
    struct posted *p = arg;

    for (size_t i = 0; i < MEETING; i++)
        qb_sched_later(p->sched, qb_sched_io(p->sched), meet, p, i);
    qb_sched_later_wait(p->sched);
}

static void more_calls_wait_at_a_time_than_there_are_workers(void)
{
    struct posted p = {.sched = open_sched(0)};

    qb_sched_run(p.sched, post_meeting, &p);
    CU_ASSERT_EQUAL(atomic_load(&p.met), MEETING);
    qb_sched_close(p.sched);
}

static void a_number_of_workers_that_the_user_chose_is_the_number_of_threads(void)
{
    struct posted p = {.sched = open_sched(1), .n = 50};

    qb_sched_run(p.sched, post_all, &p);
    CU_ASSERT_EQUAL(atomic_load(&p.by_caller), 100);
    qb_sched_close(p.sched);
}

static void outside_a_run_it_is_an_ordinary_call(void)
{
    struct posted p = {.sched = open_sched(0), .n = 50};

    post_all(&p);
    CU_ASSERT_EQUAL(atomic_load(&p.by_caller), 100);
    qb_sched_close(p.sched);
}

/* ---- loops whose calls wait ------------------------------------------------------------------ */

/* What the kernel says of the thread: by each call it has waited for a read, or it has not. */
static bool waits;
static _Thread_local long reads;

int __wrap_getrusage(int who, struct rusage *out);
int __real_getrusage(int who, struct rusage *out);

int __wrap_getrusage(int who, struct rusage *out)
{
    int r = __real_getrusage(who, out);

    if (who == RUSAGE_THREAD) {
        out->ru_inblock = waits ? 8 * reads : 0;
        out->ru_nvcsw = reads;
        out->ru_nivcsw = 0;
    }
    return r;
}

struct loops {
    struct qb_sched *sched;
    unsigned most; /* threads that may take part besides the workers */
    atomic_uint here, most_here;
    atomic_uint made[CALLS];
};

static void read_once(void *arg, struct qb_io *io, size_t i)
{
    struct loops *l = arg;
    unsigned here = atomic_fetch_add(&l->here, 1) + 1, most = atomic_load(&l->most_here);

    while (here > most && !atomic_compare_exchange_weak(&l->most_here, &most, here))
        ;
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    reads++;
    CU_ASSERT(qb_sched_number(l->sched, io) < qb_sched_workers(l->sched) + QB_LATER_THREADS);
    atomic_fetch_add(&l->made[i], 1);
    atomic_fetch_sub(&l->here, 1);
}

static void loop_twice(void *arg)
{
    struct loops *l = arg;

    for (unsigned round = 1; round <= 2; round++) {
        qb_sched_each_waiting(l->sched, CALLS, l->most, read_once, l);
        CU_ASSERT_EQUAL(qb_sched_more(l->sched), 0);
        for (size_t i = 0; i < CALLS; i++)
            CU_ASSERT_EQUAL(atomic_load(&l->made[i]), round);
    }
}

static unsigned most_in_a_loop(unsigned wanted, bool reading, unsigned most)
{
    struct loops l = {.sched = open_sched(wanted), .most = most};
    unsigned workers = qb_sched_workers(l.sched), here;

    waits = reading;
    qb_sched_run(l.sched, loop_twice, &l);
    here = atomic_load(&l.most_here);
    qb_sched_close(l.sched);
    return here - QB_MIN(here, workers);
}

static void more_threads_take_part_where_calls_wait_for_reads(void)
{
    CU_ASSERT(most_in_a_loop(0, true, UINT_MAX) >= MEETING / 2);
    CU_ASSERT_EQUAL(most_in_a_loop(0, false, UINT_MAX), 0);
}

static void no_more_than_there_may_be(void)
{
    unsigned more = most_in_a_loop(0, true, 3);

    CU_ASSERT(more > 0 && more <= 3);
    CU_ASSERT_EQUAL(most_in_a_loop(0, true, 0), 0);
    CU_ASSERT_EQUAL(most_in_a_loop(2, true, UINT_MAX), 0);
}

struct paced {
    struct qb_sched *sched;
    struct qb_file files[20];
};

static void punch(void *arg, struct qb_io *io, size_t i)
{
    struct paced *p = arg;
    struct qb_req req = {.file = &p->files[i], .op = QB_OP_PUNCH, .len = 4096};

    CU_ASSERT_EQUAL(qb_io_run(io, &req, 1), 0);
}

static void punch_all(void *arg)
{
    struct paced *p = arg;

    for (size_t i = 0; i < sizeof(p->files) / sizeof(p->files[0]); i++)
        qb_sched_later(p->sched, qb_sched_io(p->sched), punch, p, i);
    qb_sched_later_wait(p->sched);
}

static void the_pace_of_the_run_holds_for_all_of_them(void)
{
    static const struct qb_range all = {0, 4096};
    struct paced p = {.sched = open_sched(0)};
    char path[] = "/tmp/qbatch-later-XXXXXX";
    int fd = mkstemp(path);
    struct qb_pace pace;
    double from;

    CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, 4096) == 0 && unlink(path) == 0);
    for (size_t i = 0; i < sizeof(p.files) / sizeof(p.files[0]); i++)
        p.files[i] = (struct qb_file){
            .fd = fd,
            .size = 4096,
            .guard = {.phase = QB_PHASE_SETTLE, .allowed = &all, .n_allowed = 1, .min_size = 4096}};
    qb_pace_init(&pace, 0, 40);
    qb_sched_set_pace(p.sched, &pace);
    from = qb_now();
    qb_sched_run(p.sched, punch_all, &p);
    CU_ASSERT(qb_now() - from > 0.3); /* 20 at 40 a second, the first tenth of a second at once */
    qb_sched_close(p.sched);
    qb_pace_free(&pace);
    close(fd);
}

static void where_no_thread_can_be_made_the_caller_makes_the_call(void)
{
    struct qb_later later = QB_LATER_NONE;
    struct posted p = {.n = 0};

    CU_ASSERT(!qb_later_post(&later, make, &p, 0));
    qb_later_wait(&later);
    qb_later_end(&later);
    CU_ASSERT_EQUAL(atomic_load(&p.made[0]), 0);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(the_threads_of_workers_begin_with_a_run),
        UNIT(each_call_is_made_once_and_before_the_wait_is_over),
        UNIT(more_calls_wait_at_a_time_than_there_are_workers),
        UNIT(a_number_of_workers_that_the_user_chose_is_the_number_of_threads),
        UNIT(outside_a_run_it_is_an_ordinary_call),
        UNIT(more_threads_take_part_where_calls_wait_for_reads),
        UNIT(no_more_than_there_may_be),
        UNIT(the_pace_of_the_run_holds_for_all_of_them),
        UNIT(where_no_thread_can_be_made_the_caller_makes_the_call),
    };

    return unit_main("later", tests, UNIT_COUNT(tests));
}
