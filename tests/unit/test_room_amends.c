/* Amends that put new clusters into the room inside an image, on disks in memory. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "judge.h"
#include "unit.h"

struct amend {
    struct image_bytes image;
    struct qb_mem_log *log;
    struct run run;
};

static const struct image_shape holed = {
    .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536};

static void amend_begin(struct amend *a, bool device, bool reserved)
{
    a->image = image_make(&holed, "H60d9zd");
    a->image.device = device;
    a->image.reserved = reserved;
    a->log = run_machine(&a->image);
}

static void amend_run(struct amend *a, bool room_first)
{
    const struct qb_request wide = {.struct_size = sizeof(wide),
                                    .set = QB_KEY_REFCOUNT_BITS,
                                    .refcount_bits = 64,
                                    .verify = QB_VERIFY_METADATA,
                                    .room_first = room_first};

    a->run = run_amend(a->log, 0, &wide, RUN_WHOLE);
}

static void amend_end(struct amend *a)
{
    run_free(&a->run);
    qb_mem_log_free(a->log);
    image_bytes_free(&a->image);
}

static bool any_event(const struct amend *a, enum qb_op op)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(a->log, &events);

    for (size_t i = 0; i < n; i++)
        if (events[i].op == op)
            return true;
    return false;
}

/* A device that is as long as its image, and a file of which the last cluster may lack a part. */
static void what_fits_inside_takes_nothing_past_the_end(void)
{
    for (int device = 0; device < 2; device++) {
        struct amend a;

        amend_begin(&a, device, false);
        amend_run(&a, !device);
        CU_ASSERT_EQUAL(a.run.rc, 0);
        CU_ASSERT_EQUAL(a.run.result.status, QB_STATUS_CHANGED);
        CU_ASSERT_EQUAL(run_content(a.log, 0).size, a.image.size);
        CU_ASSERT(a.run.result.image_end_offset <= a.image.size);
        CU_ASSERT_FALSE(any_event(&a, QB_OP_SET_SIZE));
        amend_end(&a);
    }
}

static void a_file_without_a_limit_is_not_filled(void)
{
    struct amend a;

    amend_begin(&a, false, false);
    amend_run(&a, false);
    CU_ASSERT_EQUAL(a.run.result.status, QB_STATUS_CHANGED);
    CU_ASSERT(run_content(a.log, 0).size > a.image.size);
    amend_end(&a);
}

/* Its refcounts do not say what is free. */
static void a_dirty_image_is_not_filled(void)
{
    struct image_shape dirty = holed;
    const struct qb_request wide = {.struct_size = sizeof(wide),
                                    .set = QB_KEY_REFCOUNT_BITS,
                                    .refcount_bits = 64,
                                    .room_first = true};
    struct image_bytes image;
    struct qb_mem_log *log;
    struct run run;

    dirty.dirty = true;
    image = image_make(&dirty, "H60d9zd");
    log = run_machine(&image);
    run = run_amend(log, 0, &wide, RUN_WHOLE);
    CU_ASSERT_EQUAL(run.result.status, QB_STATUS_CHANGED);
    CU_ASSERT(run_content(log, 0).size > image.size);
    run_free(&run);
    qb_mem_log_free(log);
    image_bytes_free(&image);
}

/* The last cluster is on the device in part. */
static void nothing_past_the_end_is_no_growth(void)
{
    static const struct image_shape cut = {
        .version = 3, .cluster_bits = 12, .refcount_order = 4, .size = 65536, .cut_bytes = 1024};
    const struct qb_request wide = {
        .struct_size = sizeof(wide), .set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64};
    struct image_bytes image = image_make(&cut, "H60d9zd");
    struct qb_mem_log *log;
    struct qb_amend *a;
    struct qb_io *io;

    image.device = true;
    log = run_machine(&image);
    io = run_io(log);
    a = run_open(io, log, 0);
    CU_ASSERT_EQUAL(qb_amend_plan(a, io, &wide), 0);
    CU_ASSERT_EQUAL(qb_amend_result(a)->status, QB_STATUS_WOULD_CHANGE);
    CU_ASSERT_EQUAL(qb_amend_growth(a), 0);
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    image_bytes_free(&image);
}

/* Free clusters between others, wherever the refcount blocks are that describe them: what is
 * written there is counted in the amended image, and the next one takes what was left. */
