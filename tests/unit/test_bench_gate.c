/* The regression gate of qbatch-bench: what it says of two builds under noise.  No clock: the times
 * are made up, from a fixed seed. */
#include <math.h>
#include <string.h>

#include "clock/stats.h"
#include "measure/compare.h"
#include "unit.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fmax(1, fabs(b));
}

/* ---- signed ranks ---------------------------------------------------------------------------- */

static void signed_ranks_agree_with_the_tables(void)
{
    static const double above[] = {1, 2, 3, 4, 5}, below[] = {-1, -2, -3, -4, -5};
    static const double mixed[] = {-1, 2, 3,
                                   4,  5, 6};         /* W+ = 20 of 21: 2 of 64 are at least that */
    static const double six[] = {1, -2, 3, 4, -5, 6}; /* W+ = 14: 18 of 64 */

    CU_ASSERT(near(bench_signed_rank(above, 5), 1.0 / 32));
    CU_ASSERT(near(bench_signed_rank(below, 5), 1));
    CU_ASSERT(near(bench_signed_rank(mixed, 6), 2.0 / 64));
    CU_ASSERT(near(bench_signed_rank(six, 6), 18.0 / 64));
}

static void equal_amounts_share_a_rank_and_zeros_say_nothing(void)
{
    static const double ties[] = {1, 1, 1, -1, 0, 0}; /* of 16 ways 5 have three or more above */
    static const double zeros[] = {0, 0, 0};

    CU_ASSERT(near(bench_signed_rank(ties, N(ties)), 5.0 / 16));
    CU_ASSERT(near(bench_signed_rank(zeros, N(zeros)), 1));
    CU_ASSERT(near(bench_signed_rank(zeros, 0), 1));
}

static void many_differences_are_approximated(void)
{
    double even[100], above[100];

    for (int i = 0; i < 100; i++) {
        even[i] = (i % 2 ? 1 : -1) * (i + 1.0);
        above[i] = i - 20.0;
    }
    CU_ASSERT(bench_signed_rank(even, 100) > 0.3 && bench_signed_rank(even, 100) < 0.6);
    CU_ASSERT(bench_signed_rank(above, 100) < 1e-6);
}

/* ---- two builds on a noisy machine ----------------------------------------------------------- */

enum { GATES = 400, RUNS = 10, MOST = 300 };

static const struct bench_rule ten_percent = {0.10, 0.01, NULL};

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / 9007199254740992.0;
}

/* A run of a build that takes 1: half of them disturbed by up to a half, one of ten by up to four
 * times as much as the whole takes. */
static double noisy(uint64_t *state)
{
    double t = 1 + 0.02 * uniform(state);

    if (uniform(state) < 0.5)
        t += 0.5 * uniform(state);
    if (uniform(state) < 0.1)
        t += 4 * uniform(state);
    return t;
}

/* The whole gate, with as many pairs as it takes. */
static struct bench_compared gate(uint64_t seed, double slowdown, size_t *pairs)
{
    double ratios[MOST];
    struct bench_compared c;
    size_t n = 0, want = RUNS;

    for (;;) {
        for (; n < want; n++)
            ratios[n] = slowdown * noisy(&seed) / noisy(&seed);
        c = bench_compare_pairs(ratios, n, bench_looks(RUNS, MOST), &ten_percent);
        *pairs = n;
        if (c.verdict != BENCH_UNDECIDED || n == MOST)
            return c;
        want = bench_next_look(n, MOST);
    }
}

static size_t how_many(double slowdown, enum bench_verdict verdict)
{
    size_t found = 0, pairs;

    for (uint64_t seed = 1; seed <= GATES; seed++)
        found += gate(seed * 7919, slowdown, &pairs).verdict == verdict;
    return found;
}

static void the_same_build_twice_passes_however_noisy_the_machine_is(void)
{
    CU_ASSERT(how_many(1, BENCH_SLOWER) == 0);
    CU_ASSERT(how_many(1, BENCH_SAME) > GATES * 9 / 10);
}

