/* Images that are opened before their turn, for `check`, `info` and `map`. */
#include <poll.h>

#include "look/each_ahead.h"
#include "opening.h"

enum { JOBS = 1000, IMAGE = 7, READ = 8 }; /* the others cannot be opened */

static struct qb_job jobs[JOBS];
static const struct qb_batch batch = {.jobs = jobs, .n_jobs = JOBS};

static void name_jobs(void)
{
    for (size_t i = 0; i < JOBS; i++)
        jobs[i].path = other_path;
    jobs[IMAGE].path = image_path;
    jobs[READ].path = read_path;
}

static bool is_there(struct qb_each_ahead *a, struct opening *o, size_t i)
{
    struct qb_file file = qb_each_ahead_take(a, o->io, i);
    bool there = file.fd >= 0;

    if (there)
        CU_ASSERT_STRING_EQUAL(file.path, jobs[i].path);
    qb_file_close(&file);
    return there;
}

static void an_image_is_opened_ahead_and_taken_once(void)
{
    struct qb_each_ahead *a;
    struct opening o;

    begin(&o);
    name_jobs();
    a = qb_each_ahead_new(&batch);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_FALSE(is_there(a, &o, 0)); /* has the others opened */
    CU_ASSERT_FALSE(is_there(a, &o, 1));
    CU_ASSERT_TRUE(is_there(a, &o, IMAGE));
    CU_ASSERT_FALSE(is_there(a, &o, IMAGE));
    CU_ASSERT_TRUE(is_there(a, &o, READ));
    CU_ASSERT_FALSE(is_there(a, &o, JOBS - 1));
    qb_each_ahead_free(a);
    end(&o);
}

static void one_whose_turn_has_come_already_is_not_kept(void)
{
    struct qb_each_ahead *a;
    struct opening o;

    begin(&o);
    name_jobs();
    a = qb_each_ahead_new(&batch);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_FALSE(is_there(a, &o, IMAGE)); /* the first: it is its turn */
    CU_ASSERT_FALSE(is_there(a, &o, IMAGE));
    CU_ASSERT_TRUE(is_there(a, &o, READ));
    qb_each_ahead_free(a);
    end(&o);
}

static void no_image_is_taken_for_another(void)
{
    struct qb_each_ahead *a;
    struct opening o;

    begin(&o);
    name_jobs();
    a = qb_each_ahead_new(&batch);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_FALSE(is_there(a, &o, 0));
    for (size_t i = JOBS - 1; i > READ; i--)
        CU_ASSERT_FALSE(is_there(a, &o, i));
    qb_each_ahead_free(a);
    end(&o);
}

/* Only then its path is looked at: another file may be there. */
static void wait_for_some_time(void)
{
    poll(NULL, 0, 200);
}

static void one_that_waits_is_still_at_its_path_or_not_taken(void)
{
    struct qb_each_ahead *a;
    struct opening o;

    begin(&o);
    name_jobs();
    a = qb_each_ahead_new(&batch);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_FALSE(is_there(a, &o, 0));
    CU_ASSERT_EQUAL(rename(other_path, read_path), 0);
    wait_for_some_time();
    CU_ASSERT_TRUE(is_there(a, &o, IMAGE));
    CU_ASSERT_FALSE(is_there(a, &o, READ));
    put(other_path);
    qb_each_ahead_free(a);
    end(&o);
}

static void without_a_helper_nothing_is_opened(void)
{
    struct qb_each_ahead *a = qb_each_ahead_new(&batch);
    struct opening o = {.io = NULL};

    name_jobs();
    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &o.io, NULL, NULL), 0);
    CU_ASSERT_FALSE(is_there(a, &o, 0));
    CU_ASSERT_FALSE(is_there(a, &o, IMAGE));
    CU_ASSERT_FALSE(is_there(NULL, &o, READ));
    qb_io_close(o.io);
    qb_each_ahead_free(a);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(an_image_is_opened_ahead_and_taken_once),
        UNIT(one_whose_turn_has_come_already_is_not_kept),
        UNIT(no_image_is_taken_for_another),
        UNIT(one_that_waits_is_still_at_its_path_or_not_taken),
        UNIT(without_a_helper_nothing_is_opened),
    };

    return opening_main("each_ahead", tests, UNIT_COUNT(tests));
}
