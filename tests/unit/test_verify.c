/* Verification sees each kind of damage that the amended image can have: one is done to it between
 * the barrier behind the flip and the look.  Without the damage the same amend is verified. */
#include <string.h>

#include "amends.h"
#include "poke.h"
#include "unit.h"

#define KIB 1024u

struct damage {
    const char *name;
    struct image_shape shape;
    const char *script;
    struct qb_request rq;
    struct poke poke; /* in the amended image */
    const char *text; /* part of the sentence */
};

#define V3(bits, bytes, ...)                                                                       \
    {                                                                                              \
        .version = 3, .cluster_bits = bits, .refcount_order = 4, .size = bytes, __VA_ARGS__        \
    }
#define ASK(key, mode, ...)                                                                        \
    {                                                                                              \
        .set = QB_KEY_##key, .verify = QB_VERIFY_##mode, __VA_ARGS__                               \
    }
#define LAZY(mode) ASK(LAZY_REFCOUNTS, mode, .lazy_refcounts = true)
#define DOWN(mode) ASK(COMPAT, mode, .compat = 2)

static const char *const every[] = {"*"};

static const struct damage damages[] = {
    {"the header",
     V3(9, 64 * KIB),
     "d",
     LAZY(METADATA),
     {IN_HEADER, 87, 1, 0},
     "the header on disk"},
    {"an unused byte of its sector",
     V3(9, 64 * KIB),
     "d",
     LAZY(METADATA),
     {IN_HEADER, 511, 1, 1},
     "the header on disk"},
    {"the name past the sector",
     V3(12, 64 * KIB, .feature_names = true, .backing_file = "@short", .backing_fmt = "raw"),
     "d",
     LAZY(METADATA),
     {IN_HEADER, 536, 1, 1},
     "the header's extensions and backing name are not what they should be"},
    {"an extension past the sector",
     V3(11, 64 * KIB, .unknown_ext = 500),
     "d",
     LAZY(METADATA),
     {IN_HEADER, 600, 1, 1},
     "the header's extensions and backing name are not what they should be"},
    {"the appended name",
     V3(12, 64 * KIB, .feature_names = true),
     "d",
     ASK(BACKING_FILE, METADATA, .backing_file = "base.raw"),
     {IN_HEADER, 0x203, 1, 'E'},
     "the backing name is not what it should be"},
    {"an L1 entry that came into use",
     V3(9, 64 * KIB),
     "d",
     ASK(SIZE, METADATA, .size = 200 * KIB),
     {IN_L1, 24, 8, 0x800},
     "which came into use"},
    {"an L2 entry that came into use",
     V3(9, 8 * KIB),
     "d",
     ASK(SIZE, METADATA, .size = 24 * KIB),
     {IN_TABLE, 8 * 40, 8, 0x8000000000000a00},
     "the L2 table of the disk's old end has entries past that end"},
    {"a refcount", V3(9, 64 * KIB), "dz", DOWN(METADATA), {IN_BLOCK, 0, 2, 0}, "errors and"},
    {"a leak", V3(9, 64 * KIB), "dz", DOWN(METADATA), {IN_BLOCK, 0, 2, 2}, "1 leaked clusters"},
    {"the new L2 table", V3(9, 64 * KIB), "dz", DOWN(METADATA), {IN_TABLE, 0, 1, 0}, "errors and"},
    {"a snapshot's name, past its table",
     V3(9, 64 * KIB),
     "dz S",
     DOWN(METADATA),
     {IN_SNAPSHOTS, 14, 2, 0xffff},
     "the amended image is damaged"},
    {"the snapshot that stays",
     V3(9, 64 * KIB),
     "dS@1dS",
     ASK(SNAPSHOTS, METADATA, .snapshots_delete = {every, 1}, .snapshots_keep_newest = 1),
     {IN_SNAPSHOTS, 20, 4, 7},
     "snapshot 0 of the amended image is not the one that was to stay"},
    {"the guest's bytes", V3(9, 64 * KIB), "d4z", DOWN(CONTENT), {IN_DATA, 100, 1, 0x77}, ""},
    {"a mapping", V3(9, 64 * KIB), "d4 S z", LAZY(CONTENT), {IN_TABLE, 8, 8, 0}, ""},
};

