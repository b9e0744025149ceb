/* What rules decide about L2 entries, and that a table takes just the clusters that were planned.
 */
#include <stdlib.h>
#include <string.h>

#include "plan/new_tables.h"
#include "rules/resize.h"
#include "amends.h"
#include "unit.h"

#define KIB 1024u

/* ---- decisions ------------------------------------------------------------------------------- */

/* A disk of clusters of 512 bytes: 64 entries a table, 32 KiB a table. */
struct bench {
    struct qb_image img;
    struct qb_plan plan;
    struct qb_resize resize;
    struct qb_new_table table;
};

static void bench_start(struct bench *b, unsigned version, uint64_t size)
{
    memset(b, 0, sizeof(*b));
    b->img.geom = (struct qb_geom){.cluster_bits = 9,
                                   .cluster_size = 512,
                                   .l2_entries = 64,
                                   .l2_entry_size = 8,
                                   .l1_span = 64 * 512};
    b->plan.in.img = &b->img;
    b->plan.target.header.version = version;
    b->plan.target.header.size = size;
    b->plan.new_tables.deciders[0] = qb_rule_size.entries;
    b->plan.new_tables.deciders[1] = qb_rule_compat.encode;
    b->plan.new_tables.n_deciders = 2;
    b->table = (struct qb_new_table){.refs = 2, .l1_index = 1};
}

static void expect_run(const struct bench *b, uint64_t first, enum qb_kind kind, uint64_t n,
                       enum qb_fate fate)
{
    struct qb_entries e = {.first = first, .n = 64 - first, .kind = kind};

    qb_new_decide(&b->plan, &b->table, &e);
    CU_ASSERT_EQUAL(e.first, first);
    CU_ASSERT_EQUAL(e.n, n);
    CU_ASSERT_EQUAL(e.fate, fate);
}

static void version_3_keeps_every_entry(void)
{
    struct bench b;

    bench_start(&b, 3, 128 * KIB);
    b.plan.below.size = 128 * KIB;
    for (enum qb_kind kind = QB_UNALLOCATED; kind <= QB_COMPRESSED; kind++)
        expect_run(&b, 0, kind, 64, QB_FATE_KEEP);
}

static void version_2_gives_zero_clusters_a_cluster_as_far_as_the_backing_file_reaches(void)
{
    struct bench b;

    bench_start(&b, 2, 128 * KIB);
    b.plan.below.size = 32 * KIB + 512 * 10 + 1; /* into the table's cluster 10 */
    expect_run(&b, 0, QB_ZERO_PLAIN, 11, QB_FATE_NEW_ZEROS);
    expect_run(&b, 10, QB_ZERO_ALLOCATED, 1, QB_FATE_NEW_ZEROS);
    expect_run(&b, 11, QB_ZERO_ALLOCATED, 53, QB_FATE_UNALLOCATE);
    expect_run(&b, 0, QB_DATA, 64, QB_FATE_KEEP);
    expect_run(&b, 0, QB_COMPRESSED, 64, QB_FATE_KEEP);
    expect_run(&b, 0, QB_UNALLOCATED, 64, QB_FATE_KEEP);
    b.plan.below.size = 32 * KIB; /* where the table begins */
    expect_run(&b, 0, QB_ZERO_PLAIN, 64, QB_FATE_UNALLOCATE);
}

static void vm_state_of_the_active_layer_alone_gets_no_clusters(void)
{
    struct bench b;

    bench_start(&b, 2, 32 * KIB + 512 * 20);
    b.plan.below.size = 128 * KIB;
    expect_run(&b, 0, QB_ZERO_PLAIN, 64, QB_FATE_NEW_ZEROS);
    b.table.active = true; /* but a snapshot has it too */
    expect_run(&b, 0, QB_ZERO_PLAIN, 64, QB_FATE_NEW_ZEROS);
    b.table.refs = 1;
    expect_run(&b, 0, QB_ZERO_PLAIN, 20, QB_FATE_NEW_ZEROS);
    expect_run(&b, 20, QB_ZERO_PLAIN, 44, QB_FATE_UNALLOCATE);
}

