/* What a run's journal tells of its images, record by record: what became of a plan, which tail is
 * nobody's, what can still be undone, and whether the run is finished. */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_lines.h"
#include "scratch.h"

struct story {
    const char *name;
    const char *const *lines;
    bool uncertain, reached, committed;
    uint64_t abandoned_from;
    bool left, failed, holds_undo;
};

static void what_became_of_a_plan(void)
{
    const struct story stories[] = {
        {"planned", LINES(PLANNED(100)), true, false, false, 100, true, false, false},
        {"amended", LINES(PLANNED(100), CHANGED), false, true, true, 0, false, false, false},
        {"undoable", LINES(KEEPING(1), CHANGED), false, true, true, 0, false, false, true},
        {"failed", LINES(PLANNED(100), FAILED), false, false, false, 0, true, true, false},
        {"durability unknown", LINES(PLANNED(100), NOT_SURE), true, false, false, 100, true, true,
         false},
        {"failed before a second plan", LINES(PLANNED(100), RESUMED, FAILED), true, false, false,
         100, true, true, false},
        {"planned twice", LINES(PLANNED(100), RESUMED, PLANNED(900)), true, false, false, 100, true,
         false, false},
        {"found amended", LINES(PLANNED(100), RESUMED, UNCHANGED), false, true, true, 0, false,
         false, false},
        {"amended, then a plan", LINES(KEEPING(1), PROOF, CHANGED, RESUMED, PLANNED(5)), true, true,
         false, 5, true, false, false},
        {"taken back", LINES(KEEPING(100), CHANGED, UNDONE), false, false, true, 0, false, false,
         false},
        {"locked", LINES(LOCKED), false, false, false, 0, true, true, false},
        {"locked with a tail", LINES(PLANNED(100), RESUMED, LOCKED), true, false, false, 100, true,
         true, false},
        {"not meant", LINES(NOT_MEANT), false, false, false, 0, false, false, false},
        {"not started", LINES(NOT_STARTED), false, false, false, 0, true, false, false},
    };

    for (size_t i = 0; i < UNIT_COUNT(stories); i++) {
        const struct story *s = &stories[i];
        struct qb_history h;
        const struct qb_trace *t;
        bool right;

        CU_ASSERT_EQUAL(read_history(s->lines, &h), QB_E_NONE);
        t = qb_history_find(&h, "/i");
        CU_ASSERT_FATAL(t != NULL);
        right = t->uncertain == s->uncertain && t->reached == s->reached &&
                t->committed == s->committed && t->abandoned_from == s->abandoned_from &&
                qb_trace_is_left(t) == s->left && qb_trace_has_failed(t) == s->failed &&
                qb_history_holds_undo(&h) == s->holds_undo;
        if (!right)
            fprintf(stderr,
                    "\n%s: uncertain %d reached %d committed %d tail %llu left %d failed %d"
                    " undo %d\n",
                    s->name, t->uncertain, t->reached, t->committed,
                    (unsigned long long)t->abandoned_from, qb_trace_is_left(t),
                    qb_trace_has_failed(t), qb_history_holds_undo(&h));
        CU_ASSERT(right);
        qb_history_free(&h);
    }
}

/* A proof and a last look are those of one plan. */
static void a_plan_forgets_what_an_earlier_one_left(void)
{
    struct qb_history h;
    const struct qb_trace *t;

    CU_ASSERT_EQUAL(read_history(LINES(KEEPING(1), PROOF, CHANGED), &h), QB_E_NONE);
    t = qb_history_find(&h, "/i");
    CU_ASSERT(t->proof_at > 0 && t->done.valid && t->done.length == 9);
    qb_history_free(&h);
    CU_ASSERT_EQUAL(read_history(LINES(KEEPING(1), PROOF, CHANGED, PLANNED(5)), &h), QB_E_NONE);
    t = qb_history_find(&h, "/i");
    CU_ASSERT(t->proof_at == 0 && !t->done.valid && !t->has_undo && !t->ended);
    qb_history_free(&h);
}

static void whether_a_run_is_finished(void)
{
    const struct {
        const char *const *lines;
        bool unfinished, settled;
    } runs[] = {
        {LINES(CHANGED), true, false},
        {LINES(CHANGED, END(0, 0)), false, true},
        {LINES(CHANGED, END(1, 1)), true, false},
        {LINES(FAILED, END(0, 1)), true, false},
        {LINES(FAILED, "{\"is\":\"end\",\"left\":0,\"failed\":1}"), false, false},
        {LINES(CHANGED, END(0, 0), RESUMED), true, false},
        {LINES(CHANGED, "{\"is\":\"superseded\"}"), false, false},
    };

    for (size_t i = 0; i < UNIT_COUNT(runs); i++) {
        struct qb_glance g;
        struct qb_history h;

        CU_ASSERT_EQUAL(read_history(runs[i].lines, &h), QB_E_NONE);
        CU_ASSERT_EQUAL(qb_history_is_unfinished(&h), runs[i].unfinished);
        qb_history_free(&h);
        CU_ASSERT_EQUAL(qb_glance_at(scratch_folder(), journal_id, &g), 0);
        CU_ASSERT_EQUAL(g.unfinished, runs[i].unfinished);
        qb_glance_free(&g);
        CU_ASSERT_EQUAL(qb_runs_is_settled(scratch_folder(), journal_id), runs[i].settled);
    }
}

