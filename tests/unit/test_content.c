/* `verify: content`: every kind of amend passes, and whatever is then changed behind its back is
 * found.  What a guest sees is told by reading.c, which shares no code with the fingerprint.
 *
 * QB_CONTENT_IMAGES sets the random images. */
#include <stdlib.h>
#include <string.h>

#include "dice.h"
#include "judge.h"
#include "unit.h"

#ifdef __SANITIZE_ADDRESS__
#define IMAGES 80
#else
#define IMAGES 1500
#endif

/* One amend on a machine of its own, held before it is verified. */
struct trial {
    struct qb_mem_log *log;
    struct qb_io *io;
    struct qb_amend *a;
    bool amends; /* flipped and durable */
    uint8_t *bytes;
    uint64_t size;
};

static struct trial trial_begin(const struct subject *s)
{
    struct trial t = {.log = run_machine(&s->image)};
    struct qb_request *rq = (struct qb_request *)&s->rq;

    rq->verify = QB_VERIFY_CONTENT;
    t.io = run_io(t.log);
    t.a = run_open(t.io, t.log, 0);
    if (qb_amend_result(t.a)->status != QB_STATUS_FAILED && qb_amend_plan(t.a, t.io, rq) == 0 &&
        qb_amend_result(t.a)->status == QB_STATUS_WOULD_CHANGE) {
        t.amends = true;
        CU_ASSERT_EQUAL(qb_amend_remember(t.a, t.io), 0);
        CU_ASSERT_EQUAL(qb_amend_append(t.a, t.io), 0);
        CU_ASSERT_EQUAL(run_barrier(t.io, t.a), 0);
        CU_ASSERT_EQUAL(qb_amend_flip(t.a, t.io), 0);
        CU_ASSERT_EQUAL(qb_amend_flipped(t.a, run_barrier(t.io, t.a)), 0);
    }
    t.bytes = (uint8_t *)qb_mem_content(t.log, 0, &t.size); /* for spoiling */
    return t;
}

static void trial_end(struct trial *t)
{
    qb_amend_close(t->a);
    qb_io_close(t->io);
    qb_mem_log_free(t->log);
}

/* ---- nothing is wrong ------------------------------------------------------------------------ */

static bool passes(const struct subject *s, unsigned *amended)
{
    struct trial t = trial_begin(s);
    bool ok = true;

    if (t.amends) {
        ok = qb_amend_verify(t.a, t.io) == 0 && qb_amend_result(t.a)->verified;
        if (!ok)
            fprintf(stderr, "\n%s: %s", s->name, qb_amend_result(t.a)->err.text);
        ++*amended;
    }
    trial_end(&t);
    return ok;
}

static void every_kind_of_amend_keeps_the_content(void)
{
    unsigned amended = 0;

    for (size_t i = 0; i < n_recipes; i++)
        for (size_t k = 0; k < n_wishes; k++) {
            struct subject s = subject_of(&recipes[i], &wishes[k]);

            CU_ASSERT(passes(&s, &amended));
            subject_free(&s);
        }
    CU_ASSERT(amended > 1000);
}

static unsigned long images(void)
{
    const char *text = getenv("QB_CONTENT_IMAGES");

    return text ? strtoul(text, NULL, 10) : IMAGES;
}

static void random_amends_keep_the_content(void)
{
    unsigned amended = 0;
    unsigned long n = images();

    for (unsigned long i = 0; i < n; i++) {
        struct subject s = subject_any(i + 7000, false, true);

        CU_ASSERT(passes(&s, &amended));
        subject_free(&s);
    }
    CU_ASSERT(amended > n / 3);
}

/* ---- something is wrong ---------------------------------------------------------------------- */

static struct reading read_now(const struct trial *t)
{
    struct reading r;

    reading_take(t->bytes, t->size, NULL, &r);
    return r;
}

static void write64(uint8_t *at, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        at[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t read64(const uint8_t *at)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < 8; i++)
        v = v << 8 | at[i];
    return v;
}

