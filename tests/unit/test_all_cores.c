/* One image by several threads: whatever is counted is what one thread comes to, and findings come
 * in the same order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/census.h"
#include "dice.h"
#include "host/sched.h"
#include "host/topo.h"
#include "many_tables.h"
#include "scratch.h"

enum { DAMAGED = 120, SPOILED = 6, REAL = 12 };

static const unsigned threads[] = MANY_THREADS;

/* ---- a census -------------------------------------------------------------------------------- */

static void add_finding(void *arg, const struct qb_found *found)
{
    char at[40];

    snprintf(at, sizeof(at), " %llx ", (unsigned long long)found->offset);
    outcome_add(arg, found->code);
    outcome_add(arg, at);
    outcome_add(arg, found->text);
    outcome_add(arg, "\n");
}

static void add_counts(struct outcome *o, struct qb_counts *counts)
{
    uint64_t end = qb_min(qb_counts_end(counts), 1 << 20), sum = 0;
    char line[100];

    for (uint64_t i = 0; i <= end; i++)
        sum = (sum * 31 + qb_counts_get(counts, i)) * 31 + qb_counts_marks(counts, i);
    snprintf(line, sizeof(line), "counts %llx up to %llx\n", (unsigned long long)sum,
             (unsigned long long)qb_counts_end(counts));
    outcome_add(o, line);
}

static void add_census(struct outcome *o, struct qb_census *c)
{
    const uint64_t numbers[] = {
        c->clusters.allocated,
        c->clusters.compressed,
        c->clusters.zero_plain,
        c->clusters.zero_allocated,
        c->n_bad,
        c->n_overlaps,
        c->n_bad_blocks,
        c->n_low,
        c->n_copied,
        c->n_leaks,
        c->n_partial,
        c->copied_wrong,
        c->first_compressed.at,
        c->first_compressed.guest,
        c->first_partial.at,
        c->data_end,
        c->end,
        c->first.offset,
        c->first_lasting.offset,
    };
    char line[40];

    for (size_t i = 0; i < UNIT_COUNT(numbers); i++) {
        snprintf(line, sizeof(line), "%llx ", (unsigned long long)numbers[i]);
        outcome_add(o, line);
    }
    for (size_t i = 0; i < c->tables.n; i++) {
        const struct qb_table_note *n = &c->notes[i];

        snprintf(line, sizeof(line), "%u+%u+%u+%u ", n->data, n->zero_plain, n->zero_allocated,
                 n->compressed);
        outcome_add(o, line);
    }
    for (size_t i = 0; i < c->reftable_n; i++) {
        snprintf(line, sizeof(line), "%u", c->block_differs[i]);
        outcome_add(o, line);
    }
    add_counts(o, &c->counts);
    add_counts(o, &c->surplus);
}

static struct outcome take_census(struct qb_io *io, struct qb_file *file, bool all, uint64_t limit)
{
    struct outcome o = outcome_new();
    struct qb_image img = {0};
    struct qb_census c = {0};
    struct qb_err err = {.code = QB_E_NONE};
    int r = qb_image_open(io, file, &img, &err);

    if (r == 0) {
        qb_io_set_window(io, 4 * img.geom.cluster_size); /* one cluster a slice */
        r = qb_image_read_snapshots(io, &img, &err);
    }
    if (r == 0) {
        r = all ? qb_census_take_all(io, &img, limit, NULL, &c, &err)
                : qb_census_take(io, &img, limit, add_finding, &o, &c, &err);
        if (r == 0)
            add_census(&o, &c);
        qb_census_free(&c);
    }
    if (r < 0)
        outcome_add(&o, err.text);
    qb_image_close(&img);
    return o;
}

/* Spoils words of the file past the header, as a bad disk or a hand might. */
static void spoil(struct image_bytes *b, uint64_t seed)
{
    struct dice d = dice_of(seed);

    for (unsigned i = 0; i < 1 + roll(&d, SPOILED) && b->size > 8192; i++) {
        uint64_t at = 4096 + 8ull * roll(&d, (unsigned)((b->size - 4096) / 8));

        if (at + 8 <= b->size)
            b->bytes[at + roll(&d, 8)] ^= (uint8_t)(1u << roll(&d, 8));
    }
}

