/* The answer of a check: which findings are one, which are listed and counted; and a report that
 * lacks one. */
#include <unistd.h>

#include "record/checked.h"
#include "sink/sinks.h"
#include "scratch.h"

static void note(struct qb_checked *c, enum qb_defect defect, uint64_t offset, const char *text)
{
    qb_checked_note(c, &(struct qb_found){.kind = qb_defect_kind(defect),
                                          .code = qb_defects[defect].name,
                                          .offset = offset,
                                          .text = text});
}

static struct qb_checked start(size_t most)
{
    return (struct qb_checked){.path = "image", .most = most, .most_in_all = 100};
}

static void evenly_spaced_findings_of_one_code_and_text_are_one(void)
{
    struct qb_checked c = start(10);

    for (uint64_t at = 0; at < 5; at++)
        note(&c, QB_DEFECT_CLUSTER_LEAKED, at * 512, "a");
    note(&c, QB_DEFECT_CLUSTER_LEAKED, 5 * 512 + 1, "a"); /* not where the next one would be */
    note(&c, QB_DEFECT_REFCOUNT_TOO_LOW, 5 * 512 + 2, "a");
    note(&c, QB_DEFECT_REFCOUNT_TOO_LOW, 5 * 512 + 3, "b");
    note(&c, QB_DEFECT_REFCOUNT_TOO_LOW, QB_NOWHERE, "b");
    qb_checked_end(&c);
    CU_ASSERT_EQUAL_FATAL(c.n_findings, 5);
    CU_ASSERT_EQUAL(c.findings[0].n, 5);
    CU_ASSERT_EQUAL(c.findings[0].last, 4 * 512);
    CU_ASSERT_EQUAL(c.findings[1].kind, QB_FOUND_LEAK);
    CU_ASSERT_EQUAL(c.findings[2].defect, QB_DEFECT_REFCOUNT_TOO_LOW);
    CU_ASSERT_EQUAL(c.findings[2].kind, QB_FOUND_CORRUPTION);
    CU_ASSERT_EQUAL(c.of_code[QB_DEFECT_CLUSTER_LEAKED], 6);
    CU_ASSERT_EQUAL(c.of_code[QB_DEFECT_REFCOUNT_TOO_LOW], 3);
    qb_checked_free(&c);
}

static void each_code_has_its_own_bound_and_all_have_one(void)
{
    struct qb_checked c = start(10);

    for (uint64_t i = 0; i < 50; i++)
        note(&c, QB_DEFECT_CLUSTER_LEAKED, i * i, "a");
    note(&c, QB_DEFECT_MARKED_CORRUPT, 72, "b");
    qb_checked_end(&c);
    CU_ASSERT_EQUAL_FATAL(c.n_findings, 11);
    CU_ASSERT_EQUAL(c.findings[10].defect, QB_DEFECT_MARKED_CORRUPT);
    CU_ASSERT_EQUAL(c.of_code[QB_DEFECT_CLUSTER_LEAKED], 50);
    CU_ASSERT(c.left_out[1] > 0 && c.left_out[0] == 0);
    qb_checked_free(&c);

    c = start(10);
    c.most_in_all = 3;
    for (enum qb_defect i = 0; i < 5; i++)
        note(&c, i, i, "a");
    qb_checked_end(&c);
    CU_ASSERT_EQUAL(c.n_findings, 3);
    CU_ASSERT_EQUAL(c.left_out[0] + c.left_out[1], 2);
    qb_checked_free(&c);
}

/* ---- a report -------------------------------------------------------------------------------- */

static struct qb_sinks open_junit(struct qb_batch *batch)
{
    const char *arguments[QB_SINK_COUNT] = {[QB_SINK_junit] = in_folder("junit")};
    struct qb_sinks sinks;

    qb_batch_init(batch);
    CU_ASSERT_EQUAL_FATAL(qb_sinks_open(&sinks, arguments, batch, true), 0);
    return sinks;
}

static void a_file_that_lacks_an_image_does_not_appear(void)
{
    for (int lost = 0; lost < 2; lost++) {
        struct qb_check_summary sum = {.images = 1};
        struct qb_sink_text texts[QB_SINK_COUNT] = {{0}};
        struct qb_batch batch;
        struct qb_sinks sinks = open_junit(&batch);

        CU_ASSERT_TRUE(qb_sinks_want_checked(&sinks));
        qb_sinks_checked(&sinks, 0, texts, lost);
        CU_ASSERT_EQUAL(qb_sinks_checked_end(&sinks, &(struct qb_check_telling){&batch, &sum, 0}),
                        -lost);
        CU_ASSERT_EQUAL(access(in_folder("junit"), F_OK), -lost);
        unlink(in_folder("junit"));
        qb_batch_free(&batch);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(evenly_spaced_findings_of_one_code_and_text_are_one),
        UNIT(each_code_has_its_own_bound_and_all_have_one),
        UNIT(a_file_that_lacks_an_image_does_not_appear),
    };

    return scratch_main("checked", tests, UNIT_COUNT(tests));
}
