/* Sector 0 as qb_sector_compose makes it: what is kept, what goes, and where the name lies. */
#include <string.h>

#include "plan/sector.h"
#include "amends.h"
#include "unit.h"

#define KIB 1024u

struct extension {
    uint32_t type, len;
    const uint8_t *data;
};

static uint64_t get(const uint8_t *at, unsigned len)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < len; i++)
        n = n << 8 | at[i];
    return n;
}

/* The extension number `n` of a sector; type 0: there are not so many. */
static struct extension extension(const struct qb_sector *s, unsigned n)
{
    uint64_t at = get(s->bytes + 4, 4) == 2 ? 72 : get(s->bytes + 100, 4);
    struct extension e = {0};

    for (unsigned i = 0; i <= n; i++) {
        e = (struct extension){(uint32_t)get(s->bytes + at, 4), (uint32_t)get(s->bytes + at + 4, 4),
                               s->bytes + at + 8};
        if (e.type == 0)
            return e;
        at += 8 + (e.len + 7) / 8 * 8;
    }
    return e;
}

/* Composes the sector of an image for a request; 0, or -1 with the code that refused it. */
static int compose(const struct image_shape *shape, const struct qb_request *rq,
                   struct qb_sector *out, struct qb_err *err)
{
    struct image_bytes bytes = image_make(shape, "d");
    struct qb_mem_log *log = run_machine(&bytes);
    struct qb_io *io = run_io(log);
    struct qb_file file;
    struct qb_image img;
    struct qb_target t;
    int r;

    if (qb_mem_reopen(log, 0, &file) < 0)
        abort();
    r = qb_image_open(io, &file, &img, err);
    CU_ASSERT_EQUAL_FATAL(r, 0);
    r = qb_target_resolve(&img, rq, &t, err);
    if (r == 0)
        r = qb_sector_compose(&img, &t, false, out, err);
    qb_image_close(&img);
    qb_file_close(&file);
    qb_io_close(io);
    qb_mem_log_free(log);
    image_bytes_free(&bytes);
    return r;
}

#define SHAPE(v, bits, ...)                                                                        \
    {                                                                                              \
        .version = v, .cluster_bits = bits, .refcount_order = 4, .size = 64 * KIB, __VA_ARGS__     \
    }

static const struct qb_request down = {.set = QB_KEY_COMPAT, .compat = 2, .drop_bitmaps = true};
static const struct qb_request named = {.set = QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT,
                                        .backing_file = "base.raw",
                                        .backing_fmt = "raw"};

static void the_backing_format_comes_first_and_others_stay(void)
{
    static const struct image_shape shape = SHAPE(3, 9, .unknown_ext = 21);
    struct qb_sector s;
    struct extension e;

    CU_ASSERT_EQUAL_FATAL(compose(&shape, &named, &s, NULL), 0);
    e = extension(&s, 0);
    CU_ASSERT(e.type == 0xe2792aca && e.len == 3 && memcmp(e.data, "raw", 3) == 0);
    e = extension(&s, 1);
    CU_ASSERT(e.type == 0x12345678 && e.len == 21 && e.data[20] == 0xa5);
    CU_ASSERT_EQUAL(extension(&s, 2).type, 0);
    CU_ASSERT_EQUAL(memcmp(s.bytes + get(s.bytes + 8, 8), "base.raw", 8), 0);
    CU_ASSERT_EQUAL(get(s.bytes + 16, 4), 8);
    CU_ASSERT_EQUAL(s.name_at, 0);
}

