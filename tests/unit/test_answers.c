/* Tests that the answers of a check come in the order of the images, and how much may wait. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "look/answers.h"
#include "unit.h"

enum { N = 6 };

struct told {
    size_t order[N], n;
};

static void on_answer(void *arg, size_t image, const struct qb_answer *answer)
{
    struct told *t = arg;

    CU_ASSERT_EQUAL(answer->len, image);
    t->order[t->n++] = image;
}

static void put(struct qb_answers *a, size_t i)
{
    struct qb_answer answer = {.text = calloc(1, i + 1), .len = i};

    qb_answers_put(a, i, &answer);
    CU_ASSERT_PTR_NULL(answer.text);
}

static void answers_come_in_the_order_of_the_images(void)
{
    struct told t = {.n = 0};
    struct qb_answers *a = qb_answers_new(N, 1 << 20, on_answer, &t);

    put(a, 2);
    put(a, 1);
    put(a, 4);
    CU_ASSERT_EQUAL(t.n, 0);
    put(a, 0);
    CU_ASSERT_EQUAL(t.n, 3);
    put(a, 3);
    CU_ASSERT_EQUAL(t.n, 5);
    put(a, 5);
    for (size_t i = 0; i < N; i++)
        CU_ASSERT_EQUAL(t.order[i], i);
    qb_answers_end(a);
    CU_ASSERT_EQUAL(t.n, N);
    qb_answers_free(a);
}

static void the_end_passes_over_images_without_an_answer(void)
{
    struct told t = {.n = 0};
    struct qb_answers *a = qb_answers_new(N, 1 << 20, on_answer, &t);

    put(a, 0);
    put(a, 4);
    put(a, 2);
    qb_answers_end(a);
    CU_ASSERT_EQUAL(t.n, 3);
    CU_ASSERT_EQUAL(t.order[1], 2);
    CU_ASSERT_EQUAL(t.order[2], 4);
    qb_answers_free(a);
}

static void what_still_waits_is_freed(void)
{
    struct told t = {.n = 0};
    struct qb_answers *a = qb_answers_new(N, 1 << 20, on_answer, &t);

    put(a, 3);
    qb_answers_free(a);
    CU_ASSERT_EQUAL(t.n, 0);
}

/* ---- how much may wait ----------------------------------------------------------------------- */

struct waiter {
    struct qb_answers *answers;
    size_t image;
    atomic_uint asked; /* how often it would have waited */
    atomic_bool stop, through;
};

static bool stopped(void *arg)
{
    struct waiter *w = arg;

    atomic_fetch_add(&w->asked, 1);
    return atomic_load(&w->stop);
}

static void *wait_for_room(void *arg)
{
    struct waiter *w = arg;

    qb_answers_wait(w->answers, w->image, stopped, w);
    atomic_store(&w->through, true);
    return NULL;
}

static void start(struct waiter *w, pthread_t *thread)
{
    pthread_create(thread, NULL, wait_for_room, w);
    while (atomic_load(&w->asked) == 0 && !atomic_load(&w->through))
        sched_yield();
}

static void an_image_waits_while_too_much_is_held(void)
{
    struct told t = {.n = 0};
    struct waiter w = {.answers = qb_answers_new(N, 1, on_answer, &t), .image = 3};
    pthread_t thread;

    qb_answers_wait(w.answers, 0, stopped, &w); /* nothing is held yet */
    qb_answers_wait(w.answers, 1, stopped, &w);
    put(w.answers, 1);
    qb_answers_wait(w.answers, 0, stopped, &w); /* its turn is next, whatever is held */
    CU_ASSERT_EQUAL(atomic_load(&w.asked), 0);
    start(&w, &thread);
    CU_ASSERT_FALSE(atomic_load(&w.through));
    put(w.answers, 0);
    pthread_join(thread, NULL);
    CU_ASSERT_TRUE(atomic_load(&w.through));
    qb_answers_free(w.answers);
}

