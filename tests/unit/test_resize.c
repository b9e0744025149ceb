/* Growing and shrinking, by what comes into use and what goes: the cases in which an image holds
 * something where a larger disk must read zero. */
#include <string.h>

#include "amends.h"
#include "base/num.h"
#include "poke.h"
#include "unit.h"

#define KIB 1024u

struct grown {
    const char *name;
    struct image_shape shape;
    const char *script;
    struct poke poke; /* what an earlier disk left there */
    uint64_t size;
};

#define V3(bits, bytes, ...)                                                                       \
    {                                                                                              \
        .version = 3, .cluster_bits = bits, .refcount_order = 4, .size = bytes, __VA_ARGS__        \
    }

static const struct grown grown[] = {
    {"junk past the L1 table", V3(9, 64 * KIB), "d", {IN_L1, 16, 8, 0x1122334455667788}, 200 * KIB},
    {"junk at the end of the L1 table's cluster",
     V3(9, 64 * KIB),
     "d",
     {IN_L1, 504, 8, 0x80000000000000ff},
     2048 * KIB},
    {"an old entry past the L1 table", V3(9, 64 * KIB), "d", {IN_L1, 16, 8, 0x800}, 200 * KIB},
    {"junk past the disk in its last cluster", V3(12, 33 * KIB), "@8d", {0}, 64 * KIB},
    {"a longer backing file",
     V3(12, 33 * KIB, .backing_file = "@long", .backing_fmt = "raw"),
     "d",
     {0},
     64 * KIB},
};

static void what_comes_into_use_reads_zero(void)
{
    for (size_t i = 0; i < UNIT_COUNT(grown); i++) {
        const struct grown *g = &grown[i];
        const struct qb_request rq = {
            .set = QB_KEY_SIZE, .size = g->size, .verify = QB_VERIFY_METADATA};
        struct image_shape shape = g->shape;
        struct image_bytes image;
        struct reading was, is;
        struct qb_mem_log *log;
        struct run r;
        const unsigned char *now;
        uint64_t size;

        shape.backing_file = amends_name(shape.backing_file);
        image = image_make(&shape, g->script);
        if (g->poke.len)
            poke_image(image.bytes, &g->poke);
        log = run_machine(&image);
        r = run_amend(log, 0, &rq, RUN_WHOLE);
        if (r.rc)
            fprintf(stderr, "\n%s: failed\n", g->name);
        CU_ASSERT_EQUAL(r.rc, 0);
        now = qb_mem_content(log, 0, &size);
        reading_take(image.bytes, image.size, NULL, &was);
        reading_resize(&was, g->size);
        reading_take(now, size, NULL, &is);
        CU_ASSERT_STRING_EQUAL(is.wrong, "");
        CU_ASSERT_EQUAL(is.corruptions, 0);
        CU_ASSERT_STRING_EQUAL(reading_differs(&was, &is), "");
        reading_free(&was);
        reading_free(&is);
        run_free(&r);
        qb_mem_log_free(log);
        image_bytes_free(&image);
    }
}

/* What a disk that grows in place brings into use has to be zero. */
static void a_new_l1_table_is_zero_to_the_end_of_its_cluster(void)
{
    static const struct image_shape shape = V3(9, 64 * KIB);
    const struct qb_request rq = {.set = QB_KEY_COMPAT, .compat = 2, .verify = QB_VERIFY_METADATA};
    struct image_bytes image = image_make(&shape, "dz");
    struct qb_mem_log *log = run_machine(&image);
    struct run r = run_amend(log, 0, &rq, RUN_WHOLE);
    uint64_t size, at;
    const unsigned char *now = qb_mem_content(log, 0, &size);

    CU_ASSERT_EQUAL(r.rc, 0);
    at = poke_place(now, IN_L1);
    CU_ASSERT(at >= image.size);
    CU_ASSERT_TRUE(qb_all_zero(now + at + 8, 512 - 8));
    run_free(&r);
    qb_mem_log_free(log);
    image_bytes_free(&image);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_comes_into_use_reads_zero),
        UNIT(a_new_l1_table_is_zero_to_the_end_of_its_cluster),
    };
    int rc;

    amends_begin();
    rc = unit_main("resize", tests, UNIT_COUNT(tests));
    amends_end();
    return rc;
}
