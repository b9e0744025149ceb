/* Threads that help one worker: what is recompressed does not depend on how many there are, and in
 * which order; and a worker's own loop gets all threads that the run may have, and no more. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "amends.h"
#include "base/clock.h"
#include "host/sched.h"
#include "host/topo.h"
#include "io/budget.h"
#include "io/crew.h"
#include "unit.h"

/* A crew that there is not: all parts are computed by the caller, backwards, each as if by another
 * thread. */
struct pretended {
    unsigned hands;
    size_t loops, parts, largest;
};

static unsigned pretend_hands(void *arg)
{
    return ((struct pretended *)arg)->hands;
}

static double pretend_each(void *arg, size_t n, unsigned hands, qb_part_fn *fn, void *fn_arg)
{
    struct pretended *p = arg;

    CU_ASSERT(hands <= p->hands);
    p->loops++;
    p->parts += n;
    p->largest = QB_MAX(p->largest, n);
    for (size_t i = n; i-- > 0;)
        fn(fn_arg, (unsigned)(i % hands), i);
    return 1000;
}

static struct subject of(const char *recipe, const char *wish)
{
    size_t i = 0, k = 0;

    while (strcmp(recipes[i].name, recipe) != 0)
        i++;
    while (strcmp(wishes[k].name, wish) != 0)
        k++;
    return subject_of(&recipes[i], &wishes[k]);
}

/* The subject amended by so many hands; the image's bytes, owned. */
static struct image_bytes amended_by(const struct subject *s, struct pretended *p)
{
    struct qb_crew crew = {pretend_hands, pretend_each, p};
    struct qb_mem_log *log = run_machine(&s->image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, 0);
    struct image_bytes now, copy;

    qb_io_set_crew(io, p ? &crew : NULL);
    CU_ASSERT_EQUAL_FATAL(qb_amend_plan(a, io, &s->rq), 0);
    CU_ASSERT_EQUAL_FATAL(qb_amend_append(a, io), 0);
    CU_ASSERT_EQUAL_FATAL(qb_amend_flip(a, io), 0);
    now = run_content(log, 0);
    copy = image_bytes_copy(&now);
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    return copy;
}

static void recompressed_clusters_are_the_same_by_any_number_of_threads(void)
{
    static const char *const names[] = {"compressed", "compressed, clusters of 4 KiB"};

    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        struct subject s = of(names[i], "zstd");
        struct image_bytes alone = amended_by(&s, NULL);

        for (unsigned hands = 1; hands < 6; hands++) {
            struct pretended p = {.hands = hands};
            struct image_bytes now = amended_by(&s, &p);

            CU_ASSERT_EQUAL_FATAL(now.size, alone.size);
            CU_ASSERT_EQUAL(memcmp(now.bytes, alone.bytes, now.size), 0);
            CU_ASSERT_EQUAL(p.loops > 0, hands > 1);
            CU_ASSERT(hands == 1 || p.largest > 1);
            image_bytes_free(&now);
        }
        image_bytes_free(&alone);
        subject_free(&s);
    }
}

/* Whether the subject can be amended with so much memory; *held: what its plan has of it. */
static bool is_amended_within(const struct subject *s, uint64_t limit, struct pretended *p,
                              uint64_t *held)
{
    struct qb_crew crew = {pretend_hands, pretend_each, p};
    struct qb_mem_log *log = run_machine(&s->image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, 0);
    struct qb_request rq = s->rq;
    int rc;

    rq.memory_limit = limit;
    qb_io_set_crew(io, &crew);
    rc = qb_amend_plan(a, io, &rq);
    CU_ASSERT(rc == 0 || qb_amend_result(a)->err.code == QB_E_MEMORY);
    *held = qb_amend_memory(a);
    CU_ASSERT(*held < limit + (1 << 20));
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    return rc == 0;
}

