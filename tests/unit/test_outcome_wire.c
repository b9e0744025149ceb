/* Outcomes as bytes: what comes out is what went in, and bytes that somebody spoiled are refused or
 * are an outcome that the program can handle. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/result.h"
#include "outcome/outcome_wire.h"
#include "unit.h"

static const struct qb_info before = {.version = 2,
                                      .virtual_size = 5,
                                      .cluster_size = 65536,
                                      .refcount_bits = 16,
                                      .nb_snapshots = 3,
                                      .lazy_refcounts = true,
                                      .has_backing_file = true,
                                      .backing_file = "base",
                                      .backing_fmt = "raw",
                                      .compression_type = "zlib",
                                      .format = "qcow2"};
static const struct qb_info after = {.version = 3, .virtual_size = 9, .format = "raw"};
static const struct qb_deleted_snapshot snapshots[] = {{"1", "one", 7, 8}, {"2", "", 9, 10}};
static const struct qb_freed_range freed[] = {{512, 1024}};
static const struct qb_changed_bitmap bitmaps[] = {{"b", NULL, 2}, {"c", "old", 4}};

static struct qb_outcome sample(void)
{
    static uint8_t sector[QB_RESULT_SECTOR];
    struct qb_outcome o = {
        .result = {.status = QB_STATUS_FAILED,
                   .err = {QB_E_VERIFY, 5, 77, "what is wrong"},
                   .before = &before,
                   .after = &after,
                   .clusters = {.valid = true, .total = 11, .copied = 12},
                   .leaks = {.valid = true, .clusters = 13},
                   .io = {.read_bytes = 14, .barriers = 15},
                   .plan_seconds = 0.25,
                   .file_size_after = 16,
                   .allocated_delta = -17,
                   .old_sector = sector,
                   .new_sector = sector,
                   .committed = true,
                   .n_snapshots_deleted = 200,
                   .n_snapshots_listed = 2,
                   .snapshots_deleted = snapshots,
                   .n_freed_listed = 1,
                   .freed_first = freed,
                   .n_bitmaps_changed = 2,
                   .n_bitmaps_listed = 2,
                   .bitmaps_changed = bitmaps,
                   .moved_bytes = 18},
        .timing = {.seconds = 0.5, .wave = 3, .spans[QB_SPAN_VERIFY] = {1, 2, 4}},
        .verify = QB_VERIFY_CONTENT,
        .step = 2,
        .steps = strdup("a plan\n"),
        .composed = calloc(1, sizeof(struct qb_composed))};

    memset(sector, 0xa5, sizeof(sector));
    o.composed->texts[1] = strdup("a line\n");
    o.composed->lens[1] = 7;
    qb_result_own(&o.result);
    return o;
}

static bool pass(const struct qb_outcome *from, struct qb_outcome *to)
{
    struct qb_wire wire = {0};
    struct qb_wired wired;
    bool took;

    qb_outcome_put(&wire, from);
    CU_ASSERT_FALSE_FATAL(wire.failed);
    wired = (struct qb_wired){wire.bytes, wire.bytes + wire.n, false};
    took = qb_outcome_take(&wired, to);
    CU_ASSERT_PTR_EQUAL(wired.at, wired.end);
    free(wire.bytes);
    return took;
}

/* Whether it is taken; one that is refused may be so at any byte. */
static bool pass_any(const struct qb_outcome *from)
{
    struct qb_wire wire = {0};
    struct qb_wired wired;
    struct qb_outcome to;
    bool took;

    qb_outcome_put(&wire, from);
    wired = (struct qb_wired){wire.bytes, wire.bytes + wire.n, false};
    took = qb_outcome_take(&wired, &to);
    if (took)
        qb_outcome_clear(&to);
    free(wire.bytes);
    return took;
}

static bool same_bytes(const struct qb_outcome *a, const struct qb_outcome *b)
{
    struct qb_wire one = {0}, two = {0};
    bool same;

    qb_outcome_put(&one, a);
    qb_outcome_put(&two, b);
    same = one.n == two.n && memcmp(one.bytes, two.bytes, one.n) == 0;
    free(one.bytes);
    free(two.bytes);
    return same;
}