/* The amend up to its verification, with the damage or without. */
static int verify(const struct damage *d, bool damaged, struct qb_err *err)
{
    struct image_shape shape = d->shape;
    struct image_bytes image;
    struct qb_mem_log *log;
    struct qb_io *io;
    struct qb_amend *a;
    uint64_t size;
    int rc;

    shape.backing_file = amends_name(shape.backing_file);
    image = image_make(&shape, d->script);
    log = run_machine(&image);
    io = run_io(log);
    a = run_open(io, log, 0);
    rc = qb_amend_plan(a, io, &d->rq) < 0 || qb_amend_remember(a, io) < 0 ||
         qb_amend_append(a, io) < 0 || qb_amend_flip(a, io) < 0 || qb_amend_flipped(a, 0) < 0;
    CU_ASSERT_EQUAL(rc, 0);
    if (damaged)
        poke_image((uint8_t *)(uintptr_t)qb_mem_content(log, 0, &size), &d->poke);
    rc = rc ? rc : qb_amend_verify(a, io);
    CU_ASSERT_EQUAL(qb_amend_result(a)->verified, rc == 0);
    CU_ASSERT_EQUAL(qb_amend_result(a)->old_sector != NULL, rc != 0); /* the way back */
    CU_ASSERT_EQUAL(qb_amend_result(a)->header_wrong,
                    damaged && d->poke.in == IN_HEADER && d->poke.at < 512);
    err->code = qb_amend_result(a)->err.code;
    snprintf(err->text, sizeof(err->text), "%s", rc ? qb_amend_result(a)->err.text : "");
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    image_bytes_free(&image);
    return rc;
}

static void every_damage_is_seen_and_named(void)
{
    for (size_t i = 0; i < UNIT_COUNT(damages); i++) {
        const struct damage *d = &damages[i];
        struct qb_err err = {0};
        int rc = verify(d, true, &err);

        if (rc != -1 || !strstr(err.text, d->text))
            fprintf(stderr, "\n%s: rc %d, %s\n", d->name, rc, err.text);
        CU_ASSERT_EQUAL(rc, -1);
        CU_ASSERT_EQUAL(err.code, QB_E_VERIFY);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, d->text));
    }
}

static void without_damage_nothing_is_seen(void)
{
    for (size_t i = 0; i < UNIT_COUNT(damages); i++) {
        struct qb_err err = {0};

        if (verify(&damages[i], false, &err) != 0)
            fprintf(stderr, "\n%s: %s\n", damages[i].name, err.text);
        CU_ASSERT_EQUAL(err.code, QB_E_NONE);
    }
}

/* Too little memory to look says nothing about the image. */
static void without_memory_the_image_is_not_called_damaged(void)
{
    static const struct image_shape shape = V3(9, 64 * KIB);
    struct image_bytes image = image_make(&shape, "d9z9");
    struct qb_mem_log *log = run_machine(&image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, 0);
    struct qb_request rq = DOWN(METADATA);

    CU_ASSERT_EQUAL(qb_amend_plan(a, io, &rq) + qb_amend_append(a, io), 0);
    CU_ASSERT_EQUAL(qb_amend_flip(a, io) + qb_amend_flipped(a, 0), 0);
    rq.memory_limit = 1;
    CU_ASSERT_EQUAL(qb_amend_verify(a, io), -1);
    CU_ASSERT_EQUAL(qb_amend_result(a)->err.code, QB_E_MEMORY);
    CU_ASSERT_PTR_NULL(qb_amend_result(a)->old_sector);
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    image_bytes_free(&image);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(every_damage_is_seen_and_named),
        UNIT(without_damage_nothing_is_seen),
        UNIT(without_memory_the_image_is_not_called_damaged),
    };
    int rc;

    amends_begin();
    rc = unit_main("verify", tests, UNIT_COUNT(tests));
    amends_end();
    return rc;
}