static void where_memory_is_short_fewer_threads_take_part(void)
{
    struct subject s = of("compressed", "zstd");
    uint64_t least = 1 << 20, held, more;
    struct pretended alone = {.hands = 1}, many = {.hands = 1000}, p = {.hands = 1000};
    struct pretended two = {.hands = 2};

    while (!is_amended_within(&s, least, &alone, &held))
        least += 64 << 10;
    CU_ASSERT(is_amended_within(&s, least, &many, &held));
    CU_ASSERT_EQUAL(many.loops, 0);
    CU_ASSERT(is_amended_within(&s, least * 8, &p, &more));
    CU_ASSERT(p.loops > 0);
    CU_ASSERT(is_amended_within(&s, least * 8, &two, &more));
    CU_ASSERT(more > held + (6 << 20)); /* two codecs, and a thousand clusters of 512 bytes */
    subject_free(&s);
}

/* ---- a scheduler ----------------------------------------------------------------------------- */

enum { PARTS = 200, JOBS = 3 };

struct counted {
    struct qb_sched *sched;
    atomic_uint done[PARTS], held[8]; /* by part, by `who` */
    atomic_uint inside, most;
    unsigned expected; /* threads that have to be inside together; 0: any number */
    unsigned hands;    /* that the loop asks for; 0: all */
    atomic_bool gave_up;
};

static const struct timespec a_millisecond = {.tv_nsec = 1000000};

static bool all_are_inside(struct counted *c)
{
    for (unsigned i = 0; i < 10000 && !atomic_load(&c->gave_up); i++) {
        if (atomic_load(&c->most) >= c->expected)
            return true;
        nanosleep(&a_millisecond, NULL);
    }
    atomic_store(&c->gave_up, true);
    return false;
}

/* A helper takes so long that its part is the last one. */

static void count_part(void *arg, unsigned who, size_t i)
{
    struct counted *c = arg;
    unsigned now = atomic_fetch_add(&c->inside, 1) + 1, most = atomic_load(&c->most);

    while (now > most && !atomic_compare_exchange_weak(&c->most, &most, now))
        ;
    CU_ASSERT_FATAL(who < UNIT_COUNT(c->held));
    CU_ASSERT_EQUAL(atomic_fetch_add(&c->held[who], 1), 0);
    atomic_fetch_add(&c->done[i], 1);
    CU_ASSERT(all_are_inside(c));
    if (who > 0)
        nanosleep(&a_millisecond, NULL);
    atomic_fetch_sub(&c->held[who], 1);
    atomic_fetch_sub(&c->inside, 1);
}

static struct qb_sched *open_sched(unsigned wanted, size_t images)
{
    struct qb_batch batch = {.n_jobs = 0};
    struct qb_sched *s = NULL;
    struct qb_err err;

    batch.n_jobs = images;
    CU_ASSERT_EQUAL_FATAL(
        qb_sched_open(qb_topo_open(wanted, &batch), QB_IO_POSIX, false, &s, NULL, &err), 0);
    return s;
}

static void count_alone(void *arg)
{
    struct counted *c = arg;
    struct qb_io *io = qb_sched_io(c->sched);

    qb_io_each(io, PARTS, c->hands ? c->hands : qb_io_hands(io), count_part, c);
    CU_ASSERT_EQUAL(atomic_load(&c->inside), 0);
}

static void the_loop_of_an_image_that_is_alone_has_all_threads_that_are_asked_for(void)
{
    for (unsigned wanted = 1; wanted <= 4; wanted++) {
        struct counted c = {.sched = open_sched(wanted, 1), .expected = wanted};

        CU_ASSERT_EQUAL(qb_sched_workers(c.sched), 1);
        qb_sched_run(c.sched, count_alone, &c);
        CU_ASSERT_EQUAL(atomic_load(&c.most), wanted);
        for (size_t i = 0; i < PARTS; i++)
            CU_ASSERT_EQUAL(atomic_load(&c.done[i]), 1);
        qb_sched_close(c.sched);
    }
}

static void burn(void *arg, unsigned who, size_t i)
{
    double until = qb_thread_seconds() + 0.01;

    (void)i;
    while (qb_thread_seconds() < until)
        ;
    if (who > 0)
        atomic_fetch_add((atomic_uint *)arg, 1);
}