static struct outcome census_of(const struct image_bytes *b, unsigned hands, bool all,
                                uint64_t limit)
{
    struct pretended_crew crew;
    struct qb_mem_log *log = run_machine(b);
    struct qb_io *io = run_io(log);
    struct qb_file file;
    struct outcome o;

    CU_ASSERT_EQUAL_FATAL(qb_mem_reopen(log, 0, &file), 0);
    pretend_crew(&crew, hands);
    qb_io_set_crew(io, hands ? &crew.crew : NULL);
    o = take_census(io, &file, all, limit);
    qb_file_close(&file);
    qb_io_close(io);
    qb_mem_log_free(log);
    return o;
}

/* Whether there are findings; the limit of memory is in bytes, 0 for none. */
static bool compare_censuses(const struct subject *s, bool all, uint64_t limit)
{
    struct outcome alone = census_of(&s->image, 0, all, limit);
    bool has_findings = strchr(alone.text, '\n') < strstr(alone.text, "counts");

    for (size_t i = 0; i < UNIT_COUNT(threads); i++) {
        struct outcome o = census_of(&s->image, threads[i], all, limit);

        CU_ASSERT_STRING_EQUAL(o.text, alone.text);
        free(o.text);
    }
    free(alone.text);
    return has_findings;
}

static void census_is_the_same_by_any_number_of_threads(void)
{
    unsigned with_findings = 0;

    for (uint64_t seed = 0; seed < DAMAGED; seed++) {
        struct subject s = many_tables(seed);

        if (seed % 3)
            spoil(&s.image, seed);
        with_findings += compare_censuses(&s, false, 0);
        compare_censuses(&s, true, 0);
        subject_free(&s);
    }
    CU_ASSERT(pretended_loops() > DAMAGED);
    CU_ASSERT(with_findings > DAMAGED / 4);
}

static void what_one_thread_has_memory_for_many_have(void)
{
    for (uint64_t seed = 0; seed < DAMAGED; seed++) {
        struct subject s = many_tables(seed);

        for (uint64_t limit = 8 << 10; limit < 400 << 10; limit += limit / 3)
            compare_censuses(&s, seed % 2, limit);
        subject_free(&s);
    }
}

/* ---- threads that there are ------------------------------------------------------------------ */

struct real {
    struct qb_sched *sched;
    const char *path;
    struct outcome o;
};

static void take_real(void *arg)
{
    struct real *r = arg;
    struct qb_file file = open_or_die(r->path, false);

    r->o = take_census(qb_sched_io(r->sched), &file, false, 0);
    qb_file_close(&file);
}

static void threads_of_a_run_come_to_the_same(void)
{
    for (uint64_t seed = 0; seed < REAL; seed++) {
        struct subject s = many_tables(seed);
        struct real r = {.path = make_file("image", s.image.bytes, s.image.size)};
        struct qb_io *io = open_kind(QB_IO_POSIX);
        struct qb_file file = open_or_die(r.path, false);
        struct outcome alone = take_census(io, &file, false, 0);

        for (size_t i = 0; i < UNIT_COUNT(threads); i++) {
            struct qb_batch batch = {.n_jobs = 1};
            struct qb_err err;

            CU_ASSERT_EQUAL_FATAL(qb_sched_open(qb_topo_open(threads[i], &batch), QB_IO_AUTO, false,
                                                &r.sched, NULL, &err),
                                  0);
            qb_sched_run(r.sched, take_real, &r);
            CU_ASSERT_STRING_EQUAL(r.o.text, alone.text);
            free(r.o.text);
            qb_sched_close(r.sched);
        }
        free(alone.text);
        qb_file_close(&file);
        qb_io_close(io);
        subject_free(&s);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(census_is_the_same_by_any_number_of_threads),
        UNIT(what_one_thread_has_memory_for_many_have),
        UNIT(threads_of_a_run_come_to_the_same),
    };
    int r;

    amends_begin();
    r = scratch_main("all_cores", tests, UNIT_COUNT(tests));
    amends_end();
    return r;
}
