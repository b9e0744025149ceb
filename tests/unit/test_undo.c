/* An undo refuses each change that its proof is about, with the sentence of that part of the proof,
 * and looks once more between the proof and the write of the old header. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "amend/amend.h"
#include "amend/undo.h"
#include "images.h"
#include "poke.h"
#include "scratch.h"

enum { SECTOR = 512 };

static const struct qb_claim writable = {.writable = true};

/* An image amended with keep_undo, and what an undo has to know. */
struct amended {
    const char *path;
    struct qb_io *io;
    struct qb_amend *amend;
    uint8_t old[SECTOR], now[SECTOR];
    struct qb_proof proof;
    struct qb_undo_facts facts;
};

#define SHAPE(v)                                                                                   \
    {                                                                                              \
        .version = v, .cluster_bits = 9, .refcount_order = 4, .size = 65536                        \
    }

/* Clusters of 512 bytes: the refcount block lies at 0x400, the L1 table at 0x600, the first L2
 * table at 0x800. */
struct change {
    const char *name;
    struct image_shape shape;
    const char *script;
    struct qb_request rq;
    struct poke pokes[6]; /* what a guest, or somebody else, did to the amended image */
    const char *sentence; /* the beginning of the refusal; NULL: it can be undone */
};

#define WIDE                                                                                       \
    {                                                                                              \
        .set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64, .keep_undo = true                        \
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
     "what the old header refers to is not whole: a version 2 image has 1 zero clusters"},
    {"a refcount of the old image",
     SHAPE(3),
     "d2",
     GROW,
     {{IN_BLOCK, 0, 2, 0}},
     "what the old header refers to is not whole"},
};

/* Writes to the file what poke_image writes to an image in memory. */
static void change_file(const char *path, const struct poke *pokes, size_t n)
{
    uint8_t *bytes = calloc(1, 1 << 20);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ssize_t size = read(fd, bytes, 1 << 20);

    for (size_t i = 0; i < n && pokes[i].len; i++) {
        uint64_t at = poke_place(bytes, (enum place)pokes[i].in) + pokes[i].at;

        poke_image(bytes, &pokes[i]);
        if ((ssize_t)(at + pokes[i].len) > size)
            size = (ssize_t)(at + pokes[i].len);
    }
    CU_ASSERT_EQUAL(pwrite(fd, bytes, (size_t)size, 0), size);
    close(fd);
    free(bytes);
}