/* Changes one word or one byte somewhere behind the header; returns where. */
static uint64_t spoil_anything(struct trial *t, struct dice *d)
{
    uint64_t at = 512 + roll(d, (unsigned)(t->size - 512));
    unsigned how = roll(d, 3);

    if (how == 0) {
        t->bytes[at] ^= (uint8_t)(1u << roll(d, 8));
        return at;
    }
    /* Words are where entries are: zero, unallocated, or the neighbour's. */
    at -= at % 8;
    if (how == 1 || at + 16 > t->size) {
        write64(t->bytes + at, roll(d, 2));
    } else {
        uint64_t word = read64(t->bytes + at);

        write64(t->bytes + at, read64(t->bytes + at + 8));
        write64(t->bytes + at + 8, word);
    }
    return at;
}

/* Whatever a guest could notice, the fingerprint does. */
static void nothing_that_a_guest_could_notice_escapes(void)
{
    unsigned long n = images(), noticed = 0, missed = 0;

    for (unsigned long i = 0; i < n; i++) {
        struct subject s = subject_any(i, true, true);
        struct trial t = trial_begin(&s);
        struct dice d = dice_of(i * 31 + 5);
        struct reading was, is;

        if (t.amends && t.size > 1024) {
            uint64_t at;

            was = read_now(&t);
            at = spoil_anything(&t, &d);
            is = read_now(&t);
            if (*reading_differs(&was, &is) || is.wrong[0]) {
                bool found = qb_amend_verify(t.a, t.io) < 0;

                noticed++;
                missed += !found;
                if (!found)
                    fprintf(stderr, "\n%s: 0x%llx: not found: %s", s.name, (unsigned long long)at,
                            is.wrong[0] ? is.wrong : reading_differs(&was, &is));
            }
            reading_free(&was);
            reading_free(&is);
        }
        trial_end(&t);
        subject_free(&s);
    }
    printf("\n%lu spoiled images that a guest would notice ... ", noticed);
    CU_ASSERT(noticed > n / 20);
    CU_ASSERT_EQUAL(missed, 0);
}

/* ---- each kind of wrong by name -------------------------------------------------------------- */

#define BITS    9u
#define CLUSTER (1u << BITS)

/* The place in the file of the active layer's L2 entry for a guest cluster, in a small image. */
static uint8_t *entry_at(struct trial *t, unsigned cluster)
{
    uint64_t l1 = read64(t->bytes + 40), per = (1ull << t->bytes[23]) / 8;
    uint64_t l2 = read64(t->bytes + l1 + 8 * (cluster / per)) & 0x00fffffffffffe00ull;

    CU_ASSERT_FATAL(l2 != 0 && l2 < t->size);
    return t->bytes + l2 + 8 * (cluster % per);
}

static uint64_t host_of(struct trial *t, unsigned cluster)
{
    return read64(entry_at(t, cluster)) & 0x00fffffffffffe00ull;
}

static void spoil_data(struct trial *t)
{
    t->bytes[host_of(t, 2) + 100] ^= 4;
}

static void spoil_compressed(struct trial *t)
{
    uint64_t entry = read64(entry_at(t, 10));

    CU_ASSERT(entry >> 62 & 1);
    t->bytes[(entry & ((1ull << (70 - BITS)) - 1)) + 3] ^= 1;
}

/* Guest cluster 4 was written after the snapshot: the snapshot's own cluster holds what was there.
 * The scripts write data in order, so it lies four clusters behind that of cluster 0, which both
 * share. */
static void spoil_snapshot_only(struct trial *t)
{
    uint64_t at = host_of(t, 0) + 4 * CLUSTER;

    CU_ASSERT(host_of(t, 4) != at);
    t->bytes[at + 17] ^= 0x80;
}

static void spoil_swap(struct trial *t)
{
    uint8_t *a = entry_at(t, 2), *b = entry_at(t, 3), kept[8];

    memcpy(kept, a, 8);
    memcpy(a, b, 8);
    memcpy(b, kept, 8);
}

