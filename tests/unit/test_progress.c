/* How a run that is under way is watched: the meter, the line on the terminal, its waits. */
#include <string.h>

#include "base/clock.h"
#include "job/job.h"
#include "text/progress.h"
#include "unit.h"

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static void progress_never_says_that_all_is_done(void)
{
    static struct qb_meter meter;
    struct qb_elapsed e = {4, 4};
    char line[512];

    atomic_init(&meter.written, 400 << 20);
    atomic_init(&meter.clusters, 80000);
    atomic_init(&meter.passed, 1000);
    atomic_init(&meter.done, 1000);
    atomic_init(&meter.failed, 2);
    qb_progress_line(line, sizeof(line), 80, &meter, 1000, e);
    CU_ASSERT(has(line, " 99%  1,000 of 1,000 images, 2 failed"));
    CU_ASSERT(strlen(line) < 80);
    qb_progress_line(line, sizeof(line), 160, &meter, 1000, e);
    CU_ASSERT(has(line, "  250/s  100 MiB/s  20,000 clusters/s"));
    for (unsigned columns = 1; columns < 120; columns++) {
        qb_progress_line(line, sizeof(line), columns, &meter, 1000, e);
        CU_ASSERT(strlen(line) < columns + (columns == 1));
    }
}

static void the_meter_follows_the_bytes_that_are_planned(void)
{
    struct qb_meter meter = {0};
    struct qb_metered large = {0}, small = {0};
    double last = 0;

    CU_ASSERT(qb_meter_share(&meter, 2) == 0);
    qb_meter_plan(&meter, &large, 1 << 30, 0);
    qb_meter_plan(&meter, &small, 0, 0);
    qb_meter_step(&meter, &small, QB_METER_STEPS);
    CU_ASSERT(qb_meter_share(&meter, 2) < 0.01); /* one of two images, and next to nothing */
    for (uint64_t n = 1; n <= 16; n++) {
        qb_meter_bytes(&meter, &large, n << 26, n << 26);
        CU_ASSERT(qb_meter_share(&meter, 2) > last);
        CU_ASSERT_EQUAL(atomic_load(&meter.written), n << 26);
        last = qb_meter_share(&meter, 2);
        CU_ASSERT(last < (double)n / 16 + 0.01 && last > (double)n / 16 - 0.05);
    }
    CU_ASSERT(last < 1); /* the flip and the barriers are yet to come */
    qb_meter_step(&meter, &large, QB_METER_STEPS);
    CU_ASSERT(qb_meter_share(&meter, 2) == 1);
    CU_ASSERT(qb_meter_share(&meter, 4) == 0.5); /* the others are taken for the mean */
}

static void an_image_that_is_put_off_takes_its_work_back(void)
{
    struct qb_meter meter = {0};
    struct qb_metered image = {0};

    qb_meter_plan(&meter, &image, 1000, 1000);
    qb_meter_bytes(&meter, &image, 500, 500);
    qb_meter_again(&meter, &image);
    CU_ASSERT(qb_meter_share(&meter, 1) == 0);
    CU_ASSERT_EQUAL(atomic_load(&meter.work) + atomic_load(&meter.worked), 0);
    CU_ASSERT_EQUAL(atomic_load(&meter.planned), 0);
}

static void the_time_to_come_counts_from_the_first_work(void)
{
    struct qb_meter meter = {0};
    struct qb_metered image = {0};
    char line[512];

    qb_meter_plan(&meter, &image, 1 << 30, 0);
    qb_meter_bytes(&meter, &image, 1 << 28, 1 << 28);
    qb_progress_line(line, sizeof(line), 120, &meter, 1, (struct qb_elapsed){100, 10});
    CU_ASSERT(has(line, "ETA 3"));
    CU_ASSERT(!has(line, " min ")); /* a minute and a half of reading is behind it */
}