static void burn_alone(void *arg)
{
    struct counted *c = arg;
    struct qb_budget budget = {.cpu_seconds = 60};
    struct qb_io *io = qb_sched_io(c->sched);

    qb_io_set_budget(io, &budget);
    qb_io_each(io, 20, 2, burn, &c->most);
    CU_ASSERT(budget.used_seconds >= 0.01 * atomic_load(&c->most));
    CU_ASSERT(atomic_load(&c->most) > 0);
    qb_io_set_budget(io, NULL);
}

static void what_helpers_take_counts_as_the_images_processor_time(void)
{
    struct pretended p = {.hands = 2};
    struct qb_crew crew = {pretend_hands, pretend_each, &p};
    struct qb_budget budget = {.cpu_seconds = 60};
    struct counted c = {.sched = open_sched(2, 1)};
    struct qb_io *io = qb_sched_io(c.sched);

    qb_sched_run(c.sched, burn_alone, &c);
    qb_io_set_crew(io, &crew);
    qb_io_set_budget(io, &budget);
    qb_io_each(io, 2, 2, burn, &c.most);
    CU_ASSERT(qb_budget_is_spent(&budget));
    qb_io_set_budget(io, NULL);
    qb_sched_close(c.sched);
}

static void a_loop_has_no_more_threads_than_it_asks_for(void)
{
    struct counted c = {.sched = open_sched(4, 1), .expected = 2, .hands = 2};

    qb_sched_run(c.sched, count_alone, &c);
    CU_ASSERT_EQUAL(atomic_load(&c.most), 2);
    qb_sched_close(c.sched);
}

static void outside_a_run_a_loop_is_the_callers_alone(void)
{
    struct counted c = {.sched = open_sched(4, 1)};

    count_alone(&c);
    CU_ASSERT_EQUAL(atomic_load(&c.most), 1);
    qb_sched_close(c.sched);
}

struct fleet {
    struct qb_sched *sched;
    atomic_uint inside, most;
    struct of_image {
        struct fleet *fleet;
        struct counted counted;
    } images[JOBS];
};

static void count_of_fleet(void *arg, unsigned who, size_t i)
{
    struct of_image *image = arg;
    struct fleet *f = image->fleet;
    unsigned now = atomic_fetch_add(&f->inside, 1) + 1, most = atomic_load(&f->most);

    while (now > most && !atomic_compare_exchange_weak(&f->most, &most, now))
        ;
    count_part(&image->counted, who, i);
    atomic_fetch_sub(&f->inside, 1);
}

static void amend_one(void *arg, struct qb_io *io, size_t i)
{
    struct fleet *f = arg;

    f->images[i].fleet = f;
    qb_io_each(io, PARTS, 2, count_of_fleet, &f->images[i]);
}

static void amend_fleet(void *arg)
{
    struct fleet *f = arg;

    for (unsigned round = 0; round < 20; round++)
        qb_sched_each(f->sched, JOBS, amend_one, f);
}

static void many_loops_at_once_have_no_more_threads_than_the_run(void)
{
    struct fleet f = {.sched = open_sched(4, JOBS)};

    CU_ASSERT_EQUAL(qb_sched_workers(f.sched), JOBS);
    qb_sched_run(f.sched, amend_fleet, &f);
    CU_ASSERT(atomic_load(&f.most) <= 4);
    for (size_t k = 0; k < JOBS; k++) {
        CU_ASSERT(atomic_load(&f.images[k].counted.most) <= 2);
        for (size_t i = 0; i < PARTS; i++)
            CU_ASSERT_EQUAL(atomic_load(&f.images[k].counted.done[i]), 20);
    }
    qb_sched_close(f.sched);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(recompressed_clusters_are_the_same_by_any_number_of_threads),
        UNIT(where_memory_is_short_fewer_threads_take_part),
        UNIT(the_loop_of_an_image_that_is_alone_has_all_threads_that_are_asked_for),
        UNIT(what_helpers_take_counts_as_the_images_processor_time),
        UNIT(a_loop_has_no_more_threads_than_it_asks_for),
        UNIT(outside_a_run_a_loop_is_the_callers_alone),
        UNIT(many_loops_at_once_have_no_more_threads_than_the_run),
    };
    int rc;

    amends_begin();
    rc = unit_main("crew", tests, UNIT_COUNT(tests));
    amends_end();
    return rc;
}
