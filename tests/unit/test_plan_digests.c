/* Holds every plan to what it was: all recipes of amends.c with all wishes, and random images and
 * requests, are amended in memory, and a digest of all that an amend decides and writes is compared
 * with a table.  Whoever changes the way to a plan sees here that no plan changed; whoever changes
 * plans on purpose records the table again and says in the commit why; wishes of later keys have
 * rows of their own, so that those before stay:
 *
 *     build-gcc/tests/test_plan_digests --print > tests/unit/plan_digests.def
 *
 * and --each prints a digest for every subject, to be compared with another build's.  Digested are
 * the plan's numbers, the file's bytes after the append, after the flip and after settling, the
 * refusal's code, and what the report counts; no texts, so that these can be reworded.  With
 * keep_undo, a second amend that frees what was kept is digested as well. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "plan/proof.h"
#include "digest_parts.h"
#include "base/num.h"
#include "base/digest.h"
#include "unit.h"

#define RANDOM_ROWS 20u
#define SEEDS_A_ROW 300u
#define LATER_ROWS  4u
#define RAW_ROWS    4u
#define RAW_A_ROW   60u

struct row {
    const char *name;
    uint64_t digest;
};

static const struct row expected[] = {
#define PLANS(name, digest) {name, UINT64_C(digest)},
#include "plan_digests.def"
#undef PLANS
};

enum variant { PLAIN, KEEP_UNDO, FREE_LEAKS, FAIL_ON_LEAKS, N_VARIANTS };

static void add(struct qb_hasher *h, const void *bytes, size_t len)
{
    qb_hasher_add(h, bytes, len);
}

static void add_number(struct qb_hasher *h, uint64_t n)
{
    add(h, &n, sizeof(n));
}

static void add_result(struct qb_hasher *h, struct qb_amend *a)
{
    const struct qb_result *r = qb_amend_result(a);
    const struct qb_proof *p = qb_amend_proof(a);
    const struct qb_info none = {0}, *known = r->after ? r->after : r->before;
    const struct qb_info shown = known ? *known : none;
    const uint64_t numbers[] = {
        r->status,
        r->err.code,
        r->clusters.total,
        r->clusters.allocated,
        r->clusters.zero_plain,
        r->clusters.zero_allocated,
        r->clusters.compressed,
        r->clusters.expanded,
        r->clusters.deallocated,
        r->leaks.valid,
        r->leaks.freed,
        r->leaks.clusters,
        r->file_size_after,
        r->tail_given_back,
        r->repaired,
        r->backing_unchecked,
        r->bitmaps_dropped,
        r->verified,
        r->after != NULL,
        shown.version,
        shown.virtual_size,
        shown.refcount_bits,
        shown.nb_bitmaps,
        shown.lazy_refcounts,
        p ? p->base : 0,
        p ? p->zero_base : 0,
        p ? p->end : 0,
        p ? p->name_at : 0,
        p ? p->head_len : 0,
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        add_number(h, numbers[i]);
    if (p)
        add(h, &p->stretch, sizeof(p->stretch));
}

static void run_phases(struct qb_hasher *h, struct qb_io *io, struct qb_amend *a,
                       const struct qb_mem_log *log)
{
    add_number(h, qb_amend_appends(a));
    add_number(h, qb_amend_space(a));
    qb_amend_describe(a, digest_line, h);
    if (qb_amend_remember(a, io) < 0 || qb_amend_append(a, io) < 0)
        return;
    digest_disk(h, log);
    if (qb_amend_flip(a, io) < 0 || qb_amend_flipped(a, 0) < 0 || qb_amend_verify(a, io) < 0)
        return;
    digest_disk(h, log);
    qb_amend_settle(a, io);
    digest_disk(h, log);
}

/* Whether the image was amended. */
static bool digest_amend(struct qb_hasher *h, struct qb_mem_log *log, const struct qb_request *rq)
{
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open_for(io, log, 0, rq);
    bool changed;

    if (qb_amend_result(a)->status != QB_STATUS_FAILED && qb_amend_plan(a, io, rq) == 0 &&
        qb_amend_result(a)->status == QB_STATUS_WOULD_CHANGE)
        run_phases(h, io, a, log);
    add_result(h, a);
    changed = qb_amend_result(a)->status == QB_STATUS_CHANGED;
    qb_amend_close(a);
    qb_io_close(io);
    return changed;
}

static bool print_each;

static void digest_subject(struct qb_hasher *h, const struct subject *s, enum variant v)
{
    struct qb_mem_log *log = run_machine(&s->image);
    struct qb_request rq = s->rq;
    const struct qb_request discard = {.free_kept = s->image.bytes};

    if (v == FREE_LEAKS)
        rq.on_leaks = QB_LEAKS_FREE;
    if (v == FAIL_ON_LEAKS)
        rq.on_leaks = QB_LEAKS_FAIL;
    rq.keep_undo = v == KEEP_UNDO;
    if (digest_amend(h, log, &rq) && v == KEEP_UNDO)
        digest_amend(h, log, &discard);
    qb_mem_log_free(log);
    if (print_each) {
        printf("%s, variant %u: 0x%016" PRIx64 "\n", s->name, (unsigned)v, qb_hasher_end(h).low);
        qb_hasher_reset(h);
    }
}

static struct qb_hasher *begin(void)
{
    struct qb_hasher *h = qb_hasher_new();

    if (!h)
        abort();
    qb_hasher_reset(h);
    return h;
}

static uint64_t end(struct qb_hasher *h)
{
    struct qb_digest d = qb_hasher_end(h);

    qb_hasher_free(h);
    return d.low;
}