/* Amends an image, changes it, and takes its time as it is then: the proof alone has to see it. */
static void amended_begin(struct amended *m, const struct change *c)
{
    struct image_bytes image = image_make(&c->shape, c->script);
    struct qb_amend_facts facts;
    struct stat st;

    memset(m, 0, sizeof(*m));
    m->path = make_file("image", image.bytes, image.size);
    image_bytes_free(&image);
    m->io = open_kind(QB_IO_POSIX);
    m->amend = qb_amend_new(m->path);
    CU_ASSERT_EQUAL_FATAL(qb_amend_open(m->amend, m->io, writable, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(qb_amend_plan(m->amend, m->io, &c->rq), 0);
    CU_ASSERT_EQUAL_FATAL(qb_amend_append(m->amend, m->io), 0);
    facts = qb_amend_facts(m->amend);
    memcpy(m->old, facts.old_sector, SECTOR);
    memcpy(m->now, facts.new_sector, SECTOR);
    m->facts = (struct qb_undo_facts){.old_sector = m->old,
                                      .new_sector = m->now,
                                      .old_length = facts.old_length,
                                      .proof = &m->proof,
                                      .seen = true};
    m->proof = *qb_amend_proof(m->amend);
    CU_ASSERT_EQUAL(qb_amend_flip(m->amend, m->io), 0);
    CU_ASSERT_EQUAL(qb_amend_flipped(m->amend, 0), 0);
    qb_amend_settle(m->amend, m->io);
    qb_amend_close(m->amend);
    change_file(m->path, c->pokes, UNIT_COUNT(c->pokes));
    CU_ASSERT_EQUAL(stat(m->path, &st), 0);
    m->facts.length = (uint64_t)st.st_size;
    m->facts.ino = st.st_ino;
    m->facts.mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
}

static void each_part_of_the_proof_sees_its_change(void)
{
    for (size_t i = 0; i < UNIT_COUNT(changes); i++) {
        const struct change *c = &changes[i];
        const char *wanted = c->sentence ? c->sentence : "";
        struct amended m;
        struct qb_undo *u;
        const char *text;
        int rc;

        amended_begin(&m, c);
        u = qb_undo_new(m.path);
        rc = qb_undo_check(u, m.io, &m.facts, writable);
        text = rc < 0 ? qb_undo_result(u)->err.text : "";
        if (rc != (c->sentence ? -1 : 0) || strncmp(text, wanted, strlen(wanted)) != 0)
            fprintf(stderr, "\n%s: %d: %s\n", c->name, rc, text);
        CU_ASSERT_EQUAL(rc, c->sentence ? -1 : 0);
        CU_ASSERT_EQUAL(strncmp(text, wanted, strlen(wanted)), 0);
        qb_undo_close(u);
        qb_io_close(m.io);
    }
}

enum meddling { NOTHING, TAKES_PLACE, WRITES_HEADER, CHANGES_LENGTH };

static void meddle(const char *path, enum meddling how)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (how == TAKES_PLACE)
        CU_ASSERT_EQUAL(rename(make_file("other", "x", 1), path), 0);
    if (how == WRITES_HEADER)
        CU_ASSERT_EQUAL(pwrite(fd, "\1", 1, 511), 1);
    if (how == CHANGES_LENGTH)
        CU_ASSERT_EQUAL(ftruncate(fd, 1 << 20), 0);
    close(fd);
}

static void what_happens_between_proof_and_write_is_seen(void)
{
    for (int how = NOTHING; how <= CHANGES_LENGTH; how++) {
        struct amended m;
        struct qb_undo *u;
        uint8_t sector[SECTOR];
        int rc;

        amended_begin(&m, &unchanged);
        u = qb_undo_new(m.path);
        CU_ASSERT_EQUAL(qb_undo_check(u, m.io, &m.facts, writable), 0);
        meddle(m.path, how);
        rc = qb_undo_flip(u, m.io);
        CU_ASSERT_EQUAL(rc, how == NOTHING ? 0 : -1);
        if (rc < 0)
            CU_ASSERT_EQUAL(qb_undo_result(u)->err.code, QB_E_CHANGED);
        CU_ASSERT_EQUAL(pread(qb_undo_file(u)->fd, sector, SECTOR, 0), SECTOR);
        CU_ASSERT_EQUAL(memcmp(sector, m.old, SECTOR) == 0, how == NOTHING);
        qb_undo_close(u);
        qb_io_close(m.io);
    }
}

static void an_undo_that_the_disk_does_not_confirm_is_not_done(void)
{
    struct amended m;
    struct qb_undo *u;

    amended_begin(&m, &unchanged);
    u = qb_undo_new(m.path);
    CU_ASSERT_EQUAL(qb_undo_check(u, m.io, &m.facts, writable), 0);
    CU_ASSERT_EQUAL(qb_undo_flip(u, m.io), 0);
    CU_ASSERT_EQUAL(qb_undo_flipped(u, m.io, 5), -1);
    CU_ASSERT_EQUAL(qb_undo_result(u)->err.code, QB_E_DURABILITY);
    CU_ASSERT_FALSE(qb_undo_is_done(u));
    qb_undo_close(u);
    qb_io_close(m.io);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_part_of_the_proof_sees_its_change),
        UNIT(what_happens_between_proof_and_write_is_seen),
        UNIT(an_undo_that_the_disk_does_not_confirm_is_not_done),
    };

    return scratch_main("undo", tests, UNIT_COUNT(tests));
}