static void spoil_zero(struct trial *t)
{
    uint8_t *entry = entry_at(t, 20);

    CU_ASSERT_EQUAL(read64(entry), 1);
    write64(entry, 0);
}

static void spoil_unallocated(struct trial *t)
{
    uint8_t *entry = entry_at(t, 30);

    CU_ASSERT_EQUAL(read64(entry), 0);
    write64(entry, 1);
}

/* A new cluster of zeros at the end of a downgraded image. */
static void spoil_new_zeros(struct trial *t)
{
    t->bytes[host_of(t, 20) + 5] = 1;
}

static const struct {
    const char *name;
    struct qb_request rq;
    void (*spoil)(struct trial *t);
    const char *words;
} wrongs[] = {
    {"a byte of data",
     {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true},
     spoil_data,
     "guest data in bytes 0x"},
    {"a byte of data, downgraded",
     {.set = QB_KEY_COMPAT, .compat = 2},
     spoil_data,
     "guest data in bytes 0x"},
    {"a compressed cluster",
     {.set = QB_KEY_COMPAT, .compat = 2},
     spoil_compressed,
     "guest data in bytes 0x"},
    {"a snapshot's cluster",
     {.set = QB_KEY_COMPAT, .compat = 2},
     spoil_snapshot_only,
     "guest data in bytes 0x"},
    {"two entries swapped",
     {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true},
     spoil_swap,
     "the active layer maps other data"},
    {"two entries swapped, another width",
     {.set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64},
     spoil_swap,
     "the active layer maps other data"},
    {"a zero cluster gone",
     {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true},
     spoil_zero,
     "the active layer maps other data"},
    {"a zero cluster gone, another width",
     {.set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64},
     spoil_zero,
     "the active layer maps other data"},
    {"a zero cluster too many",
     {.set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 32},
     spoil_unallocated,
     "the active layer maps other data"},
    {"a new cluster that is not zero",
     {.set = QB_KEY_COMPAT, .compat = 2},
     spoil_new_zeros,
     "the active layer maps other data"},
};

static void each_kind_of_wrong_is_found_and_named(void)
{
    static const struct recipe r = {
        .name = "all",
        .shape = {.version = 3,
                  .cluster_bits = BITS,
                  .refcount_order = 4,
                  .size = 64 << 10,
                  .backing_file = "@long",
                  .backing_fmt = "raw"},
        .script = "d8 @10c3 S @4d @20z4",
    };
    static const struct wish none = {.name = "none"};

    for (size_t i = 0; i < UNIT_COUNT(wrongs); i++) {
        struct subject s = subject_of(&r, &none);
        struct trial t;
        const struct qb_result *result;

        s.rq = wrongs[i].rq;
        t = trial_begin(&s);
        CU_ASSERT_FATAL(t.amends);
        wrongs[i].spoil(&t);
        CU_ASSERT_EQUAL(qb_amend_verify(t.a, t.io), -1);
        result = qb_amend_result(t.a);
        if (result->err.code != QB_E_VERIFY || !strstr(result->err.text, wrongs[i].words))
            fprintf(stderr, "\n%s: %s", wrongs[i].name, result->err.text);
        CU_ASSERT_EQUAL(result->err.code, QB_E_VERIFY);
        CU_ASSERT_PTR_NOT_NULL(strstr(result->err.text, wrongs[i].words));
        CU_ASSERT_EQUAL(result->status, QB_STATUS_FAILED);
        CU_ASSERT(result->committed && !result->verified);
        CU_ASSERT_EQUAL(memcmp(result->old_sector, s.image.bytes, 512), 0);
        CU_ASSERT_EQUAL(memcmp(result->new_sector, t.bytes, 512), 0);
        trial_end(&t);
        subject_free(&s);
    }
}