static void deferred_clusters_are_runs_of_their_own(void)
{
    static uint8_t deferred[8] = {0x38}; /* 3, 4 and 5 */
    struct bench b;

    bench_start(&b, 2, 128 * KIB);
    b.plan.below.size = 32 * KIB + 512 * 20;
    b.table.deferred = deferred;
    expect_run(&b, 0, QB_ZERO_PLAIN, 3, QB_FATE_NEW_ZEROS);
    expect_run(&b, 3, QB_ZERO_PLAIN, 3, QB_FATE_UNALLOCATE);
    expect_run(&b, 6, QB_ZERO_PLAIN, 14, QB_FATE_NEW_ZEROS);
    expect_run(&b, 20, QB_ZERO_PLAIN, 44, QB_FATE_UNALLOCATE);
}

static void a_new_size_cuts_copies_and_fills_with_zeros(void)
{
    struct qb_range zeros[] = {{64 + 20, 64 + 25}, {64 + 40, 64 + 80}};
    struct bench b;

    bench_start(&b, 3, 128 * KIB);
    b.plan.own[QB_RULE_size] = &b.resize;
    b.resize.cut_l1 = 1;
    b.resize.cut_entry = 10;
    b.resize.copies = true;
    b.resize.copy_cluster = 64 + 9;
    b.resize.zeros.items = zeros;
    b.resize.zeros.n = 2;
    expect_run(&b, 0, QB_DATA, 64, QB_FATE_KEEP); /* a snapshot's table is none of its business */
    b.table.split = true;
    expect_run(&b, 0, QB_DATA, 9, QB_FATE_KEEP);
    expect_run(&b, 9, QB_DATA, 1, QB_FATE_APPENDED);
    expect_run(&b, 10, QB_DATA, 10, QB_FATE_UNALLOCATE);
    expect_run(&b, 20, QB_UNALLOCATED, 5, QB_FATE_ZERO);
    expect_run(&b, 25, QB_UNALLOCATED, 15, QB_FATE_UNALLOCATE);
    expect_run(&b, 40, QB_UNALLOCATED, 24, QB_FATE_ZERO);
    b.plan.target.header.version = 2; /* which has no zero clusters */
    b.plan.below.size = 128 * KIB;
    expect_run(&b, 20, QB_UNALLOCATED, 5, QB_FATE_NEW_ZEROS);
    expect_run(&b, 9, QB_ZERO_ALLOCATED, 1, QB_FATE_APPENDED);
    expect_run(&b, 10, QB_ZERO_PLAIN, 10, QB_FATE_UNALLOCATE);
}

static void unallocate(const struct qb_plan *plan, const struct qb_new_table *t,
                       struct qb_entries *e)
{
    (void)plan, (void)t;
    e->fate = QB_FATE_UNALLOCATE;
}

static int take_none(void *arg, const struct qb_entries *e, struct qb_err *err)
{
    (void)arg, (void)e, (void)err;
    return 0;
}

