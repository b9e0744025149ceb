/* What a run in progress answers to orders, and what it hands on; the control socket. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "asked_run.h"
#include "ctl/socket.h"
#include "scratch.h"

/* ---- orders ---------------------------------------------------------------------------------- */

static void what_is_no_request_is_refused(void)
{
    static const char *const requests[] = {
        "",
        "{",
        "[]",
        "1",
        "{}",
        "{\"version\":1}",
        "{\"version\":2,\"command\":\"stop\"}",
        "{\"version\":1,\"command\":\"Stop\"}",
        "{\"version\":1,\"command\":7}",
        "{\"version\":1,\"command\":\"limits\"}",
        LIMITS(""),
        LIMITS("1"),
        "{\"version\":1,\"command\":\"skip\"}",
    };
    struct qb_ctl_scene scene = begin_asked();

    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        const char *why = ask_run(&scene, requests[i], false);

        CU_ASSERT(strlen(why) > 5 || (printf("  %s\n", requests[i]), false));
    }
    CU_ASSERT_EQUAL(run.hand.n_acts, 0);
    CU_ASSERT_EQUAL(run.ended, 0);
    end_asked();
}

static void a_run_is_paused_and_continued(void)
{
    struct qb_ctl_scene scene = begin_asked();

    ASSERT_SAYS(ask_run(&scene, ORDER("continue"), true), "not paused");
    CU_ASSERT_EQUAL(run.hand.n_acts, 0);
    ASSERT_SAYS(ask_run(&scene, ORDER("pause"), true), "no new wave");
    CU_ASSERT_TRUE(run.hand.paused);
    CU_ASSERT_STRING_EQUAL(last_act()->what, "pause");
    CU_ASSERT_STRING_EQUAL(last_act()->who, "eve");
    CU_ASSERT_EQUAL(last_act()->uid, 4711);
    CU_ASSERT(last_act()->at > 1e9);
    ASSERT_SAYS(ask_run(&scene, ORDER("pause"), true), "already");
    CU_ASSERT_EQUAL(run.hand.n_acts, 1);
    ask_run(&scene, ORDER("continue"), true);
    CU_ASSERT_FALSE(run.hand.paused);
    CU_ASSERT_EQUAL(run.hand.n_acts, 2);
    end_asked();
}

static void a_run_that_asks_at_a_terminal_is_ended_by_a_signal(void)
{
    struct qb_ctl_scene scene = begin_asked();

    ask_run(&scene, ORDER("stop"), true);
    CU_ASSERT_TRUE(run.hand.ends);
    CU_ASSERT_EQUAL(run.ended, 0);
    ASSERT_SAYS(ask_run(&scene, ORDER("stop"), true), "already");
    ASSERT_SAYS(ask_run(&scene, ORDER("pause"), false), "ending already");
    ask_run(&scene, "{\"version\":1,\"command\":\"stop\",\"now\":true}", true);
    CU_ASSERT_EQUAL(run.ended, 1);
    CU_ASSERT_STRING_EQUAL(last_act()->what, "stop --now");
    CU_ASSERT_STRING_EQUAL(last_act()->who, "user 4711");
    end_asked();

    scene = begin_asked();
    run.hand.waits_for = "rollout.ask";
    ask_run(&scene, ORDER("stop"), true);
    CU_ASSERT_EQUAL(run.ended, 1);
    end_asked();
}

static void whatever_was_ordered_a_run_can_be_stopped(void)
{
    struct qb_ctl_scene scene = begin_asked();

    while (qb_hand_has_room(&run.hand, 1))
        qb_hand_note(&run.hand, &(struct qb_act){.what = "pause"}, false);
    ASSERT_SAYS(ask_run(&scene, ORDER("pause"), false), "too many");
    ASSERT_SAYS(ask_run(&scene, LIMITS("\"rate=5\""), false), "too many");
    CU_ASSERT_EQUAL(run.limits.rate, 0);
    ASSERT_SAYS(ask_run(&scene, ORDER("reload"), false), "too many");
    ASSERT_SAYS(
        ask_run(&scene, "{\"version\":1,\"command\":\"skip\",\"path\":\"/srv/a.qcow2\"}", false),
        "too many");
    CU_ASSERT_EQUAL(run.hand.claims[0], QB_HAND_FREE);
    ask_run(&scene, ORDER("stop"), true);
    CU_ASSERT_TRUE(run.hand.ends);
    end_asked();
}

/* ---- skip ------------------------------------------------------------------------------------ */

static void an_image_is_found_by_its_names_and_its_file(void)
{
    struct qb_ctl_scene scene = begin_asked();

    run.hand.heeded = QB_ACTS_MAX; /* so that no answer waits */
    ask_run(&scene, "{\"version\":1,\"command\":\"skip\",\"path\":\"/srv/a.qcow2\"}", true);
    CU_ASSERT_EQUAL(last_act()->image, 1);
    ask_run(&scene, "{\"version\":1,\"command\":\"skip\",\"path\":\"b.qcow2\"}", true);
    CU_ASSERT_EQUAL(last_act()->image, 2);
    ask_run(&scene, "{\"version\":1,\"command\":\"skip\",\"path\":\"../x\",\"dev\":7,\"ino\":102}",
            true);
    CU_ASSERT_EQUAL(last_act()->image, 3);
    CU_ASSERT_EQUAL(run.hand.n_acts, 3);
    ASSERT_SAYS(ask_run(&scene,
                        "{\"version\":1,\"command\":\"skip\",\"path\":\"x\",\"dev\":8,\"ino\":102}",
                        false),
                "does not have");
    ASSERT_SAYS(
        ask_run(&scene, "{\"version\":1,\"command\":\"skip\",\"path\":\"x\",\"dev\":7}", false),
        "does not have");
    for (size_t i = 0; i < ASKED_JOBS; i++)
        CU_ASSERT_FALSE(qb_hand_begins(&run.hand, i));
    end_asked();
}

