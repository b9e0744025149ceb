/* Limits that are set while a run is in progress. */
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "asked_run.h"
#include "job/keys.h"
#include "util/signal.h"

/* ---- limits ---------------------------------------------------------------------------------- */

static void limits_are_set_and_handed_on(void)
{
    struct qb_ctl_scene scene = begin_asked();

    ASSERT_SAYS(ask_run(&scene, LIMITS("\"rate=50M\",\"wave=7\",\"per_image.cpu=2m\""), true),
                "rate=52428800, wave=7, per_image.cpu=120;");
    CU_ASSERT_EQUAL(run.limits.rate, 50 << 20);
    CU_ASSERT_EQUAL(run.limits.wave, 7);
    CU_ASSERT_EQUAL(run.hand.pace.bytes_per_second, 50 << 20);
    CU_ASSERT_EQUAL(run.hand.n_acts, 3);
    CU_ASSERT_STRING_EQUAL(run.hand.acts[0].what, "limits rate=52428800");
    CU_ASSERT_STRING_EQUAL(run.hand.acts[1].key->name, "wave");
    ASSERT_SAYS(ask_run(&scene, LIMITS("\"rate=50M\""), true), "already");
    CU_ASSERT_EQUAL(run.hand.n_acts, 3);
    ask_run(&scene, LIMITS("\"iops=100\""), true);
    CU_ASSERT_EQUAL(run.hand.pace.bytes_per_second, 50 << 20);
    CU_ASSERT_EQUAL(run.hand.pace.ops_per_second, 100);
    CU_ASSERT_EQUAL(run.deadline, -1); /* it was not asked for */
    end_asked();
}

static void a_deadline_counts_from_the_beginning_of_the_run(void)
{
    struct qb_ctl_scene scene = begin_asked(); /* ten seconds ago */

    ask_run(&scene, LIMITS("\"deadline=1h\""), true);
    CU_ASSERT(run.deadline <= 3590 && run.deadline > 3000);
    ask_run(&scene, LIMITS("\"deadline=0\""), true);
    CU_ASSERT_EQUAL(run.deadline, 0);
    CU_ASSERT_EQUAL(run.ended, 0);
    ask_run(&scene, LIMITS("\"deadline=5\""), true);
    CU_ASSERT_EQUAL(run.ended, 1);
    end_asked();
}

static void a_limit_that_cannot_be_is_refused_and_none_is_set(void)
{
    static const struct {
        const char *request, *why;
    } rows[] = {
        {LIMITS("\"rate=1M\",\"jobs=2\""), "limits.jobs cannot change"},
        {LIMITS("\"rate=1M\",\"memory=1G\""), "limits.memory cannot change"},
        {LIMITS("\"rate=1M\",\"per_image.report=1M\""), "limits.per_image.report cannot change"},
        {LIMITS("\"rate=1M\",\"nice=3\""), "limits.nice cannot change"},
        {LIMITS("\"rate=1M\",\"rats=1M\""), "did you mean \"rate\"?"},
        {LIMITS("\"rate=1M\",\"on_error=stop\""), "no key \"on_error\""},
        {LIMITS("\"rate=1M\",\"wave=-1\""), "limits.wave: "},
        {LIMITS("\"rate=1M\",\"wave\""), "\"wave\" is not KEY=VALUE"},
        {LIMITS("\"rate=1M\",\"=1\""), "no key \"\""},
        {LIMITS("\"rate=1M\",\"rate=2M\""), "limits.rate is named twice"},
        {LIMITS("\"rate=1M\",\"load=50\""), "no pressure here"},
        {LIMITS("\"rate=1M\",7"), "."},
    };
    struct qb_ctl_scene scene = begin_asked();

    run.loaded = true;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) - 1; i++)
        ASSERT_SAYS(ask_run(&scene, rows[i].request, false), rows[i].why);
    ask_run(&scene, rows[11].request, false);
    CU_ASSERT_EQUAL(run.limits.rate, 0);
    CU_ASSERT_EQUAL(run.hand.pace.bytes_per_second, 0);
    CU_ASSERT_EQUAL(run.hand.n_acts, 0);
    end_asked();
}

static void a_manifest_that_is_read_again_sets_all_its_limits(void)
{
    struct qb_ctl_scene scene = begin_asked();

    ask_run(&scene, LIMITS("\"rate=1M\",\"wave=9\""), true);
    run.manifest.iops = 50;
    ASSERT_SAYS(ask_run(&scene, ORDER("reload"), true), "rate=0, iops=50, wave=0;");
    CU_ASSERT_EQUAL(run.limits.rate, 0);
    CU_ASSERT_EQUAL(run.limits.iops, 50);
    CU_ASSERT_EQUAL(run.limits.wave, 0);
    CU_ASSERT_EQUAL(run.hand.n_acts, 2 + 1 + 3);
    CU_ASSERT_STRING_EQUAL(run.hand.acts[2].what, "reload");
    CU_ASSERT_STRING_EQUAL(run.hand.acts[2].print, "abc-9");
    ASSERT_SAYS(ask_run(&scene, ORDER("reload"), true), "already");
    run.manifest.memory_bytes *= 2;
    run.manifest.iops = 60;
    ASSERT_SAYS(ask_run(&scene, ORDER("reload"), false), "limits.memory differs");
    CU_ASSERT_EQUAL(run.limits.iops, 50);
    end_asked();
}

/* Every limit is one that can change, or is refused by name: no other is there. */
static void every_limit_of_keys_def_can_change_or_is_refused(void)
{
    struct qb_ctl_scene scene = begin_asked();

    qb_keys_each (key, QB_SECTION_limits) {
        const char *bar = strrchr(key->good, '|'), *good = bar ? bar + 1 : key->good;
        char request[300];

        snprintf(request, sizeof(request), LIMITS("\"%s=%s\""), key->name, good);
        if (key->live)
            ask_run(&scene, request, true);
        else
            ASSERT_SAYS(ask_run(&scene, request, false), "cannot change while");
    }
    CU_ASSERT(run.hand.n_acts >= 10);
    end_asked();
}

static void a_deadline_can_be_taken_away(void)
{
    struct itimerval left;

    qb_signal_deadline(1000);
    CU_ASSERT_EQUAL(getitimer(ITIMER_REAL, &left), 0);
    CU_ASSERT(left.it_value.tv_sec > 900);
    qb_signal_deadline(0);
    CU_ASSERT_EQUAL(getitimer(ITIMER_REAL, &left), 0);
    CU_ASSERT(left.it_value.tv_sec == 0 && left.it_value.tv_usec == 0);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(limits_are_set_and_handed_on),
        UNIT(a_deadline_counts_from_the_beginning_of_the_run),
        UNIT(a_limit_that_cannot_be_is_refused_and_none_is_set),
        UNIT(a_manifest_that_is_read_again_sets_all_its_limits),
        UNIT(every_limit_of_keys_def_can_change_or_is_refused),
        UNIT(a_deadline_can_be_taken_away),
    };

    return unit_main("ctl_limits", tests, UNIT_COUNT(tests));
}