/* Of the last record alone, where that is the run's own end and counts all of the run's images. */
static void a_glance_believes_only_an_end_of_the_whole_run(void)
{
    static const char of_another[] =
        "{\"is\":\"end\",\"left\":0,\"to_finish\":0,\"of\":\"bbbbbb\"}";
    static const char of_a_resume[] =
        "{\"is\":\"end\",\"left\":0,\"to_finish\":0,\"changed\":2,\"resumed\":true}";
    struct qb_glance g;

    write_journal(LINES(FAILED, of_a_resume));
    CU_ASSERT_EQUAL(qb_glance_at(scratch_folder(), journal_id, &g), 0);
    CU_ASSERT_EQUAL(g.counts[QB_STATUS_CHANGED], 0);
    CU_ASSERT_EQUAL(g.failed, 1);
    qb_glance_free(&g);
    write_journal(
        (const char *const[]){"{\"is\":\"run\",\"of\":\"00000a\",\"images\":2}", of_another, NULL});
    qb_glance_at(scratch_folder(), journal_id, &g);
    CU_ASSERT_FALSE(g.ended);
    CU_ASSERT(g.unfinished);
    qb_glance_free(&g);
    CU_ASSERT_FALSE(qb_runs_is_settled(scratch_folder(), journal_id));
}

static void records_that_cannot_be_understood_are_errors(void)
{
    struct qb_history h;

    CU_ASSERT_EQUAL(read_history((const char *const[]){"{\"is\":\"run\",\"format\":99}", NULL}, &h),
                    QB_E_UNSUPPORTED);
    qb_history_free(&h);
    CU_ASSERT_EQUAL(read_history((const char *const[]){"{\"is\":\"end\"}", NULL}, &h),
                    QB_E_CORRUPT);
    qb_history_free(&h);
    CU_ASSERT_EQUAL(read_history(LINES("{\"is\":\"planned\",\"length\":1}"), &h), QB_E_CORRUPT);
    qb_history_free(&h);
    CU_ASSERT_EQUAL(read_history(LINES("{\"is\":\"something new\"}", CHANGED), &h), QB_E_NONE);
    qb_history_free(&h);
}

/* Lines that a power cut took are one cut where they stand together. */
static void bad_lines_in_a_row_are_one_cut(void)
{
    char path[QB_JOURNAL_PATH];
    struct qb_history h;
    struct qb_err err;
    int fd;

    write_journal(LINES(CHANGED));
    qb_state_dir_journal(scratch_folder(), journal_id.text, path);
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    CU_ASSERT_EQUAL(write(fd, "bad\nworse\n", 10), 10);
    close(fd);
    CU_ASSERT_EQUAL(qb_history_read(scratch_folder(), journal_id.text, &h, &err), 0);
    CU_ASSERT_EQUAL(h.end.cuts, 1);
    CU_ASSERT_EQUAL(h.traces.n, 1);
    qb_history_free(&h);
}

/* What others could have written, or put there, is not taken for a journal. */
static void a_journal_is_a_file_that_only_its_owner_writes(void)
{
    char path[QB_JOURNAL_PATH];
    struct qb_history h;

    CU_ASSERT_EQUAL(read_history(LINES(CHANGED), &h), QB_E_NONE);
    qb_history_free(&h);
    qb_state_dir_journal(scratch_folder(), journal_id.text, path);
    CU_ASSERT_EQUAL(chmod(path, 0622), 0);
    CU_ASSERT_EQUAL(read_history(LINES(CHANGED), &h), QB_E_REFUSED);
    qb_history_free(&h);
    CU_ASSERT_EQUAL(chmod(path, 0600), 0);
    if (geteuid() == 0) {
        CU_ASSERT_EQUAL(chown(path, 1, 1), 0);
        CU_ASSERT_EQUAL(read_history(LINES(CHANGED), &h), QB_E_REFUSED);
        qb_history_free(&h);
    }
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(symlink(make_file("elsewhere", "", 0), path), 0);
    CU_ASSERT_EQUAL(read_history(LINES(CHANGED), &h), QB_E_REFUSED);
    qb_history_free(&h);
    CU_ASSERT_EQUAL(unlink(path), 0);
}

