/* Whatever of a conversion reached the disk at a power cut or before a fault, the file is the raw
 * disk or the image, and a resumed run ends well. */
#include <stdlib.h>
#include <string.h>

#include "dice.h"
#include "must.h"
#include "raw_disks.h"
#include "unit.h"

#ifdef __SANITIZE_ADDRESS__
#define SEEDS 4
#define N     20
#else
#define SEEDS 16
#define N     200
#endif

#define KIB 1024u

static size_t last_sync(const struct qb_mem_event *events, size_t upto)
{
    while (upto > 0 && events[upto - 1].op != QB_OP_SYNC)
        upto--;
    return upto;
}

/* A raw disk, and what is asked for it. */
struct disk {
    struct image_bytes raw; /* owned */
    struct qb_request rq;
    uint64_t size; /* that the image is to have */
};

static struct disk disk_of(uint64_t size)
{
    return (struct disk){raw_disk(size), raw_small, raw_sectors(size)};
}

static struct disk disk_random(uint64_t seed)
{
    static const struct qb_bitmap_add bitmap = {"day", 512, false};
    struct dice d = dice_of(seed);
    struct disk disk = disk_of(1 + roll(&d, 60 * KIB));
    struct qb_request *rq = &disk.rq;

    disk.raw.reserved = roll(&d, 4) == 0;
    rq->cluster_size = 512u << roll(&d, 6);
    rq->keep_undo = roll(&d, 3) == 0;
    rq->verify = roll(&d, 2) ? QB_VERIFY_CONTENT : QB_VERIFY_METADATA;
    if (roll(&d, 3) == 0) {
        rq->set |= QB_KEY_SIZE;
        rq->size = disk.size += RAW_SECTOR * roll(&d, 400);
    }
    if (roll(&d, 4) == 0) {
        rq->set |= QB_KEY_COMPAT;
        rq->compat = 2;
        return disk;
    }
    if (roll(&d, 3) == 0) {
        rq->set |= QB_KEY_REFCOUNT_BITS;
        rq->refcount_bits = 1u << roll(&d, 7);
    }
    if (rq->cluster_size == 16 * KIB && roll(&d, 2)) {
        rq->set |= QB_KEY_EXTENDED_L2;
        rq->extended_l2 = true;
    }
    if (roll(&d, 4) == 0) {
        rq->set |= QB_KEY_BITMAPS;
        rq->bitmaps_add.items = &bitmap;
        rq->bitmaps_add.n = 1;
    }
    return disk;
}

/* The run is resumed: whatever the first one left past the disk's end is no part of the disk. */
static const char *resume(const struct image_bytes *state, const struct disk *disk)
{
    struct image_bytes now = *state;
    struct qb_mem_log *log;
    struct qb_request rq = disk->rq;
    const char *why;
    struct run r;

    now.reserved = disk->raw.reserved;
    log = run_machine(&now);
    rq.convert_length = disk->raw.size;
    r = run_amend(log, 0, &rq, RUN_WHOLE);
    now = run_content(log, 0);
    why = r.rc < 0 ? "it could not be resumed" : raw_differs(&now, &disk->raw, disk->size);
    run_free(&r);
    qb_mem_log_free(log);
    return why;
}

/* What there is wrong with the state of the disk at a power cut; "": nothing. */
static const char *judge(const struct qb_mem_log *log, const struct disk *disk, size_t upto,
                         uint64_t seed)
{
    const struct image_bytes *raw = &disk->raw;
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
                                                         : resume(&state, disk);
    else
        why = raw_differs(&state, raw, disk->size);
    image_bytes_free(&state);
    return why;
}

static unsigned cut(const struct disk *disk, enum run_option how, const char *name)
{
    struct qb_mem_log *log = run_machine(&disk->raw);
    struct run r = run_amend(log, 0, &disk->rq, how);
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);
    unsigned bad = how == RUN_WHOLE && r.rc < 0;

    if (bad)
        fprintf(stderr, "\n%s: %s", name, r.result.err.text);
    for (size_t upto = 0; upto <= n; upto++)
        for (uint64_t seed = 0; seed <= SEEDS; seed++) {
            const char *why = judge(log, disk, upto, seed * 1000003 + (seed ? upto : 0));

            bad += why[0] != 0;
            if (how == RUN_WHOLE && why[0])
                fprintf(stderr, "\n%s, %llu bytes, event %zu, seed %llu: %s", name,
                        (unsigned long long)disk->raw.size, upto, (unsigned long long)seed, why);
        }
    run_free(&r);
    qb_mem_log_free(log);
    return bad;
}

static void a_power_cut_leaves_the_raw_disk_or_the_image(void)
{
    static const uint64_t sizes[] = {1, 511, 4096, 5000, 40 * KIB + 3};

    for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
        struct disk disk = disk_of(sizes[i]);

        CU_ASSERT_EQUAL(cut(&disk, RUN_WHOLE, "a disk"), 0);
        if (sizes[i] > 40 * KIB)
            CU_ASSERT_NOT_EQUAL(cut(&disk, RUN_WITHOUT_FIRST_BARRIER, "a disk"), 0);
        image_bytes_free(&disk.raw);
    }
}

static void so_it_is_whatever_else_is_asked_for(void)
{
    unsigned long first = unit_setting("QB_CONVERT_FIRST", 0), n = unit_setting("QB_CONVERT_N", N);

    for (unsigned long i = first; i < first + n && !unit_has_enough(); i++) {
        struct disk disk = disk_random(i);
        char name[40];

        snprintf(name, sizeof(name), "seed %lu", i);
        CU_ASSERT_EQUAL(cut(&disk, RUN_WHOLE, name), 0);
        image_bytes_free(&disk.raw);
    }
}

/* The append was whole, and the flip not: then a guest used the longer disk. */
static void what_a_guest_wrote_past_the_disk_since_is_not_cut_off(void)
{
    static const uint64_t sizes[] = {40 * KIB + 3, 8192};

    for (size_t k = 0; k < UNIT_COUNT(sizes); k++) {
        struct disk disk = disk_of(sizes[k]);
        struct image_bytes raw = disk.raw, state = {0};
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
        CU_ASSERT_STRING_EQUAL(resume(&state, &disk), "");
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
        UNIT(so_it_is_whatever_else_is_asked_for),
        UNIT(what_a_guest_wrote_past_the_disk_since_is_not_cut_off),
        UNIT(a_fault_at_any_request_leaves_the_raw_disk_as_it_was),
    };

    return unit_main("convert_cuts", tests, UNIT_COUNT(tests));
}
