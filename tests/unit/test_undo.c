/* An undo refuses each change that its proof is about, with the sentence of that part of the proof,
 * and looks once more between the proof and the write of the old header. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scratch.h"
#include "undoing.h"

enum { SECTOR = 512 };

static const struct qb_claim writable = {.writable = true};

#define SHAPE(v)                                                                                   \
    {                                                                                              \
        .version = v, .cluster_bits = 9, .refcount_order = 4, .size = 65536                        \
    }

/* Clusters of 512 bytes: the refcount block lies at 0x400, the L1 table at 0x600, the first L2
 * table at 0x800. */

#define WIDE                                                                                       \
    {                                                                                              \
        .set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64, .keep_undo = true                        \
    }
#define DIRTY                                                                                      \
    {                                                                                              \
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536, .dirty = true         \
    }
#define BACKED                                                                                     \
    {                                                                                              \
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536,                       \
        .backing_file = "base", .backing_fmt = "raw"                                               \
    }
#define LARGE                                                                                      \
    {                                                                                              \
        .version = 3, .cluster_bits = 12, .refcount_order = 4, .size = 65536                       \
    }
#define CUT                                                                                        \
    {                                                                                              \
        .set = QB_KEY_SIZE, .size = 20992, .allow_shrink = true, .keep_undo = true                 \
    }
#define UP                                                                                         \
    {                                                                                              \
        .set = QB_KEY_COMPAT, .compat = 3, .keep_undo = true                                       \
    }
#define DOWN                                                                                       \
    {                                                                                              \
        .set = QB_KEY_COMPAT, .compat = 2, .keep_undo = true                                       \
    }
#define GROW                                                                                       \
    {                                                                                              \
        .set = QB_KEY_SIZE, .size = 200 * 1024, .keep_undo = true                                  \
    }

#define LONG_STRETCH                                                                               \
    "@0dz@8192dz@16384dz@24576dz@32768dz@40960dz@49152dz@57344dz@65536dz@73728dz@81920"            \
    "dz@90112dz@98304dz@106496dz@114688dz@122880dz@131072dz@139264dz@147456dz@155648dz"

static const struct change unchanged = {"nothing", SHAPE(3), "d9z9", WIDE, {{0}}, NULL};

static const struct change changes[] = {
    {"nothing, up", SHAPE(2), "d9", UP, {{0}}, NULL},
    {"nothing, down", SHAPE(3), "d9z9", DOWN, {{0}}, NULL},
    {"nothing, grown", SHAPE(3), "d", GROW, {{0}}, NULL},
    {"the new refcounts", SHAPE(3), "d9", WIDE, {{IN_BLOCK, 0, 8, 2}}, "the amended tables were"},
    {"the new L2 table", SHAPE(3), "d9z", DOWN, {{IN_TABLE, 0, 8, 0}}, "the amended tables were"},
    {"a table and data past the old L1 table",
     SHAPE(3),
     "d",
     GROW,
     {{IN_L1, 16, 8, 0x8000000000000c00},
      {IN_HEADER, 0xc00, 8, 0x8000000000000e00},
      {IN_BLOCK, 12, 4, 0x10001},
      {IN_HEADER, 0xfff, 1, 0x77}},
     "a cluster was allocated"},
    {"a table that is used once more",
     SHAPE(3),
     "d",
     GROW,
     {{IN_L1, 16, 8, 0x800}},
     "references to a cluster were added"},
    {"two entries of the old table, exchanged",
     SHAPE(3),
     "d2z",
     DOWN,
     {{IN_HEADER, 0x800, 8, 0x8000000000000c00}, {IN_HEADER, 0x808, 8, 0x8000000000000a00}},
     "what the guest cluster at 0 consists of changed"},
    {"a zero cluster in a table of both",
     SHAPE(2),
     "d2",
     UP,
     {{IN_TABLE, 24, 8, 1}},
     "what the old header refers to is not whole: a version 2 image has 1 zero cluster"},
    {"a refcount of the old image",
     SHAPE(3),
     "d2",
     GROW,
     {{IN_BLOCK, 0, 2, 0}},
     "what the old header refers to is not whole"},
    {"a zero cluster past the old end, in a table of both",
     {.version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 8192},
     "d",
     {.set = QB_KEY_SIZE, .size = 24576, .keep_undo = true},
     {{IN_TABLE, 160, 8, 1}},
     "the disk was written past its old end"},
    {"an extension past the sector",
     {.version = 3, .cluster_bits = 11, .refcount_order = 4, .size = 65536, .unknown_ext = 500},
     "d9",
     WIDE,
     {{IN_HEADER, 600, 1, 1}},
     "the old header's extensions or names were overwritten"},
    {"the name past the sector",
     {.version = 3, .cluster_bits = 12, .refcount_order = 4, .size = 65536, .feature_names = true},
     "d",
     {.set = QB_KEY_BACKING_FILE, .backing_file = "base.raw", .keep_undo = true},
     {{IN_HEADER, 0x203, 1, 'E'}},
     "the backing file name was written"},
    {"the end of a long stretch of tables",
     {.version = 3, .cluster_bits = 16, .refcount_order = 4, .size = 20ull << 29},
     LONG_STRETCH,
     DOWN,
     {{IN_REFTABLE, 8, 8, 0x10000}},
     "the amended tables were"},
    {"a new cluster of zeros", BACKED, "z9", DOWN, {{IN_DATA, 511, 1, 7}}, "a new cluster was"},
    {"nothing, cut within a cluster", LARGE, "d16", CUT, {{0}}, NULL},
    {"a refcount of an image that was dirty",
     DIRTY,
     "",
     {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true, .keep_undo = true},
     {{IN_BLOCK, 6, 2, 0}},
     "the amended image, with what is kept for an undo, is not whole"},
};