static void what_comes_out_is_what_went_in(void)
{
    struct qb_outcome from = sample(), to;

    CU_ASSERT_TRUE_FATAL(pass(&from, &to));
    CU_ASSERT_TRUE(same_bytes(&from, &to));
    CU_ASSERT_EQUAL(to.result.status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(to.result.err.offset, 77);
    CU_ASSERT_STRING_EQUAL(to.result.err.text, "what is wrong");
    CU_ASSERT_STRING_EQUAL(to.result.before->backing_file, "base");
    CU_ASSERT_PTR_NULL(to.result.before->data_file);
    CU_ASSERT_EQUAL(to.result.after->virtual_size, 9);
    CU_ASSERT_EQUAL(to.result.allocated_delta, -17);
    CU_ASSERT_EQUAL(to.result.new_sector[511], 0xa5);
    CU_ASSERT_STRING_EQUAL(to.result.snapshots_deleted[0].name, "one");
    CU_ASSERT_EQUAL(to.result.freed_first[0].bytes, 1024);
    CU_ASSERT_STRING_EQUAL(to.result.bitmaps_changed[1].from, "old");
    CU_ASSERT_EQUAL(to.result.moved_bytes, 18);
    CU_ASSERT_EQUAL(to.timing.spans[QB_SPAN_VERIFY].worker, 4);
    CU_ASSERT_EQUAL(to.verify, QB_VERIFY_CONTENT);
    CU_ASSERT_STRING_EQUAL(to.steps, "a plan\n");
    CU_ASSERT_PTR_NULL(to.composed); /* texts of reports are not believed */
    qb_outcome_clear(&from);
    qb_outcome_clear(&to);
}

/* Of a result that is all ones each byte must get through, or is a pointer or padding. */
static void no_member_is_left_out(void)
{
    enum { POINTERS = 8 + 1, PADDING_MAX = 64 };
    struct qb_outcome from = {.result = {.status = QB_STATUS_CHANGED}}, to;
    unsigned char *bytes = (unsigned char *)&from.result, *got = (unsigned char *)&to.result;
    size_t lost = 0;

    memset(&from.result, 1, sizeof(from.result));
    from.result.status = (enum qb_status)1;
    from.result.err.code = (enum qb_code)1;
    from.result.err.text = "x";
    from.result.before = from.result.after = NULL;
    from.result.old_sector = from.result.new_sector = NULL;
    from.result.memory = NULL;
    from.result.n_snapshots_listed = from.result.n_freed_listed = from.result.n_bitmaps_listed = 0;
    from.result.snapshots_deleted = NULL;
    from.result.freed_first = NULL;
    from.result.bitmaps_changed = NULL;
    from.result.open_seconds = from.result.read_seconds = from.result.plan_seconds =
        from.result.write_seconds = from.result.verify_seconds = 1;
    CU_ASSERT_TRUE_FATAL(pass(&from, &to));
    for (size_t i = 0; i < sizeof(from.result); i++)
        lost += bytes[i] == 1 && got[i] != 1;
    if (lost > PADDING_MAX)
        printf("\n  %zu bytes were left out\n", lost);
    CU_ASSERT_TRUE(lost <= PADDING_MAX);
    qb_outcome_clear(&to);
}

/* Pages draw by times, and have a lane for each worker. */
static void times_and_workers_are_such_as_a_report_may_have(void)
{
    static const double seconds[] = {-1, 1e9, 1e300, INFINITY, NAN};
    struct qb_outcome from = sample(), to;

    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        from.timing.spans[QB_SPAN_VERIFY].started_seconds = from.timing.started_seconds =
            seconds[i];
        CU_ASSERT_TRUE_FATAL(pass(&from, &to));
        CU_ASSERT_EQUAL(to.timing.started_seconds, 0);
        CU_ASSERT_EQUAL(to.timing.spans[QB_SPAN_VERIFY].started_seconds, 0);
        qb_outcome_clear(&to);
    }
    from.timing.spans[QB_SPAN_VERIFY].worker = UINT_MAX;
    CU_ASSERT_FALSE(pass_any(&from));
    from.timing.spans[QB_SPAN_VERIFY].worker = 0;
    from.timing.worker = QB_TIMING_NUMBERS;
    CU_ASSERT_FALSE(pass_any(&from));
    from.timing.worker = 0;
    from.timing.wave = UINT_MAX;
    CU_ASSERT_FALSE(pass_any(&from));
    qb_outcome_clear(&from);
}

/* Reads whatever a report would. */
static size_t use(const struct qb_outcome *o)
{
    struct qb_change changes[QB_CHANGES_MAX];
    char room[QB_NOTE_ROOM];
    struct qb_summary sum = {0};
    size_t n = 0;

    qb_summary_add(&sum, &o->result);
    if (o->result.before && o->result.after)
        n += qb_report_changes(&o->result, changes);
    for (unsigned i = 0; qb_report_note(&o->result, i, room); i++)
        n++;
    for (unsigned i = 0; i < o->result.n_snapshots_listed; i++)
        n += strlen(o->result.snapshots_deleted[i].name);
    for (unsigned i = 0; i < o->result.n_bitmaps_listed; i++)
        n += strlen(o->result.bitmaps_changed[i].name);
    return n + strlen(qb_code_name(o->result.err.code)) + (o->steps ? strlen(o->steps) : 0);
}

static void spoiled_bytes_are_refused_or_can_be_handled(void)
{
    struct qb_outcome from = sample(), to;
    struct qb_wire wire = {0};
    size_t refused = 0, taken = 0;

    qb_outcome_put(&wire, &from);
    for (size_t i = 0; i < wire.n; i++)
        for (unsigned k = 0; k < 3; k++) {
            char *bytes = malloc(wire.n); /* so that a sanitizer sees its end */
            struct qb_wired w = {bytes, bytes + wire.n, false};

            memcpy(bytes, wire.bytes, wire.n);
            bytes[i] = (char)(k == 0 ? 0xff : k == 1 ? 0 : bytes[i] + 1);
            if (qb_outcome_take(&w, &to)) {
                taken += use(&to) < SIZE_MAX;
                qb_outcome_clear(&to);
            } else {
                refused++;
            }
            free(bytes);
        }
    CU_ASSERT_TRUE(refused > 30 && taken > 30);
    for (size_t n = 0; n < wire.n; n++) {
        char *bytes = malloc(n + 1);
        struct qb_wired w = {bytes, bytes + n, false};

        memcpy(bytes, wire.bytes, n);
        CU_ASSERT_FALSE(qb_outcome_take(&w, &to));
        free(bytes);
    }
    free(wire.bytes);
    qb_outcome_clear(&from);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_comes_out_is_what_went_in),
        UNIT(no_member_is_left_out),
        UNIT(times_and_workers_are_such_as_a_report_may_have),
        UNIT(spoiled_bytes_are_refused_or_can_be_handled),
    };

    return unit_main("outcome_wire", tests, UNIT_COUNT(tests));
}
