#include "raw_disks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "must.h"
#include "unit.h"

const struct qb_request raw_small = {
    .set = QB_KEY_CONVERT | QB_KEY_CLUSTER_SIZE, .cluster_size = 4096, RAW_CONVERT};

/* A disk whose every third sector is zero. */
struct image_bytes raw_disk(uint64_t size)
{
    struct image_bytes raw = {.bytes = must(malloc(size + 1)), .size = size};

    for (uint64_t i = 0; i < size; i++)
        raw.bytes[i] = i / RAW_SECTOR % 3 == 2 ? 0 : (uint8_t)((i * 2654435761u) >> 11 | 1);
    return raw;
}

/* "" where the image reads as the raw disk, and is whole. */
const char *raw_differs(const struct image_bytes *image, const struct image_bytes *raw,
                        uint64_t size)
{
    static char why[200];
    struct reading r;
    uint8_t sector[RAW_SECTOR];

    why[0] = 0;
    reading_take_image(image, NULL, &r);
    if (r.wrong[0] || r.size != size)
        snprintf(why, sizeof(why), "wrong: %s, size %llu", r.wrong, (unsigned long long)r.size);
    else if (r.corruptions || r.leaks)
        snprintf(why, sizeof(why), "damaged: %s", r.damage);
    for (uint64_t i = 0; !why[0] && i < size / RAW_SECTOR; i++) {
        uint64_t at = i * RAW_SECTOR, n = at < raw->size ? raw->size - at : 0;

        memset(sector, 0, RAW_SECTOR);
        if (n)
            memcpy(sector, raw->bytes + at, n < RAW_SECTOR ? n : RAW_SECTOR);
        if (r.layers[0].disk[i] != (n ? reading_print(sector, RAW_SECTOR) : 0))
            snprintf(why, sizeof(why), "sector %llu reads otherwise", (unsigned long long)i);
    }
    reading_free(&r);
    return why;
}

void raw_expect(const struct image_bytes *image, const struct image_bytes *raw, uint64_t size,
                const char *at)
{
    const char *why = raw_differs(image, raw, size);

    if (why[0])
        fprintf(stderr, "\n%s: %s", at, why);
    CU_ASSERT_STRING_EQUAL(why, "");
}

uint64_t raw_sectors(uint64_t size)
{
    return (size + RAW_SECTOR - 1) / RAW_SECTOR * RAW_SECTOR;
}

void raw_expect_refusal(const struct image_bytes *raw, const struct qb_request *rq,
                        enum qb_code code, const char *text)
{
    struct qb_mem_log *log = run_machine(raw);
    struct run r = run_amend(log, 0, rq, RUN_WHOLE);
    const struct qb_mem_event *events;

    CU_ASSERT_EQUAL(r.rc, -1);
    CU_ASSERT_EQUAL(r.result.err.code, code);
    CU_ASSERT_EQUAL(qb_mem_events(log, &events), 0);
    if (r.rc == 0 || !strstr(r.result.err.text, text))
        fprintf(stderr, "\n\"%s\" lacks \"%s\"", r.rc ? r.result.err.text : "no error", text);
    CU_ASSERT_TRUE(r.rc < 0 && strstr(r.result.err.text, text));
    run_free(&r);
    qb_mem_log_free(log);
}