/* Whoever claims it first has it. */
static void an_image_is_skipped_only_before_it_is_begun(void)
{
    static const char a[] = "{\"version\":1,\"command\":\"skip\",\"path\":\"/srv/a.qcow2\"}";
    struct qb_ctl_scene scene = begin_asked();

    run.hand.heeded = QB_ACTS_MAX;
    CU_ASSERT_TRUE(qb_hand_begins(&run.hand, 0));
    ASSERT_SAYS(ask_run(&scene, a, false), "under way");
    qb_hand_puts_off(&run.hand, 0); /* it waits for a lock */
    ask_run(&scene, a, true);
    CU_ASSERT_FALSE(qb_hand_begins(&run.hand, 0));
    ASSERT_SAYS(ask_run(&scene, a, true), "already");
    CU_ASSERT_EQUAL(run.hand.n_acts, 1);
    qb_hand_is_over(&run.hand, 0);
    ASSERT_SAYS(ask_run(&scene, a, true), "already");
    qb_hand_is_over(&run.hand, 1);
    ASSERT_SAYS(
        ask_run(&scene, "{\"version\":1,\"command\":\"skip\",\"path\":\"/srv/b.qcow2\"}", false),
        "has its result");
    CU_ASSERT_TRUE(qb_hand_begins(NULL, 0)); /* a run that nobody can reach */
    end_asked();
}

static void a_skip_that_is_not_recorded_yet_says_so(void)
{
    struct qb_ctl_scene scene = begin_asked();

    ASSERT_SAYS(
        ask_run(&scene, "{\"version\":1,\"command\":\"skip\",\"path\":\"/srv/a.qcow2\"}", true),
        "a kill before the end of the wave");
    end_asked();
}

/* ---- the socket ------------------------------------------------------------------------------ */

static void a_socket_is_found_by_the_run_alone(void)
{
    const char *dir = scratch_folder(), *name = in_folder("RUN.ctl");
    struct qb_err err;
    struct stat st;
    uid_t uid = 1;
    int fd, there, here;

    CU_ASSERT(qb_ctl_connect(dir, "RUN", &err) < 0);
    CU_ASSERT_EQUAL(err.code, QB_E_NOT_FOUND);
    ASSERT_SAYS(err.text, "is not under way");
    fd = qb_ctl_listen(dir, "RUN", &err);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(stat(name, &st), 0);
    CU_ASSERT(S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
    there = qb_ctl_connect(dir, "RUN", &err);
    here = accept(fd, NULL, NULL);
    CU_ASSERT(there >= 0 && here >= 0);
    CU_ASSERT_TRUE(qb_ctl_peer(here, &uid));
    CU_ASSERT_EQUAL(uid, geteuid());
    close(there);
    close(here);

    close(fd); /* as a process that was killed leaves it */
    CU_ASSERT(qb_ctl_connect(dir, "RUN", &err) < 0);
    ASSERT_SAYS(err.text, "was killed");
    fd = qb_ctl_listen(dir, "RUN", &err); /* the next one replaces it */
    CU_ASSERT_FATAL(fd >= 0);
    there = qb_ctl_connect(dir, "RUN", &err);
    CU_ASSERT(there >= 0);
    close(there);
    close(fd);
    qb_ctl_unlink(dir, "RUN");
    CU_ASSERT(stat(name, &st) < 0);
    CU_ASSERT(qb_ctl_listen("/nowhere/at/all", "RUN", &err) < 0);
    CU_ASSERT(qb_ctl_connect("/nowhere/at/all", "RUN", &err) < 0);
}

static void only_its_user_and_root_give_orders(void)
{
    CU_ASSERT_TRUE(qb_ctl_may(1000, 1000));
    CU_ASSERT_TRUE(qb_ctl_may(0, 1000));
    CU_ASSERT_TRUE(qb_ctl_may(0, 0));
    CU_ASSERT_FALSE(qb_ctl_may(1000, 0));
    CU_ASSERT_FALSE(qb_ctl_may(1001, 1000));
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_is_no_request_is_refused),
        UNIT(a_run_is_paused_and_continued),
        UNIT(a_run_that_asks_at_a_terminal_is_ended_by_a_signal),
        UNIT(whatever_was_ordered_a_run_can_be_stopped),
        UNIT(an_image_is_found_by_its_names_and_its_file),
        UNIT(an_image_is_skipped_only_before_it_is_begun),
        UNIT(a_skip_that_is_not_recorded_yet_says_so),
        UNIT(a_socket_is_found_by_the_run_alone),
        UNIT(only_its_user_and_root_give_orders),
    };

    return scratch_main("ctl", tests, UNIT_COUNT(tests));
}
