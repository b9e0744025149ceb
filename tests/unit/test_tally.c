/* A record that sums up a run's journal, so that the runs after it need not read all of it. */
#include <string.h>

#include "journal_lines.h"
#include "scratch.h"

static void assert_same_glance(const struct qb_glance *a, const struct qb_glance *b)
{
    CU_ASSERT_EQUAL(a->held, b->held);
    CU_ASSERT_EQUAL(a->undo, b->undo);
    CU_ASSERT_EQUAL(a->backup, b->backup);
    CU_ASSERT_EQUAL(a->unfinished, b->unfinished);
    CU_ASSERT_EQUAL(a->ended, b->ended);
    CU_ASSERT_EQUAL(a->superseded, b->superseded);
    CU_ASSERT_EQUAL(a->images, b->images);
    CU_ASSERT_EQUAL(a->failed, b->failed);
    CU_ASSERT_EQUAL(memcmp(a->counts, b->counts, sizeof(a->counts)), 0);
    CU_ASSERT_EQUAL(a->to_finish, b->to_finish);
    CU_ASSERT_EQUAL(a->undone, b->undone);
}

#define CLONED "{\"is\":\"cloned\",\"clone\":\"/i.bak\",\"path\":\"/i\"}"

/* Later glances read it alone, until something follows it. */
static void a_tally_tells_what_the_whole_journal_does(void)
{
    const char *const *const stories[] = {
        LINES(CHANGED),
        LINES(KEEPING(1), CHANGED, END(0, 0), UNDONE),
        LINES(KEEPING(1), CHANGED, "{\"is\":\"end\",\"left\":0,\"to_finish\":0,\"changed\":1}"),
        LINES(KEEPING(1), CHANGED, END(0, 0), UNDONE, "{\"is\":\"superseded\"}"),
        LINES(FAILED, END(0, 1), RESUMED),
        LINES(FAILED, END(0, 1), RESUMED, CHANGED,
              "{\"is\":\"end\",\"left\":0,\"to_finish\":0,\"changed\":1,\"resumed\":true}"),
        LINES(PLANNED(3), NOT_SURE, END(0, 1), "{\"is\":\"superseded\"}"),
        LINES(CLONED, KEEPING(1), CHANGED, END(0, 0), UNDONE),
        LINES(UNCHANGED, END(0, 0), "{\"is\":\"of a later version\"}"),
    };

    size_t undo = 0, clones = 0;

    for (size_t i = 0; i < UNIT_COUNT(stories); i++) {
        struct qb_glance before, after;
        struct qb_history h;

        CU_ASSERT_EQUAL(read_history(stories[i], &h), QB_E_NONE);
        CU_ASSERT_EQUAL(qb_glance_at(scratch_folder(), journal_id, &before), 0);
        qb_runs_tally(scratch_folder(), journal_id);
        CU_ASSERT_EQUAL(qb_glance_at(scratch_folder(), journal_id, &after), 0);
        CU_ASSERT(after.tallied && !after.from_all);
        assert_same_glance(&before, &after);
        CU_ASSERT_EQUAL(after.holds_undo, qb_history_holds_undo(&h));
        if (before.from_all) {
            CU_ASSERT_EQUAL(after.holds_undo, before.holds_undo);
            CU_ASSERT_EQUAL(after.names_clones, before.names_clones);
        }
        undo += after.holds_undo;
        clones += after.names_clones;
        qb_history_free(&h);
        qb_glance_free(&before);
        qb_glance_free(&after);
    }
    CU_ASSERT(undo > 0 && undo < UNIT_COUNT(stories));
    CU_ASSERT_EQUAL(clones, 1);
}

static void a_tally_is_void_once_something_follows(void)
{
    struct qb_history h;
    struct qb_glance g;

    CU_ASSERT_EQUAL(read_history(LINES(KEEPING(1), CHANGED, END(0, 0)), &h), QB_E_NONE);
    qb_history_free(&h);
    qb_runs_tally(scratch_folder(), journal_id);
    append_line(UNDONE);
    CU_ASSERT_EQUAL(qb_glance_at(scratch_folder(), journal_id, &g), 0);
    CU_ASSERT(g.from_all && !g.tallied);
    CU_ASSERT_EQUAL(g.undone, 1);
    CU_ASSERT_FALSE(g.holds_undo);
    qb_glance_free(&g);
    CU_ASSERT_FALSE(qb_runs_is_settled(scratch_folder(), journal_id));
    qb_runs_tally(scratch_folder(), journal_id);
    CU_ASSERT_FALSE(
        qb_runs_is_settled(scratch_folder(), journal_id)); /* a run of the manifest heeds it */
    append_line("{\"is\":\"superseded\"}");
    qb_runs_tally(scratch_folder(), journal_id);
    CU_ASSERT(qb_runs_is_settled(scratch_folder(), journal_id));
}

static void a_tally_of_another_run_is_not_believed(void)
{
    struct qb_glance g;

    write_journal((const char *const[]){"{\"is\":\"run\",\"of\":\"00000a\",\"images\":2}",
                                        "{\"is\":\"tally\",\"ended\":true,\"of\":\"bbbbbb\"}",
                                        NULL});
    qb_glance_at(scratch_folder(), journal_id, &g);
    CU_ASSERT_FALSE(g.tallied);
    CU_ASSERT(g.unfinished);
    qb_glance_free(&g);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_tally_tells_what_the_whole_journal_does),
        UNIT(a_tally_is_void_once_something_follows),
        UNIT(a_tally_of_another_run_is_not_believed),
    };

    return scratch_main("tally", tests, UNIT_COUNT(tests));
}