static void two_rules_that_disagree_are_a_dispute(void)
{
    static const uint8_t nothing[512];
    struct bench b;
    struct qb_err err = {0};

    bench_start(&b, 2, 128 * KIB);
    b.plan.below.size = 128 * KIB;
    b.plan.new_tables.deciders[0] = qb_rule_compat.encode;
    b.plan.new_tables.deciders[1] = unallocate;
    expect_run(&b, 0, QB_DATA, 64, QB_FATE_UNALLOCATE);
    expect_run(&b, 0, QB_ZERO_PLAIN, 64, QB_FATE_DISPUTED);
    CU_ASSERT_EQUAL(qb_new_walk(&b.plan, &b.table, nothing, take_none, NULL, &err), 0);
    b.table.all_zeros = true; /* the table itself then is not read */
    CU_ASSERT_EQUAL(qb_new_walk(&b.plan, &b.table, nothing, take_none, NULL, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    CU_ASSERT_STRING_EQUAL(err.text, "two rules disagree about guest cluster 64");
}

/* ---- shared clusters ---- */

static void a_shared_cluster_is_full_before_its_count_is(void)
{
    static const uint64_t refs[] = {4, 4, 1, 1, 3, 8, 10}, clusters[] = {0, 0, 0, 0, 1, 2, 3};
    const struct qb_request rq = {.zero_clusters = QB_ZERO_SHARE};
    struct qb_cursor c = {0};
    struct bench b;

    bench_start(&b, 2, 128 * KIB);
    b.plan.in.rq = &rq;
    b.plan.zeros.share_cap = 10;
    for (size_t i = 0; i < UNIT_COUNT(refs); i++)
        CU_ASSERT_EQUAL(qb_new_take_cluster(&b.plan, &c, refs[i]), clusters[i]);
}

/* ---- COPIED ---- */

/* The entry of a new cluster that counts once, in a table of the active layer and of a snapshot. */
static uint64_t with_copied(bool active)
{
    struct bench b;
    uint64_t entry;

    bench_start(&b, 2, 128 * KIB);
    b.plan.target.header.refcount_order = 4;
    b.table.active = active;
    b.plan.census.counts.memory_limit = 1 << 20;
    CU_ASSERT_EQUAL(qb_counts_add(&b.plan.census.counts, 5, 1, 0, NULL), 0);
    entry = qb_new_with_copied(&b.plan, &b.table, 5 * 512);
    qb_counts_free(&b.plan.census.counts);
    return entry;
}

static void copied_is_set_in_tables_of_the_active_layer_only(void)
{
    CU_ASSERT_EQUAL(with_copied(true), 5 * 512 | QB_ENTRY_COPIED);
    CU_ASSERT_EQUAL(with_copied(false), 5 * 512);
}

/* ---- filling --------------------------------------------------------------------------------- */

/* Has entry `entry` of the first L2 table, at 0x800, read zero without a host cluster. */
static void make_zero(struct qb_io *io, struct qb_mem_log *log, unsigned entry)
{
    static const struct qb_range all = {0, UINT64_MAX};
    unsigned char bytes[8] = {0, 0, 0, 0, 0, 0, 0, 1};
    struct qb_file file;
    struct qb_req req = {
        .file = &file, .op = QB_OP_WRITE, .offset = 0x800 + 8 * entry, .len = 8, .buf = bytes};

    if (qb_mem_reopen(log, 0, &file) < 0)
        abort();
    file.guard = (struct qb_guard){.phase = QB_PHASE_APPEND, .allowed = &all, .n_allowed = 1};
    CU_ASSERT_EQUAL(qb_io_run(io, &req, 1), 0);
    qb_file_close(&file);
}

/* A table that changes under a plan is one way to have filling and counting differ. */
static void expect_append(const char *script, unsigned entry, enum qb_code code)
{
    const struct recipe recipe = {"backed",
                                  {.version = 3,
                                   .cluster_bits = 9,
                                   .refcount_order = 4,
                                   .size = 32 * KIB,
                                   .backing_file = "@long",
                                   .backing_fmt = "raw"},
                                  script,
                                  false};
    const struct wish down = {"down", {.set = QB_KEY_COMPAT, .compat = 2}, SIZE_STAYS, false};
    struct subject s = subject_of(&recipe, &down);
    struct qb_mem_log *log = run_machine(&s.image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, 0);
    uint64_t size;

    CU_ASSERT_EQUAL(qb_amend_plan(a, io, &s.rq), 0);
    make_zero(io, log, entry);
    CU_ASSERT_EQUAL(qb_amend_append(a, io), code ? -1 : 0);
    CU_ASSERT_EQUAL(qb_amend_result(a)->err.code, code);
    CU_ASSERT_EQUAL(memcmp(qb_mem_content(log, 0, &size), s.image.bytes, QB_SECTOR), 0);
    CU_ASSERT_EQUAL(size == s.image.size, code != QB_E_NONE);
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    subject_free(&s);
}

static void a_table_that_takes_other_clusters_than_planned_is_never_committed(void)
{
    expect_append("d3z5", 3, QB_E_NONE); /* which is one already */
    expect_append("d3z5", 0, QB_E_INTERNAL);
    expect_append("d3z5", 30, QB_E_INTERNAL);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(version_3_keeps_every_entry),
        UNIT(version_2_gives_zero_clusters_a_cluster_as_far_as_the_backing_file_reaches),
        UNIT(vm_state_of_the_active_layer_alone_gets_no_clusters),
        UNIT(deferred_clusters_are_runs_of_their_own),
        UNIT(a_new_size_cuts_copies_and_fills_with_zeros),
        UNIT(two_rules_that_disagree_are_a_dispute),
        UNIT(a_shared_cluster_is_full_before_its_count_is),
        UNIT(copied_is_set_in_tables_of_the_active_layer_only),
        UNIT(a_table_that_takes_other_clusters_than_planned_is_never_committed),
    };
    int r;

    amends_begin();
    r = unit_main("new_tables", tests, UNIT_COUNT(tests));
    amends_end();
    return r;
}
