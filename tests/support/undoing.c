#include "undoing.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reading.h"
#include "scratch.h"

enum { SECTOR = 512, FILE_MAX_BYTES = 8 << 20 };

void amended_poke(struct amended *m, const struct poke *pokes, size_t n, enum in_image in)
{
    uint8_t *bytes = calloc(1, FILE_MAX_BYTES);
    int fd = open(m->path, O_RDWR | O_CLOEXEC);
    ssize_t size = read(fd, bytes, FILE_MAX_BYTES);

    if (in == IN_OLD)
        memcpy(bytes, m->old, SECTOR);
    for (size_t i = 0; i < n && pokes[i].len; i++) {
        uint64_t at = poke_place(bytes, (enum place)pokes[i].in) + pokes[i].at;

        poke_image(bytes, &pokes[i]);
        if ((ssize_t)(at + pokes[i].len) > size)
            size = (ssize_t)(at + pokes[i].len);
    }
    if (in == IN_OLD)
        memcpy(bytes, m->now, SECTOR);
    CU_ASSERT_EQUAL(pwrite(fd, bytes, (size_t)size, 0), size);
    close(fd);
    free(bytes);
}

void amended_note(struct amended *m)
{
    struct stat st;

    CU_ASSERT_EQUAL(stat(m->path, &st), 0);
    m->facts.length = (uint64_t)st.st_size;
    m->facts.ino = st.st_ino;
    m->facts.mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
}

bool amended_try(struct amended *m, const struct image_bytes *image, const struct qb_request *asked)
{
    static const struct qb_claim writable = {.writable = true};
    struct qb_request rq = *asked;
    struct qb_amend_facts facts;
    struct qb_amend *a;

    memset(m, 0, sizeof(*m));
    m->path = make_file("image", image->bytes, image->size);
    m->io = open_kind(QB_IO_POSIX);
    qb_io_set_window(m->io, QB_WINDOW_LEAST); /* a long stretch is written in several parts */
    rq.verify = QB_VERIFY_METADATA;
    a = qb_amend_new(m->path);
    CU_ASSERT_EQUAL_FATAL(qb_amend_open(a, m->io, writable, NULL), 0);
    if (qb_amend_plan(a, m->io, &rq) < 0 || qb_amend_result(a)->status != QB_STATUS_WOULD_CHANGE) {
        qb_amend_close(a);
        return false;
    }
    CU_ASSERT_EQUAL_FATAL(qb_amend_append(a, m->io), 0);
    facts = qb_amend_facts(a);
    memcpy(m->old, facts.old_sector, SECTOR);
    memcpy(m->now, facts.new_sector, SECTOR);
    m->facts = (struct qb_undo_facts){.old_sector = m->old,
                                      .new_sector = m->now,
                                      .old_length = facts.old_length,
                                      .proof = &m->proof,
                                      .seen = true};
    if (qb_amend_proof(a))
        CU_ASSERT_EQUAL(qb_proof_copy(qb_amend_proof(a), &m->proof, qb_amend_err(a)), 0);
    CU_ASSERT_EQUAL(qb_amend_flip(a, m->io), 0);
    CU_ASSERT_EQUAL(qb_amend_flipped(a, 0), 0);
    CU_ASSERT_EQUAL(qb_amend_verify(a, m->io), 0); /* what is kept is counted, and no leak */
    qb_amend_settle(a, m->io);
    qb_amend_close(a);
    amended_note(m);
    return true;
}

void amended_begin(struct amended *m, const struct change *c, enum in_image in)
{
    struct image_bytes image = image_make(&c->shape, c->script);

    CU_ASSERT_FATAL(amended_try(m, &image, &c->rq));
    image_bytes_free(&image);
    amended_poke(m, c->pokes, CHANGE_POKES, in);
    amended_note(m);
}

void amended_end(struct amended *m)
{
    qb_proof_free(&m->proof);
    qb_io_close(m->io);
}

/* Carries the undo out: every guest sees what it saw before the amend, and nothing is damaged. */
static void undo_and_look(struct amended *m, struct qb_undo *u, const struct change *c)
{
    struct image_bytes image = image_make(&c->shape, c->script);
    uint8_t *bytes = calloc(1, FILE_MAX_BYTES);
    struct reading was, is;
    int fd = open(m->path, O_RDONLY | O_CLOEXEC);

    CU_ASSERT_EQUAL(qb_undo_flip(u, m->io), 0);
    CU_ASSERT_EQUAL(qb_undo_flipped(u, m->io, 0), 0);
    reading_take(image.bytes, image.size, NULL, &was);
    reading_take(bytes, (uint64_t)read(fd, bytes, FILE_MAX_BYTES), NULL, &is);
    CU_ASSERT_STRING_EQUAL(is.wrong, "");
    CU_ASSERT_EQUAL(is.corruptions, was.corruptions);
    CU_ASSERT_STRING_EQUAL(reading_differs(&was, &is), "");
    reading_free(&was);
    reading_free(&is);
    close(fd);
    free(bytes);
    image_bytes_free(&image);
}

void amended_judge(const struct change *changes, size_t n, enum in_image in)
{
    for (size_t i = 0; i < n; i++) {
        const struct change *c = &changes[i];
        const char *wanted = c->sentence ? c->sentence : "", *text;
        struct amended m;
        struct qb_undo *u;
        int rc;

        amended_begin(&m, c, in);
        u = qb_undo_new(m.path);
        rc = qb_undo_check(u, m.io, &m.facts, (struct qb_claim){.writable = true});
        text = rc < 0 ? qb_undo_result(u)->err.text : "";
        if (rc != (c->sentence ? -1 : 0) || strncmp(text, wanted, strlen(wanted)) != 0)
            fprintf(stderr, "\n%s: %d: %s\n", c->name, rc, text);
        CU_ASSERT_EQUAL(rc, c->sentence ? -1 : 0);
        CU_ASSERT_EQUAL(strncmp(text, wanted, strlen(wanted)), 0);
        if (rc == 0)
            undo_and_look(&m, u, c);
        qb_undo_close(u);
        amended_end(&m);
    }
}