static void a_name_has_1023_bytes_at_most(void)
{
    static const struct image_shape shape = SHAPE(3, 12, .feature_names = true);
    char name[1025];
    struct qb_request rq = {.set = QB_KEY_BACKING_FILE, .backing_file = name};
    struct qb_sector s;
    struct qb_err err;

    memset(name, 'n', sizeof(name));
    name[1023] = '\0';
    CU_ASSERT_EQUAL(compose(&shape, &rq, &s, &err), 0);
    CU_ASSERT_EQUAL(get(s.bytes + 16, 4), 1023);
    name[1023] = 'n';
    name[1024] = '\0';
    CU_ASSERT_EQUAL(compose(&shape, &rq, &s, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_REFUSED);
}

/* A bit of a feature that nobody here knows: whoever writes the image must clear it. */
static void unknown_autoclear_bits_go(void)
{
    static const struct image_shape shape = SHAPE(3, 9, );
    struct image_bytes image = image_make(&shape, "d");
    struct qb_mem_log *log;
    struct run r;
    uint64_t size;

    image.bytes[94] = 0x10;
    log = run_machine(&image);
    r = run_amend(log, 0, &named, RUN_WHOLE);
    CU_ASSERT_EQUAL(r.result.status, QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(get(qb_mem_content(log, 0, &size) + 88, 8), 0);
    run_free(&r);
    qb_mem_log_free(log);
    image_bytes_free(&image);
}

static void an_l1_table_has_32_mib_at_most(void)
{
    static const struct image_shape shape = SHAPE(3, 9, );
    struct qb_request rq = {.set = QB_KEY_SIZE, .size = (32ull << 20) / 8 * 64 * 512};
    struct qb_sector s;
    struct qb_err err;

    CU_ASSERT_EQUAL(compose(&shape, &rq, &s, &err), 0);
    rq.size += 512;
    CU_ASSERT_EQUAL(compose(&shape, &rq, &s, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_REFUSED);
}

static void version_2_has_neither_bitmaps_nor_feature_names(void)
{
    static const struct image_shape shape =
        SHAPE(3, 12, .bitmaps = 1, .feature_names = true, .unknown_ext = 16);
    struct qb_sector s;

    CU_ASSERT_EQUAL_FATAL(compose(&shape, &down, &s, NULL), 0);
    CU_ASSERT_EQUAL(extension(&s, 0).type, 0x12345678);
    CU_ASSERT_EQUAL(extension(&s, 1).type, 0);
}

static void bitmaps_stay_where_nothing_drops_them(void)
{
    static const struct image_shape shape = SHAPE(3, 9, .bitmaps = 1);
    struct qb_sector s;

    CU_ASSERT_EQUAL_FATAL(compose(&shape, &named, &s, NULL), 0);
    CU_ASSERT_EQUAL(extension(&s, 1).type, 0x23852875);
}

static void header_fields_that_nobody_knows_are_kept(void)
{
    static const struct image_shape shape = SHAPE(3, 9, .header_length = 136);
    struct image_bytes bytes = image_make(&shape, "d");
    struct qb_mem_log *log;
    struct qb_io *io;
    struct qb_file file;
    struct qb_image img;
    struct qb_target t;
    struct qb_sector s;

    memset(bytes.bytes + 112, 0x3c, 24);
    log = run_machine(&bytes);
    io = run_io(log);
    CU_ASSERT_EQUAL_FATAL(qb_mem_reopen(log, 0, &file), 0);
    CU_ASSERT_EQUAL_FATAL(qb_image_open(io, &file, &img, NULL), 0);
    CU_ASSERT_EQUAL(qb_target_resolve(&img, &named, &t, NULL), 0);
    CU_ASSERT_EQUAL(qb_sector_compose(&img, &t, false, &s, NULL), 0);
    CU_ASSERT_EQUAL(get(s.bytes + 100, 4), 136);
    CU_ASSERT_EQUAL(memcmp(s.bytes + 112, bytes.bytes + 112, 24), 0);
    qb_image_close(&img);
    qb_file_close(&file);
    qb_io_close(io);
    qb_mem_log_free(log);
    image_bytes_free(&bytes);
}

/* Behind the old name, which the old header still needs. */
static void a_name_without_room_goes_past_all_that_the_old_header_uses(void)
{
    static const struct image_shape shape =
        SHAPE(3, 12, .feature_names = true, .backing_file = "old-name.raw", .backing_fmt = "raw");
    struct qb_sector s;
    struct qb_request rq = named;

    rq.backing_file = "a-new-name.raw";
    CU_ASSERT_EQUAL_FATAL(compose(&shape, &rq, &s, NULL), 0);
    /* 112 bytes of header, 16 + 392 + 8 of extensions, 12 of the old name; whole words. */
    CU_ASSERT_EQUAL(s.name_at, 544);
    CU_ASSERT_EQUAL(s.name_len, strlen("a-new-name.raw"));
    CU_ASSERT_EQUAL(get(s.bytes + 8, 8), s.name_at);
}

static void extensions_that_are_not_all_kept_are_not_moved(void)
{
    static const struct image_shape shape = SHAPE(3, 11, .unknown_ext = 600);
    struct qb_sector s;
    struct qb_err err = {0};

    CU_ASSERT_EQUAL(compose(&shape, &down, &s, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_HEADER_FULL);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(the_backing_format_comes_first_and_others_stay),
        UNIT(a_name_has_1023_bytes_at_most),
        UNIT(unknown_autoclear_bits_go),
        UNIT(an_l1_table_has_32_mib_at_most),
        UNIT(version_2_has_neither_bitmaps_nor_feature_names),
        UNIT(bitmaps_stay_where_nothing_drops_them),
        UNIT(header_fields_that_nobody_knows_are_kept),
        UNIT(a_name_without_room_goes_past_all_that_the_old_header_uses),
        UNIT(extensions_that_are_not_all_kept_are_not_moved),
    };

    return unit_main("sector", tests, UNIT_COUNT(tests));
}
