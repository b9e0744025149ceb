/* The last look of an undo, between its proof and the write of the old header. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "amend/amend.h"
#include "amend/undo.h"
#include "images.h"
#include "scratch.h"

enum { SECTOR = 512 };

static const struct image_shape shape = {
    .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536};
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

static void amended_begin(struct amended *m)
{
    static const struct qb_request wide = {
        .set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64, .keep_undo = true};
    struct image_bytes image = image_make(&shape, "d9z9");
    struct qb_amend_facts facts;
    struct stat st;

    memset(m, 0, sizeof(*m));
    m->path = make_file("image", image.bytes, image.size);
    image_bytes_free(&image);
    m->io = open_kind(QB_IO_POSIX);
    m->amend = qb_amend_new(m->path);
    CU_ASSERT_EQUAL_FATAL(qb_amend_open(m->amend, m->io, writable, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(qb_amend_plan(m->amend, m->io, &wide), 0);
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
    CU_ASSERT_EQUAL(stat(m->path, &st), 0);
    m->facts.length = (uint64_t)st.st_size;
    m->facts.ino = st.st_ino;
    m->facts.mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
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

        amended_begin(&m);
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

    amended_begin(&m);
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
        UNIT(what_happens_between_proof_and_write_is_seen),
        UNIT(an_undo_that_the_disk_does_not_confirm_is_not_done),
    };

    return scratch_main("undo", tests, UNIT_COUNT(tests));
}