/* Without a backing file there is no difference that a guest could see. */
static void a_zero_cluster_may_become_unallocated_where_nothing_shows(void)
{
    static const struct recipe r = {
        .name = "alone",
        .shape = {.version = 3, .cluster_bits = BITS, .refcount_order = 4, .size = 64 << 10},
        .script = "d8 @20z4",
    };
    static const struct wish lazy = {.name = "lazy",
                                     .rq = {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true}};
    struct subject s = subject_of(&r, &lazy);
    struct trial t = trial_begin(&s);

    CU_ASSERT_FATAL(t.amends);
    spoil_zero(&t);
    CU_ASSERT_EQUAL(qb_amend_verify(t.a, t.io), 0);
    trial_end(&t);
    subject_free(&s);
}

/* Grows from the middle of a cluster: the cluster there is one that the amend copied. */
static void the_cluster_at_the_old_end_is_compared_by_its_bytes(void)
{
    static const struct recipe r = {
        .name = "odd",
        .shape = {.version = 3, .cluster_bits = 12, .refcount_order = 4, .size = 50001},
        .script = "@4d9",
    };
    static const struct wish grow = {.name = "grow", .rq = {.set = QB_KEY_SIZE}, .size = SIZE_MORE};
    static const unsigned places[] = {3, 848, 849, 1500}; /* the old end is at 849 */

    for (size_t i = 0; i < UNIT_COUNT(places); i++) {
        struct subject s = subject_of(&r, &grow);
        struct trial t = trial_begin(&s);

        CU_ASSERT_FATAL(t.amends && host_of(&t, 12) != 0);
        CU_ASSERT_EQUAL(t.bytes[host_of(&t, 12) + 849], 0);
        t.bytes[host_of(&t, 12) + places[i]] ^= 1;
        CU_ASSERT_EQUAL(qb_amend_verify(t.a, t.io), -1);
        CU_ASSERT_PTR_NOT_NULL(strstr(qb_amend_result(t.a)->err.text, "its last cluster"));
        trial_end(&t);
        subject_free(&s);
    }
}

/* The same bytes in the other cluster are not the same. */
static void data_that_changes_places_with_zeros_is_found(void)
{
    static const struct recipe r = {
        .name = "places",
        .shape = {.version = 3, .cluster_bits = 16, .refcount_order = 4, .size = 1 << 20},
        .script = "d2",
    };
    static const struct wish lazy = {.name = "lazy",
                                     .rq = {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true}};
    struct subject s = subject_of(&r, &lazy);
    struct trial t = {.bytes = s.image.bytes, .size = s.image.size};

    memset(t.bytes + host_of(&t, 1), 0, 1 << 16);
    t = trial_begin(&s);
    CU_ASSERT_FATAL(t.amends);
    memcpy(t.bytes + host_of(&t, 1), t.bytes + host_of(&t, 0), 1 << 16);
    memset(t.bytes + host_of(&t, 0), 0, 1 << 16);
    CU_ASSERT_EQUAL(qb_amend_verify(t.a, t.io), -1);
    CU_ASSERT_EQUAL(qb_amend_result(t.a)->err.code, QB_E_VERIFY);
    trial_end(&t);
    subject_free(&s);
}

/* ---- it cannot be taken ---------------------------------------------------------------------- */

/* A read that fails before the first write: nothing was written, and nothing will be. */
static void a_fingerprint_that_cannot_be_taken_leaves_the_image_alone(void)
{
    static const struct recipe r = {
        .name = "alone",
        .shape = {.version = 3, .cluster_bits = BITS, .refcount_order = 4, .size = 64 << 10},
        .script = "d8 S @4d @20z4",
    };
    static const struct wish down = {.name = "down", .rq = {.set = QB_KEY_COMPAT, .compat = 2}};
    unsigned failures = 0;

    for (uint64_t nth = 0; nth < 64; nth++) {
        struct subject s = subject_of(&r, &down);
        struct trial t = {.log = run_machine(&s.image)};
        const struct qb_mem_event *events;
        int rc;

        s.rq.verify = QB_VERIFY_CONTENT;
        t.io = run_io(t.log);
        t.a = run_open(t.io, t.log, 0);
        CU_ASSERT_EQUAL(qb_amend_plan(t.a, t.io, &s.rq), 0);
        qb_mem_fail(t.log, nth, 5, false);
        rc = qb_amend_remember(t.a, t.io);
        CU_ASSERT_EQUAL(qb_mem_events(t.log, &events), 0);
        if (rc < 0) {
            failures++;
            CU_ASSERT_EQUAL(qb_amend_result(t.a)->err.code, QB_E_IO);
            CU_ASSERT_EQUAL(qb_amend_result(t.a)->status, QB_STATUS_FAILED);
        }
        trial_end(&t);
        subject_free(&s);
    }
    CU_ASSERT(failures >= 4);
}