/* What the files of reports have about an image waits as well. */
static void texts_for_files_are_held_too(void)
{
    enum { LONG = 100000 };
    struct told t = {.n = 0};
    struct waiter w = {.answers = qb_answers_new(N, LONG, on_answer, &t), .image = 3, .stop = true};
    struct qb_answer answer = {.len = 1, .files[QB_SINK_report] = {calloc(1, LONG), LONG}};

    put(w.answers, 2);
    qb_answers_wait(w.answers, 3, stopped, &w);
    CU_ASSERT_EQUAL(atomic_load(&w.asked), 0);
    qb_answers_put(w.answers, 1, &answer);
    CU_ASSERT_PTR_NULL(answer.files[QB_SINK_report].text);
    qb_answers_wait(w.answers, 3, stopped, &w); /* would wait, and is stopped */
    CU_ASSERT_EQUAL(atomic_load(&w.asked), 1);
    put(w.answers, 0);
    CU_ASSERT_EQUAL(t.n, 3);
    qb_answers_free(w.answers);
}

static void who_waits_is_woken_by_a_stop(void)
{
    struct told t = {.n = 0};
    struct waiter w = {.answers = qb_answers_new(N, 1, on_answer, &t), .image = 3};
    pthread_t thread;

    put(w.answers, 1);
    start(&w, &thread);
    CU_ASSERT_FALSE(atomic_load(&w.through));
    atomic_store(&w.stop, true);
    qb_answers_wake(w.answers);
    pthread_join(thread, NULL);
    qb_answers_free(w.answers);
}

/* ---- parts ----------------------------------------------------------------------------------- */

static void *pass_a_part(void *arg)
{
    struct waiter *w = arg;
    const struct qb_answer part = {.len = w->image, .is_part = true};

    atomic_store(&w->through, qb_answers_part(w->answers, w->image, &part, stopped, w));
    return NULL;
}

static void a_part_waits_for_its_turn_and_is_not_the_end(void)
{
    struct told t = {.n = 0};
    struct waiter w = {.answers = qb_answers_new(N, 1 << 20, on_answer, &t), .image = 1};
    pthread_t thread;

    pthread_create(&thread, NULL, pass_a_part, &w);
    while (atomic_load(&w.asked) == 0)
        sched_yield();
    put(w.answers, 0);
    pthread_join(thread, NULL);
    CU_ASSERT_TRUE(atomic_load(&w.through));
    CU_ASSERT_EQUAL(t.n, 2);
    put(w.answers, 1);
    CU_ASSERT_EQUAL(t.n, 3);
    CU_ASSERT_EQUAL(t.order[1], 1);
    CU_ASSERT_EQUAL(t.order[2], 1);
    qb_answers_free(w.answers);
}

static void a_part_is_not_shown_after_a_stop(void)
{
    struct told t = {.n = 0};
    struct waiter w = {.answers = qb_answers_new(N, 1 << 20, on_answer, &t), .image = 1};
    pthread_t thread;

    pthread_create(&thread, NULL, pass_a_part, &w);
    while (atomic_load(&w.asked) == 0)
        sched_yield();
    atomic_store(&w.stop, true);
    qb_answers_wake(w.answers);
    pthread_join(thread, NULL);
    CU_ASSERT_FALSE(atomic_load(&w.through));
    CU_ASSERT_EQUAL(t.n, 0);
    qb_answers_free(w.answers);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(answers_come_in_the_order_of_the_images),
        UNIT(the_end_passes_over_images_without_an_answer),
        UNIT(what_still_waits_is_freed),
        UNIT(an_image_waits_while_too_much_is_held),
        UNIT(texts_for_files_are_held_too),
        UNIT(who_waits_is_woken_by_a_stop),
        UNIT(a_part_waits_for_its_turn_and_is_not_the_end),
        UNIT(a_part_is_not_shown_after_a_stop),
    };

    alarm(60); /* who is not woken waits for ever */
    return unit_main("answers", tests, UNIT_COUNT(tests));
}