static void blocks_of_what_comes_into_use_are_rewritten(void)
{
    static const struct image_shape large = {
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 256 << 10};
    const struct qb_request asked[] = {
        {.struct_size = sizeof(*asked), .set = QB_KEY_COMPAT, .compat = 2},
        {.struct_size = sizeof(*asked), .set = QB_KEY_PREALLOCATION, .preallocation = "metadata"},
        {.struct_size = sizeof(*asked),
         .set = QB_KEY_REFCOUNT_BITS | QB_KEY_PREALLOCATION,
         .refcount_bits = 64,
         .preallocation = "metadata"},
    };

    for (unsigned at = 0; at < 400; at += 40)
        for (size_t i = 0; i < UNIT_COUNT(asked); i++) {
            struct qb_request rq = asked[i];
            struct image_bytes image;
            struct qb_mem_log *log;
            struct run run;
            char script[80];

            snprintf(script, sizeof(script), "d%uH300d%uz90", at + 1, 402 - at);
            image = image_make(&large, script);
            log = run_machine(&image);
            rq.room_first = true;
            rq.verify = QB_VERIFY_METADATA;
            run = run_amend(log, 0, &rq, RUN_WHOLE);
            CU_ASSERT_EQUAL(run.rc, 0);
            CU_ASSERT_EQUAL(run.result.status, QB_STATUS_CHANGED);
            CU_ASSERT_EQUAL(run_content(log, 0).size, image.size);
            run_free(&run);
            qb_mem_log_free(log);
            image_bytes_free(&image);
        }
}

/* With a cluster less the device is too small. */
static void the_room_is_used_to_the_last_cluster(void)
{
    const struct qb_request wide = {
        .struct_size = sizeof(wide), .set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64};
    unsigned n = 0, written = 0;
    bool fits = false;

    for (; !fits && n < 100; n += !fits) {
        char script[40];
        struct run run;
        struct image_bytes image;
        struct qb_mem_log *log;
        const struct qb_mem_event *events;

        snprintf(script, sizeof(script), "H%ud9zd", n + 1);
        image = image_make(&holed, script);
        image.device = true;
        log = run_machine(&image);
        run = run_amend(log, 0, &wide, RUN_WHOLE);
        fits = run.rc == 0;
        for (size_t i = 0, k = qb_mem_events(log, &events); fits && i < k; i++)
            written += events[i].op == QB_OP_WRITE && events[i].offset
                           ? (unsigned)(events[i].len / 512)
                           : 0;
        run_free(&run);
        qb_mem_log_free(log);
        image_bytes_free(&image);
    }
    CU_ASSERT_TRUE(fits);
    CU_ASSERT_EQUAL(n + 1, written);
}

/* A request of the amend fails, one after the other. */
static void an_append_that_fails_leaves_holes_where_the_file_has_them(void)
{
    for (int reserved = 0; reserved < 2; reserved++)
        for (uint64_t nth = 0; nth < 40; nth++) {
            struct amend a;
            struct image_bytes now;

            amend_begin(&a, false, reserved);
            qb_mem_fail(a.log, nth, EIO, false);
            amend_run(&a, true);
            now = run_content(a.log, 0);
            if (a.run.result.status == QB_STATUS_FAILED && !a.run.result.header_sent) {
                CU_ASSERT_EQUAL(now.size, a.image.size);
                CU_ASSERT(reserved || memcmp(now.bytes, a.image.bytes, now.size) == 0);
                CU_ASSERT_FALSE(reserved && any_event(&a, QB_OP_PUNCH));
            }
            amend_end(&a);
        }
}

/* Leaks that are freed are discarded after the commit: what moves must not go there. */
static void what_moves_keeps_off_leaks_that_are_freed(void)
{
    static const char *const scripts[] = {"L2d1L5d14", "L7d9", "d3L9d14", "L1d2L1d2L1d9"};

    for (size_t i = 0; i < UNIT_COUNT(scripts); i++)
        for (unsigned version = 2; version < 4; version++) {
            struct image_shape shape = {
                .version = version, .cluster_bits = 9, .refcount_order = 4, .size = 23552};
            struct subject s = {.image = image_make(&shape, scripts[i]),
                                .rq = {.set = QB_KEY_RECLAIM,
                                       .reclaim_free = true,
                                       .reclaim_compact = true,
                                       .on_leaks = QB_LEAKS_FREE,
                                       .verify = QB_VERIFY_METADATA}};
            struct judge j;

            snprintf(s.name, sizeof(s.name), "%s, version %u", scripts[i], version);
            judge_begin(&j, &s, NULL);
            CU_ASSERT_TRUE(j.amends);
            CU_ASSERT_EQUAL(j.violations, 0);
            if (j.violations)
                fprintf(stderr, "\n%s", j.first);
            judge_end(&j);
            subject_free(&s);
        }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_fits_inside_takes_nothing_past_the_end),
        UNIT(a_file_without_a_limit_is_not_filled),
        UNIT(a_dirty_image_is_not_filled),
        UNIT(nothing_past_the_end_is_no_growth),
        UNIT(blocks_of_what_comes_into_use_are_rewritten),
        UNIT(the_room_is_used_to_the_last_cluster),
        UNIT(an_append_that_fails_leaves_holes_where_the_file_has_them),
        UNIT(what_moves_keeps_off_leaks_that_are_freed),
    };

    return unit_main("room_amends", tests, UNIT_COUNT(tests));
}
