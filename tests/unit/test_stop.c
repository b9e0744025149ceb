/* Interruption: whichever time an amend asks whether to continue, the answer no ends it soon, with
 * the code for it and before anything is left behind. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "judge.h"
#include "qcow2/disk.h"
#include "unit.h"

/* Asks that may still come after the answer was no: a request or two to undo what was begun. */
#define FURTHER 8

struct patience {
    unsigned long asked, limit; /* the answer is no once `asked` has passed `limit` */
};

static bool is_to_stop(void *arg)
{
    struct patience *p = arg;

    return ++p->asked > p->limit;
}

/* Plans and appends; 0, or -1 where that was given up or refused. */
static int begin(struct qb_amend *a, struct qb_io *io, const struct qb_request *rq)
{
    if (qb_amend_plan(a, io, rq) < 0)
        return -1;
    if (qb_amend_result(a)->status != QB_STATUS_WOULD_CHANGE)
        return 0;
    if (qb_amend_remember(a, io) < 0)
        return -1;
    return qb_amend_append(a, io);
}

/* The asks of an amend that is stopped at ask number `limit`; *ended: it came to its end before. */
static unsigned long stop_at(const struct subject *s, bool has_tail, unsigned long limit,
                             bool *ended)
{
    struct qb_mem_log *log = run_machine(&s->image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, 0);
    struct patience p = {.limit = limit};
    uint64_t size;
    const uint8_t *bytes;
    int r = -1;

    if (qb_amend_result(a)->status != QB_STATUS_FAILED) {
        qb_io_set_stop(io, is_to_stop, &p);
        r = begin(a, io, &s->rq);
        qb_io_set_stop(io, NULL, NULL);
    }
    *ended = p.asked <= limit;
    if (!*ended && r == 0) {
        CU_ASSERT(p.asked <= limit + 2); /* a change of length is not left out: it was the last */
    } else if (!*ended) {
        CU_ASSERT_EQUAL(r, -1);
        CU_ASSERT_EQUAL(qb_amend_result(a)->err.code, QB_E_CANCELLED);
        CU_ASSERT(p.asked <= limit + FURTHER);
        qb_amend_cancel(a, io, QB_E_CANCELLED);
        bytes = qb_mem_content(log, 0, &size);
        CU_ASSERT(size == s->image.size);
        CU_ASSERT(has_tail || memcmp(bytes, s->image.bytes, size) == 0);
    }
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    return p.asked;
}

static void an_amend_that_is_stopped_ends_whenever_that_is(void)
{
    unsigned long stopped = 0;

    for (size_t i = 0; i < n_recipes; i++)
        for (size_t k = i % 3; k < n_wishes; k += 3) {
            struct subject s = subject_of(&recipes[i], &wishes[k]);
            /* Unused bytes may be written over: behind the last cluster, and for a backing name
             * behind the header's sector. */
            bool ended = false, has_tail = recipes[i].shape.tail_bytes || s.image.reserved ||
                                           (s.rq.set & QB_KEY_BACKING_FILE);

            if (!s.heavy)
                s.rq.verify = k % 2 ? QB_VERIFY_CONTENT : QB_VERIFY_METADATA;
            for (unsigned long n = 0; !ended && !s.heavy; n += 1 + n / 8, stopped++)
                stop_at(&s, has_tail, n, &ended);
            subject_free(&s);
        }
    CU_ASSERT(stopped > 5000);
}

/* A sparse file of 64 GiB: an L1 table that names `tables` L2 tables, all of them in holes. */
static char *make_sparse(uint32_t tables)
{
    static char path[] = "/tmp/qbatch-stop-XXXXXX";
    struct qb_disk_header h = {
        .magic = be32_of(QB_MAGIC),
        .version = be32_of(3),
        .cluster_bits = be32_of(9),
        .size = be64_of(tables * 32768ull),
        .l1_size = be32_of(tables),
        .l1_table_offset = be64_of(1 << 20),
        .refcount_table_offset = be64_of(512),
        .refcount_table_clusters = be32_of(1),
        .incompatible = be64_of(QB_INCOMPAT_DIRTY),
        .refcount_order = be32_of(4),
        .header_length = be32_of(QB_V3_HEADER_LENGTH),
    };
    int fd = mkstemp(path);
    be64 *l1 = calloc(tables, sizeof(*l1));

    CU_ASSERT_FATAL(fd >= 0 && l1 != NULL);
    for (uint32_t i = 0; i < tables; i++)
        l1[i] = be64_of((8ull << 20) + i * 16384ull);
    CU_ASSERT_EQUAL(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
    CU_ASSERT_EQUAL(pwrite(fd, l1, tables * 8, 1 << 20), tables * 8);
    CU_ASSERT_EQUAL(ftruncate(fd, 64ll << 30), 0);
    close(fd);
    free(l1);
    return path;
}

/* Holes are walked without a request that would notice: the walk itself has to ask. */
static void a_walk_through_holes_asks_as_it_goes(void)
{
    enum { TABLES = 200000, EACH = 1024 };
    const struct qb_request rq = {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true};
    char *path = make_sparse(TABLES);
    const struct qb_claim claim = {.writable = true};
    struct patience p = {.limit = ULONG_MAX - 1};
    struct qb_amend *a = qb_amend_new(path);
    struct qb_io *io;
    struct qb_err err;

    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, &err), 0);
    CU_ASSERT_EQUAL(qb_amend_open(a, io, claim, NULL), 0);
    qb_io_set_stop(io, is_to_stop, &p);
    qb_amend_plan(a, io, &rq);
    CU_ASSERT(p.asked > TABLES / EACH);
    CU_ASSERT_NOT_EQUAL(qb_amend_result(a)->err.code, QB_E_CANCELLED);
    qb_amend_close(a);
    for (unsigned long n = 0, all = p.asked; n < all; n += 1 + n / 4) {
        p = (struct patience){.limit = n};
        a = qb_amend_new(path);
        qb_io_set_stop(io, NULL, NULL);
        CU_ASSERT_EQUAL(qb_amend_open(a, io, claim, NULL), 0);
        qb_io_set_stop(io, is_to_stop, &p);
        CU_ASSERT_EQUAL(qb_amend_plan(a, io, &rq), -1);
        CU_ASSERT_EQUAL(qb_amend_result(a)->err.code, QB_E_CANCELLED);
        CU_ASSERT(p.asked <= n + FURTHER);
        qb_amend_close(a);
    }
    qb_io_close(io);
    unlink(path);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(an_amend_that_is_stopped_ends_whenever_that_is),
        UNIT(a_walk_through_holes_asks_as_it_goes),
    };
    int rc;

    amends_begin();
    rc = unit_main("stop", tests, UNIT_COUNT(tests));
    amends_end();
    return rc;
}