static void a_build_that_is_slower_by_a_third_is_found_under_the_same_noise(void)
{
    CU_ASSERT(how_many(1.33, BENCH_SAME) == 0 && how_many(1.33, BENCH_FASTER) == 0);
    CU_ASSERT(how_many(1.33, BENCH_SLOWER) > GATES * 9 / 10);
    CU_ASSERT(how_many(1 / 1.33, BENCH_FASTER) > 0);
    CU_ASSERT(how_many(1 / 1.33, BENCH_SLOWER) == 0);
}

static void a_build_at_the_line_is_not_called_slower_more_often_than_chance_allows(void)
{
    CU_ASSERT(how_many(1.10, BENCH_SLOWER) <= GATES / 50);
    CU_ASSERT(how_many(1.10, BENCH_SAME) <= GATES / 50);
}

static void a_clear_answer_takes_few_pairs(void)
{
    size_t pairs;

    CU_ASSERT_EQUAL(gate(1, 20, &pairs).verdict, BENCH_SLOWER);
    CU_ASSERT(pairs <= 15);
    CU_ASSERT(gate(1, 1.10, &pairs).verdict == BENCH_UNDECIDED && pairs == MOST);
}

static void looks_grow_by_half_and_end_at_the_most(void)
{
    static const size_t at[] = {10, 15, 22, 33, 49, 73, 109, 163, 244, 300};

    CU_ASSERT_EQUAL(bench_looks(RUNS, MOST), N(at));
    for (size_t i = 0; i + 1 < N(at); i++)
        CU_ASSERT_EQUAL(bench_next_look(at[i], MOST), at[i + 1]);
    CU_ASSERT_EQUAL(bench_looks(5, 5), 1);
    CU_ASSERT_EQUAL(bench_next_look(1, 9), 3);
}

/* ---- records --------------------------------------------------------------------------------- */

/* Two builds, with this ratio in each of 12 pairs, and these instructions. */
static int slower(double ratio, uint64_t ours, uint64_t theirs, int *undecided)
{
    struct bench_records all = {NULL, 0, 0};
    FILE *nowhere = fopen("/dev/null", "w");
    int n;

    for (int i = 0; i < 2; i++) {
        struct bench_record *r = bench_records_add(&all, 12);

        CU_ASSERT_PTR_NOT_NULL_FATAL(r);
        strcpy(r->title, "one size=1G");
        strcpy(r->who, i ? "other" : "qbatch");
        r->instructions = i ? theirs : ours;
        for (size_t k = 0; k < r->n; k++) {
            r->runs[k].seconds = 1;
            r->ratios[k] = 1 / (ratio + 0.001 * (double)k);
        }
    }
    n = bench_compare_other(&all, &ten_percent, nowhere, undecided);
    fclose(nowhere);
    bench_records_free(&all);
    return n;
}

static void instructions_find_what_times_do_not_and_decide_where_these_do_not(void)
{
    int undecided;

    CU_ASSERT(slower(1.0, 0, 0, &undecided) == 0 && undecided == 0);
    CU_ASSERT(slower(1.3, 0, 0, &undecided) == 1 && undecided == 0);
    CU_ASSERT(slower(1.095, 0, 0, &undecided) == 0 && undecided == 1);
    CU_ASSERT(slower(1.095, 1050, 1000, &undecided) == 0 && undecided == 0);
    CU_ASSERT(slower(1.095, 1110, 1000, &undecided) == 1 && undecided == 0);
    CU_ASSERT(slower(1.0, 1110, 1000, &undecided) == 1 && undecided == 0);
    CU_ASSERT(slower(1.3, 1000, 1000, &undecided) == 1 && undecided == 0);
    CU_ASSERT(slower(1.095, 1000, 0, &undecided) == 0 && undecided == 1);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(signed_ranks_agree_with_the_tables),
        UNIT(equal_amounts_share_a_rank_and_zeros_say_nothing),
        UNIT(many_differences_are_approximated),
        UNIT(the_same_build_twice_passes_however_noisy_the_machine_is),
        UNIT(a_build_that_is_slower_by_a_third_is_found_under_the_same_noise),
        UNIT(a_build_at_the_line_is_not_called_slower_more_often_than_chance_allows),
        UNIT(a_clear_answer_takes_few_pairs),
        UNIT(looks_grow_by_half_and_end_at_the_most),
        UNIT(instructions_find_what_times_do_not_and_decide_where_these_do_not),
    };

    return unit_main("bench_gate", tests, N(tests));
}