static void a_run_that_waits_says_for_what_and_not_how_long(void)
{
    static const char *const said[] = {", waiting for rollout.soak", ", waiting for rollout.gate",
                                       ", waiting for rollout.ask", ", paused"};
    struct qb_elapsed e = {100, 10};
    struct qb_meter meter = {0};
    struct qb_metered image = {0};
    char line[512], status[200];

    qb_meter_plan(&meter, &image, 1 << 30, 0);
    qb_meter_bytes(&meter, &image, 1 << 28, 1 << 28);
    for (unsigned i = 0; i < 4; i++) {
        qb_meter_waits(&meter, QB_WAITS_SOAK + i);
        qb_progress_line(line, sizeof(line), 120, &meter, 1, e);
        qb_progress_status(status, sizeof(status), &meter, 1, e);
        CU_ASSERT(has(line, said[i]) && !has(line, "ETA") && !has(line, "B/s"));
        CU_ASSERT(has(status, said[i]) && !has(status, "ETA"));
    }
    qb_meter_waits(&meter, QB_WAITS_NOT);
    qb_progress_line(line, sizeof(line), 120, &meter, 1, e);
    CU_ASSERT(!has(line, "waiting") && !has(line, "paused") && has(line, "ETA 3"));
}

static void time_in_which_a_run_waits_is_no_time_of_work(void)
{
    struct qb_meter meter = {0};
    struct qb_metered image = {0};
    uint64_t now_ms = (uint64_t)(qb_now() * 1e3);

    qb_meter_waits(&meter, QB_WAITS_WINDOW);
    CU_ASSERT(qb_meter_working(&meter) == 0);
    atomic_store(&meter.waits_from, now_ms - 900 * 1000); /* before there was work */
    qb_meter_waits(&meter, QB_WAITS_NOT);
    qb_meter_plan(&meter, &image, 1 << 30, 0);
    atomic_store(&meter.worked_from, now_ms - 100 * 1000);
    CU_ASSERT(qb_meter_working(&meter) > 99 && qb_meter_working(&meter) < 120);
    qb_meter_waits(&meter, QB_WAITS_SOAK);
    atomic_store(&meter.waits_from, now_ms - 60 * 1000);
    CU_ASSERT(qb_meter_working(&meter) > 39 && qb_meter_working(&meter) < 60);
    qb_meter_waits(&meter, QB_WAITS_PAUSED); /* the same wait */
    qb_meter_waits(&meter, QB_WAITS_NOT);
    CU_ASSERT(qb_meter_working(&meter) > 39 && qb_meter_working(&meter) < 60);
}

static void what_takes_long_is_named_with_the_end_of_its_path(void)
{
    struct qb_job job = {.path = "/srv/vm/a/very/long/way/down/to/db01.qcow2"};
    struct qb_batch batch = {.jobs = &job, .n_jobs = 1};
    static struct qb_meter meter;
    char line[512];

    CU_ASSERT(!qb_progress_slow(line, sizeof(line), 80, &meter, &batch, 0));
    atomic_init(&meter.busy[0].since_ms, 0); /* since the machine was started */
    atomic_init(&meter.busy[0].doing, QB_DOING_WRITING);
    atomic_init(&meter.busy[0].job, 1);
    for (unsigned columns = 10; columns < 120; columns++)
        if (qb_progress_slow(line, sizeof(line), columns, &meter, &batch, 0)) {
            CU_ASSERT(strlen(line) < columns);
            CU_ASSERT(has(line, "  writing, ") && has(line, "qcow2"));
        }
    CU_ASSERT(has(line, job.path));
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(progress_never_says_that_all_is_done),
        UNIT(the_meter_follows_the_bytes_that_are_planned),
        UNIT(an_image_that_is_put_off_takes_its_work_back),
        UNIT(the_time_to_come_counts_from_the_first_work),
        UNIT(a_run_that_waits_says_for_what_and_not_how_long),
        UNIT(time_in_which_a_run_waits_is_no_time_of_work),
        UNIT(what_takes_long_is_named_with_the_end_of_its_path),
    };

    return unit_main("progress", tests, UNIT_COUNT(tests));
}