/* An amend that only changes the header counts nothing, and so would not see what is wrong with
 * the tables: the fingerprint does, before the first write. */
static void expect_refused(const char *script, unsigned version, const struct wish *wish,
                           void (*spoil)(struct trial *))
{
    const struct recipe r = {
        .name = "spoiled",
        .shape = {.version = version, .cluster_bits = BITS, .refcount_order = 4, .size = 64 << 10},
        .script = script,
    };
    struct subject s = subject_of(&r, wish);
    struct trial t = {.bytes = s.image.bytes, .size = s.image.size};
    const struct qb_mem_event *events;

    spoil(&t);
    t.log = run_machine(&s.image);
    t.io = run_io(t.log);
    t.a = run_open(t.io, t.log, 0);
    s.rq.verify = QB_VERIFY_CONTENT;
    CU_ASSERT_EQUAL(qb_amend_plan(t.a, t.io, &s.rq), 0);
    CU_ASSERT_EQUAL(qb_amend_remember(t.a, t.io), -1);
    CU_ASSERT_EQUAL(qb_amend_result(t.a)->err.code, QB_E_CORRUPT);
    CU_ASSERT_EQUAL(qb_mem_events(t.log, &events), 0);
    trial_end(&t);
    subject_free(&s);
}

static void spoil_compressed_place(struct trial *t)
{
    uint8_t *entry = entry_at(t, 1);

    write64(entry, (read64(entry) >> (70 - BITS) << (70 - BITS)) + 40);
}

static void guest_data_in_the_header_cluster_is_refused(void)
{
    static const struct wish lazy = {.name = "lazy",
                                     .rq = {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true}};

    expect_refused("c3", 3, &lazy, spoil_compressed_place);
}

static void spoil_first(struct trial *t)
{
    write64(entry_at(t, 0), 1);
}

static void spoil_with_all_zeros(struct trial *t)
{
    uint8_t *table = entry_at(t, 0);

    for (unsigned i = 0; i < CLUSTER / 8; i++)
        write64(table + 8 * i, 1);
}

static void zero_clusters_in_version_2_are_refused(void)
{
    static const struct wish up = {.name = "up", .rq = {.set = QB_KEY_COMPAT, .compat = 3}};

    expect_refused("@30d", 2, &up, spoil_first);
    expect_refused("@30d", 2, &up, spoil_with_all_zeros);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_kind_of_wrong_is_found_and_named),
        UNIT(a_zero_cluster_may_become_unallocated_where_nothing_shows),
        UNIT(the_cluster_at_the_old_end_is_compared_by_its_bytes),
        UNIT(data_that_changes_places_with_zeros_is_found),
        UNIT(a_fingerprint_that_cannot_be_taken_leaves_the_image_alone),
        UNIT(guest_data_in_the_header_cluster_is_refused),
        UNIT(zero_clusters_in_version_2_are_refused),
        UNIT(every_kind_of_amend_keeps_the_content),
        UNIT(random_amends_keep_the_content),
        UNIT(nothing_that_a_guest_could_notice_escapes),
    };
    int rc;

    amends_begin();
    rc = unit_main("content", tests, UNIT_COUNT(tests));
    amends_end();
    return rc;
}