static void each_part_of_the_proof_sees_its_change(void)
{
    static const uint8_t base[65536] = {1};

    make_file("base", base, sizeof(base));
    amended_judge(changes, UNIT_COUNT(changes), IN_AMENDED);
}

enum meddling { NOTHING, TAKES_PLACE, WRITES_HEADER, CHANGES_LENGTH, WRITES_UNSEEN, IS_DEVICE };

/* WRITES_UNSEEN: the header alone tells. */
static void meddle(const char *path, enum meddling how)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    struct stat st;

    CU_ASSERT_EQUAL(fstat(fd, &st), 0);
    if (how == TAKES_PLACE)
        CU_ASSERT_EQUAL(rename(make_file("other", "x", 1), path), 0);
    if (how == WRITES_HEADER || how == WRITES_UNSEEN)
        CU_ASSERT_EQUAL(pwrite(fd, "\1", 1, 511), 1);
    if (how == CHANGES_LENGTH)
        CU_ASSERT_EQUAL(ftruncate(fd, 1 << 20), 0);
    if (how == WRITES_UNSEEN)
        CU_ASSERT_EQUAL(futimens(fd, (struct timespec[]){st.st_atim, st.st_mtim}), 0);
    close(fd);
}

static void what_happens_between_proof_and_write_is_seen(void)
{
    for (int how = NOTHING; how <= IS_DEVICE; how++) {
        struct amended m;
        struct qb_undo *u;
        uint8_t sector[SECTOR];
        int rc;

        amended_begin(&m, &unchanged, IN_AMENDED);
        u = qb_undo_new(m.path);
        CU_ASSERT_EQUAL(qb_undo_check(u, m.io, &m.facts, writable), 0);
        meddle(m.path, how);
        qb_undo_file(u)->is_block_device = how == IS_DEVICE;
        rc = qb_undo_flip(u, m.io);
        CU_ASSERT_EQUAL(rc, how == NOTHING ? 0 : -1);
        if (rc < 0)
            CU_ASSERT_EQUAL(qb_undo_result(u)->err.code, QB_E_CHANGED);
        CU_ASSERT_EQUAL(pread(qb_undo_file(u)->fd, sector, SECTOR, 0), SECTOR);
        CU_ASSERT_EQUAL(memcmp(sector, m.old, SECTOR) == 0, how == NOTHING);
        qb_undo_close(u);
        amended_end(&m);
    }
}

static void an_undo_that_the_disk_does_not_confirm_is_not_done(void)
{
    struct amended m;
    struct qb_undo *u;

    amended_begin(&m, &unchanged, IN_AMENDED);
    u = qb_undo_new(m.path);
    CU_ASSERT_EQUAL(qb_undo_check(u, m.io, &m.facts, writable), 0);
    CU_ASSERT_EQUAL(qb_undo_flip(u, m.io), 0);
    CU_ASSERT_EQUAL(qb_undo_flipped(u, m.io, 5), -1);
    CU_ASSERT_EQUAL(qb_undo_result(u)->err.code, QB_E_DURABILITY);
    CU_ASSERT_FALSE(qb_undo_is_done(u));
    qb_undo_close(u);
    amended_end(&m);
}

/* The kernel would write a part of the sector, so that it is not asked; the next call writes it. */
static void a_header_that_was_not_written_is_written_by_the_next_call(void)
{
    struct rlimit limit, low;
    struct amended m;
    struct qb_undo *u;

    amended_begin(&m, &unchanged, IN_AMENDED);
    u = qb_undo_new(m.path);
    CU_ASSERT_EQUAL(qb_undo_check(u, m.io, &m.facts, writable), 0);
    CU_ASSERT_EQUAL(getrlimit(RLIMIT_FSIZE, &limit), 0);
    low = (struct rlimit){100, limit.rlim_max};
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &low), 0);
    CU_ASSERT_EQUAL(qb_undo_flip(u, m.io), -1);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CU_ASSERT_EQUAL(qb_undo_flip(u, m.io), 0);
    CU_ASSERT_EQUAL(qb_undo_flipped(u, m.io, 0), 0);
    CU_ASSERT(qb_undo_is_done(u));
    qb_undo_close(u);
    amended_end(&m);
}