static void digest_variants(struct qb_hasher *h, const struct recipe *r, const struct wish *w)
{
    struct subject s = subject_of(r, w);

    for (unsigned v = 0; v < N_VARIANTS && (!r->heavy || w->heavy_too); v++)
        digest_subject(h, &s, v);
    subject_free(&s);
}

/* The rows of recipes are of these keys only; wishes with any other have rows of their own.  Those
 * of recipes with a data file are of all wishes. */
#define FIRST_KEYS                                                                                 \
    (QB_KEY_COMPAT | QB_KEY_SIZE | QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT |                      \
     QB_KEY_LAZY_REFCOUNTS | QB_KEY_REFCOUNT_BITS)
#define LATER_KEYS (~(unsigned)FIRST_KEYS)

static bool has_own_row(const struct wish *w)
{
    return w->rq.set & LATER_KEYS;
}

static uint64_t digest_recipe(const struct recipe *r)
{
    struct qb_hasher *h = begin();

    for (size_t i = 0; i < n_wishes; i++)
        if (r->shape.data_file || !has_own_row(&wishes[i]))
            digest_variants(h, r, &wishes[i]);
    for (size_t i = 0; r->shape.data_file && i < n_data_wishes; i++)
        digest_variants(h, r, &data_wishes[i]);
    return end(h);
}

static uint64_t digest_wish(const struct wish *w)
{
    struct qb_hasher *h = begin();

    for (size_t i = 0; i < n_recipes; i++)
        digest_variants(h, &recipes[i], w);
    return end(h);
}

/* With `later` only requests that have a later key, else all, without theirs. */
static uint64_t digest_random(unsigned row, bool later)
{
    struct qb_hasher *h = begin();

    for (unsigned i = 0; i < SEEDS_A_ROW; i++) {
        uint64_t seed = row * SEEDS_A_ROW + i;
        struct subject s = subject_any(seed, row % 2, false);

        if (!later)
            s.rq.set &= ~LATER_KEYS;
        if (!later || s.rq.set & LATER_KEYS)
            digest_subject(h, &s, seed % N_VARIANTS);
        subject_free(&s);
    }
    return end(h);
}

/* Raw disks that become images, as they are asked. */
static uint64_t digest_raw(unsigned row)
{
    struct qb_hasher *h = begin();

    for (unsigned i = 0; i < RAW_A_ROW; i++) {
        struct subject s = subject_raw(row * RAW_A_ROW + i, row % 2);
        struct qb_mem_log *log = run_machine(&s.image);

        digest_amend(h, log, &s.rq);
        qb_mem_log_free(log);
        subject_free(&s);
    }
    return end(h);
}

static void expect(size_t at, const char *name, uint64_t digest)
{
    const size_t n = sizeof(expected) / sizeof(*expected);
    bool same = at < n && strcmp(expected[at].name, name) == 0 && expected[at].digest == digest;

    if (!same)
        fprintf(stderr, "\n%s: 0x%016" PRIx64 ", the table has %s: 0x%016" PRIx64 "\n", name,
                digest, at < n ? expected[at].name : "nothing", at < n ? expected[at].digest : 0);
    CU_ASSERT_TRUE(same);
}

static void print(size_t at, const char *name, uint64_t digest)
{
    if (at == 0)
        printf("/* What test_plan_digests.c compares with; printed by its --print. */\n");
    printf("PLANS(\"%s\", 0x%016" PRIx64 ")\n", name, digest);
}

#define is_due(row) ((row) % (UNIT_SANITIZED ? 4 : 1) == 0 && !unit_has_enough())

static size_t each_row(void (*fn)(size_t at, const char *name, uint64_t digest))
{
    size_t rows = 0;
    char name[80];

    for (size_t i = 0; i < n_recipes; i++)
        if (is_due(rows++))
            fn(i, recipes[i].name, digest_recipe(&recipes[i]));
    for (unsigned i = 0; i < RANDOM_ROWS; i++) {
        snprintf(name, sizeof(name), "random, row %u", i);
        if (is_due(rows++))
            fn(rows - 1, name, digest_random(i, false));
    }
    for (size_t i = 0; i < n_wishes; i++) {
        snprintf(name, sizeof(name), "all with: %s", wishes[i].name);
        if (has_own_row(&wishes[i]) && is_due(rows++))
            fn(rows - 1, name, digest_wish(&wishes[i]));
    }
    for (unsigned i = 0; i < LATER_ROWS; i++) {
        snprintf(name, sizeof(name), "random with later keys, row %u", i);
        if (is_due(rows++))
            fn(rows - 1, name, digest_random(i, true));
    }
    for (size_t i = 0; i < n_data_recipes; i++)
        if (is_due(rows++))
            fn(rows - 1, data_recipes[i].name, digest_recipe(&data_recipes[i]));
    for (unsigned i = 0; i < RAW_ROWS; i++) {
        snprintf(name, sizeof(name), "raw disks, row %u", i);
        if (is_due(rows++))
            fn(rows - 1, name, digest_raw(i));
    }
    return rows;
}

static void plans_are_what_they_were(void)
{
    CU_ASSERT_EQUAL(sizeof(expected) / sizeof(*expected), each_row(expect));
}

int main(int argc, char **argv)
{
    static const struct unit_test tests[] = {
        UNIT(plans_are_what_they_were),
    };
    int r = 0;

    amends_begin();
    print_each = argc > 1 && strcmp(argv[1], "--each") == 0;
    if (print_each || (argc > 1 && strcmp(argv[1], "--print") == 0))
        each_row(print);
    else
        r = unit_main("plan_digests", tests, UNIT_COUNT(tests));
    amends_end();
    return r;
}