/* A digest is 16 bytes in base64, and so is a range: [1, 2), and one that ends at 0. */
#define DIGEST "\"AAAAAAAAAAAAAAAAAAAAAA==\""
#define RANGE  "\"AAAAAAAAAAEAAAAAAAAAAg==\""
#define NO_END "\"AAAAAAAAAAEAAAAAAAAAAA==\""

static void a_proof_that_is_not_whole_is_none(void)
{
    static const struct {
        const char *line;
        bool whole;
    } proofs[] = {
        {"{\"is\":\"proof\",\"path\":\"/i\"}", true},
        {"{\"is\":\"proof\",\"base\":1,\"zero_base\":2,\"end\":3,\"stretch\":" DIGEST OF_I, true},
        {"{\"is\":\"proof\",\"base\":1,\"zero_base\":2,\"end\":3" OF_I, false},
        {"{\"is\":\"proof\",\"base\":3,\"zero_base\":2,\"end\":3,\"stretch\":" DIGEST OF_I, false},
        {"{\"is\":\"proof\",\"base\":1,\"zero_base\":4,\"end\":3,\"stretch\":" DIGEST OF_I, false},
        {"{\"is\":\"proof\",\"base\":9,\"zero_base\":9,\"end\":9,\"stretch\":" DIGEST
         ",\"n_written\":1,\"written\":" RANGE OF_I,
         true},
        {"{\"is\":\"proof\",\"base\":9,\"zero_base\":9,\"end\":9,\"stretch\":" DIGEST
         ",\"n_written\":2,\"written\":" RANGE OF_I,
         false},
        {"{\"is\":\"proof\",\"base\":9,\"zero_base\":9,\"end\":9,\"stretch\":" DIGEST
         ",\"n_written\":1" OF_I,
         false},
        {"{\"is\":\"proof\",\"base\":9,\"zero_base\":9,\"end\":9,\"stretch\":" DIGEST
         ",\"n_zeroed\":1,\"zeroed\":" NO_END OF_I,
         false}, /* it ends before it begins */
        {"{\"is\":\"proof\",\"name_at\":512,\"name_len\":2" OF_I, false},
        {"{\"is\":\"proof\",\"head_len\":600" OF_I, false},
    };

    for (size_t i = 0; i < UNIT_COUNT(proofs); i++) {
        struct qb_history h;
        struct qb_proof proof;
        struct qb_err err = {0};
        uint8_t old_sector[512], new_sector[512];
        const struct qb_trace *t;

        CU_ASSERT_EQUAL(read_history(LINES(KEEPING(1), proofs[i].line), &h), QB_E_NONE);
        t = qb_history_find(&h, "/i");
        CU_ASSERT_EQUAL(qb_history_proof(scratch_folder(), &h, t, &proof, &err),
                        proofs[i].whole ? 0 : -1);
        CU_ASSERT_EQUAL(
            qb_history_sectors(scratch_folder(), &h, t, old_sector, new_sector, NULL, &err), -1);
        CU_ASSERT_EQUAL(err.code, QB_E_CORRUPT); /* the sectors are none either */
        qb_proof_free(&proof);
        qb_history_free(&h);
    }
}

/* Whichever was not finished: another manifest's run is nobody's to resume. */
static void only_a_run_of_the_manifest_is_resumed(void)
{
    static const struct {
        const char *manifest;
        enum qb_code code;
    } rows[] = {{"/m.yaml", QB_E_NONE}, {"/n.yaml", QB_E_NOT_FOUND}};

    write_journal(LINES(PLANNED(100)));
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        struct qb_batch batch;
        struct qb_history h;
        struct qb_journal j;
        struct qb_err err = {0};

        qb_batch_init(&batch);
        batch.manifest_path = strdup(rows[i].manifest);
        if (qb_runs_reopen(scratch_folder(), NULL, QB_RUNS_UNFINISHED, &batch, &h, &j, &err) == 0) {
            qb_journal_close(&j);
            qb_history_free(&h);
        }
        CU_ASSERT_EQUAL(err.code, rows[i].code);
        qb_batch_free(&batch);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_became_of_a_plan),
        UNIT(a_plan_forgets_what_an_earlier_one_left),
        UNIT(whether_a_run_is_finished),
        UNIT(a_glance_believes_only_an_end_of_the_whole_run),
        UNIT(records_that_cannot_be_understood_are_errors),
        UNIT(bad_lines_in_a_row_are_one_cut),
        UNIT(a_journal_is_a_file_that_only_its_owner_writes),
        UNIT(a_proof_that_is_not_whole_is_none),
        UNIT(only_a_run_of_the_manifest_is_resumed),
    };

    return scratch_main("history", tests, UNIT_COUNT(tests));
}