/* The old header is there, of an undo that was interrupted; what it leads to is damaged. */
static void a_tail_behind_damage_stays(void)
{
    for (int damaged = 0; damaged <= 1; damaged++) {
        struct amended m;
        struct qb_undo *u;
        int fd;

        amended_begin(&m, &unchanged, IN_AMENDED);
        fd = open(m.path, O_WRONLY | O_CLOEXEC);
        CU_ASSERT_EQUAL(pwrite(fd, m.old, SECTOR, 0), SECTOR);
        CU_ASSERT_EQUAL(pwrite(fd, damaged ? "\x80\xff" : "\x80", 1 + (size_t)damaged, 0x800),
                        1 + damaged);
        close(fd);
        u = qb_undo_new(m.path);
        CU_ASSERT_EQUAL(qb_undo_check(u, m.io, &m.facts, writable), 0);
        CU_ASSERT_EQUAL(qb_undo_result(u)->status,
                        damaged ? QB_STATUS_UNCHANGED : QB_STATUS_WOULD_CHANGE);
        qb_undo_close(u);
        amended_end(&m);
    }
}

/* Its fingerprint is of all of them. */
static void a_stretch_that_was_written_in_parts_is_known_again(void)
{
    static const struct change stretch = {
        "nothing",    {.version = 3, .cluster_bits = 16, .refcount_order = 4, .size = 20ull << 29},
        LONG_STRETCH, DOWN,
        {{0}},        NULL};
    struct amended m;
    struct qb_undo *u;

    amended_begin(&m, &stretch, IN_AMENDED);
    u = qb_undo_new(m.path);
    CU_ASSERT_EQUAL(qb_undo_check(u, m.io, &m.facts, writable), 0);
    qb_undo_close(u);
    amended_end(&m);
}

/* Whatever both images refer to stays, wherever in the file a guest has put it. */
static void the_tail_that_is_cut_ends_where_the_old_image_ends(void)
{
    static const struct change used = {
        "data past the old file's end",
        SHAPE(3),
        "d",
        {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true, .keep_undo = true},
        {{IN_TABLE, 8, 8, 0x8000000000000c00}, {IN_BLOCK, 12, 2, 1}, {IN_HEADER, 0xdff, 1, 0}},
        NULL};
    const struct change *both[] = {&used, &unchanged};

    for (size_t i = 0; i < UNIT_COUNT(both); i++) {
        struct amended m;
        struct qb_undo *u;
        struct stat st;

        amended_begin(&m, both[i], IN_AMENDED);
        u = qb_undo_new(m.path);
        CU_ASSERT_EQUAL(qb_undo_check(u, m.io, &m.facts, writable), 0);
        CU_ASSERT_EQUAL(qb_undo_flip(u, m.io), 0);
        CU_ASSERT_EQUAL(qb_undo_flipped(u, m.io, 0), 0);
        CU_ASSERT_EQUAL(stat(m.path, &st), 0);
        CU_ASSERT_EQUAL(st.st_size, i == 0 ? 0xe00 : (off_t)m.facts.old_length);
        qb_undo_close(u);
        amended_end(&m);
    }
}

/* What stands past the header's first sector is in the proof, and must be what was planned for. */
static void a_header_that_changes_before_the_proof_is_taken(void)
{
    static const struct image_shape far = {
        .version = 3, .cluster_bits = 11, .refcount_order = 4, .size = 65536, .unknown_ext = 500};
    struct image_bytes image = image_make(&far, "d9");
    const char *path = make_file("image", image.bytes, image.size);
    struct qb_io *io = open_kind(QB_IO_POSIX);
    struct qb_amend *a = qb_amend_new(path);
    const struct qb_request wide = WIDE;
    int fd;

    CU_ASSERT_EQUAL_FATAL(qb_amend_open(a, io, writable, NULL), 0);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL(pwrite(fd, "x", 1, 530), 1);
    CU_ASSERT_EQUAL(qb_amend_plan(a, io, &wide), -1);
    CU_ASSERT_EQUAL(qb_amend_result(a)->err.code, QB_E_CHANGED);
    close(fd);
    qb_amend_close(a);
    qb_io_close(io);
    image_bytes_free(&image);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_part_of_the_proof_sees_its_change),
        UNIT(what_happens_between_proof_and_write_is_seen),
        UNIT(a_header_that_was_not_written_is_written_by_the_next_call),
        UNIT(a_stretch_that_was_written_in_parts_is_known_again),
        UNIT(a_tail_behind_damage_stays),
        UNIT(the_tail_that_is_cut_ends_where_the_old_image_ends),
        UNIT(a_header_that_changes_before_the_proof_is_taken),
        UNIT(an_undo_that_the_disk_does_not_confirm_is_not_done),
    };

    return scratch_main("undo", tests, UNIT_COUNT(tests));
}
