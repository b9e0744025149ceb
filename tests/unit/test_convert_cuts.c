/* Whatever of a conversion reached the disk at a power cut or before a fault, the file is the raw
 * disk or the image, and a resumed run ends well. */
#include <stdlib.h>
#include <string.h>

#include "must.h"
#include "raw_disks.h"
#include "unit.h"

#ifdef __SANITIZE_ADDRESS__
#define SEEDS 4
#else
#define SEEDS 32
#endif

#define KIB 1024u

static size_t last_sync(const struct qb_mem_event *events, size_t upto)
{
    while (upto > 0 && events[upto - 1].op != QB_OP_SYNC)
        upto--;
    return upto;
}

/* The run is resumed: whatever the first one left past the disk's end is no part of the disk. */
static const char *resume(const struct image_bytes *state, const struct image_bytes *raw)
{
    struct qb_mem_log *log = run_machine(state);
    struct qb_request rq = raw_small;
    struct image_bytes now;
    const char *why;
    struct run r;

    rq.convert_length = raw->size;
    r = run_amend(log, 0, &rq, RUN_WHOLE);
    now = run_content(log, 0);
    why = r.rc < 0 ? "it could not be resumed" : raw_differs(&now, raw, raw_sectors(raw->size));
    run_free(&r);
    qb_mem_log_free(log);
    return why;
}

/* What there is wrong with the state of the disk at a power cut; "": nothing. */
static const char *judge(const struct qb_mem_log *log, const struct image_bytes *raw, size_t upto,
                         uint64_t seed)
{
    const struct qb_mem_event *events;
    struct image_bytes state = {0};
    const char *why = "";

    qb_mem_events(log, &events);
    if (qb_mem_replay(log, 0, last_sync(events, upto), upto, seed, &state.bytes, &state.size) < 0)
        abort();
    if (state.size < raw->size)
        why = "the file was cut";
    else if (memcmp(state.bytes, raw->bytes, raw->size < RAW_SECTOR ? raw->size : RAW_SECTOR) == 0)
        why = memcmp(state.bytes, raw->bytes, raw->size) ? "bytes of the raw disk changed"
                                                         : resume(&state, raw);
    else
        why = raw_differs(&state, raw, raw_sectors(raw->size));
    image_bytes_free(&state);
    return why;
}

static unsigned cut(uint64_t size, enum run_option how, bool complains)
{
    struct image_bytes raw = raw_disk(size);
    struct qb_mem_log *log = run_machine(&raw);
    struct run r = run_amend(log, 0, &raw_small, how);
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);
    unsigned bad = 0;

    for (size_t upto = 0; upto <= n; upto++)
        for (uint64_t seed = 0; seed <= SEEDS; seed++) {
            const char *why = judge(log, &raw, upto, seed * 1000003 + (seed ? upto : 0));

            bad += why[0] != 0;
            if (complains && why[0])
                fprintf(stderr, "\n%llu bytes, event %zu, seed %llu: %s", (unsigned long long)size,
                        upto, (unsigned long long)seed, why);
        }
    run_free(&r);
    qb_mem_log_free(log);
    image_bytes_free(&raw);
    return bad;
}

static void a_power_cut_leaves_the_raw_disk_or_the_image(void)
{
    static const uint64_t sizes[] = {1, 511, 4096, 5000, 40 * KIB + 3};

    for (size_t i = 0; i < UNIT_COUNT(sizes); i++)
        CU_ASSERT_EQUAL(cut(sizes[i], RUN_WHOLE, true), 0);
    CU_ASSERT_NOT_EQUAL(cut(40 * KIB + 3, RUN_WITHOUT_FIRST_BARRIER, false), 0);
}

/* The append was whole, and the flip not: then a guest used the longer disk. */
static void what_a_guest_wrote_past_the_disk_since_is_not_cut_off(void)
{
    static const uint64_t sizes[] = {40 * KIB + 3, 8192};

    for (size_t k = 0; k < UNIT_COUNT(sizes); k++) {
        struct image_bytes raw = raw_disk(sizes[k]), state = {0};
        struct qb_mem_log *log = run_machine(&raw);
        struct run r = run_amend(log, 0, &raw_small, RUN_WHOLE);
        const struct qb_mem_event *events;
        struct qb_request rq = raw_small;
        size_t flip = qb_mem_events(log, &events);

        while (events[flip - 1].op != QB_OP_WRITE || events[flip - 1].offset != 0)
            flip--;
        rq.convert_length = raw.size;
        CU_ASSERT_EQUAL_FATAL(
            qb_mem_replay(log, 0, flip - 1, flip - 1, 0, &state.bytes, &state.size), 0);
        CU_ASSERT_TRUE_FATAL(state.size > raw.size);
        CU_ASSERT_STRING_EQUAL(resume(&state, &raw), "");
        for (uint64_t at = raw.size; at < state.size; at += 509) {
            uint8_t was = state.bytes[at];

            state.bytes[at] = (uint8_t)(was + 1);
            raw_expect_refusal(&state, &rq, QB_E_REFUSED, "not only what it wrote");
            state.bytes[at] = was;
        }
        state.bytes = must(realloc(state.bytes, state.size + 1));
        state.bytes[state.size++] = 0;
        raw_expect_refusal(&state, &rq, QB_E_REFUSED, "not only what it wrote");
        run_free(&r);
        qb_mem_log_free(log);
        image_bytes_free(&raw);
        image_bytes_free(&state);
    }
}

/* Every request fails once; what failed before the flip left no trace, not even a longer disk. */
static void a_fault_at_any_request_leaves_the_raw_disk_as_it_was(void)
{
    struct image_bytes raw = raw_disk(40 * KIB + 3), now;
    bool ended = false;

    for (uint64_t nth = 0; !ended; nth++) {
        struct qb_mem_log *log = run_machine(&raw);
        struct run r;

        qb_mem_fail(log, nth, 5, false);
        r = run_amend(log, 0, &raw_small, RUN_WHOLE);
        now = run_content(log, 0);
        ended = r.rc == 0 && r.result.status == QB_STATUS_CHANGED;
        if (r.rc < 0 && !r.result.header_sent) {
            CU_ASSERT_EQUAL(now.size, raw.size);
            CU_ASSERT_EQUAL(memcmp(now.bytes, raw.bytes, raw.size), 0);
        } else if (r.rc < 0 && memcmp(now.bytes, raw.bytes, RAW_SECTOR) == 0) {
            CU_ASSERT_EQUAL(memcmp(now.bytes, raw.bytes, raw.size), 0);
        } else {
            raw_expect(&now, &raw, raw_sectors(raw.size), "after a fault");
        }
        run_free(&r);
        qb_mem_log_free(log);
        CU_ASSERT_FATAL(nth < 1000);
    }
    image_bytes_free(&raw);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_power_cut_leaves_the_raw_disk_or_the_image),
        UNIT(what_a_guest_wrote_past_the_disk_since_is_not_cut_off),
        UNIT(a_fault_at_any_request_leaves_the_raw_disk_as_it_was),
    };

    return unit_main("convert_cuts", tests, UNIT_COUNT(tests));
}
