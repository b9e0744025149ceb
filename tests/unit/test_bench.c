/* The bench's own logic: statistics, comparison, parameters, JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args/args.h"
#include "measure/compare.h"
#include "show/json.h"
#include "clock/stats.h"
#include "unit.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fmax(1, fabs(b));
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void summary_of_known_values(void)
{
    static const double odd[] = {5, 1, 3}, even[] = {4, 1, 2, 3};
    struct bench_summary s = bench_summarize(odd, N(odd));

    CU_ASSERT(near(s.mean, 3) && near(s.stddev, 2) && near(s.median, 3));
    CU_ASSERT(near(s.min, 1) && near(s.max, 5));
    CU_ASSERT(near(bench_median(even, N(even)), 2.5));
}

static void one_value_has_no_deviation_and_none_has_no_median(void)
{
    static const double one[] = {7};

    CU_ASSERT(isnan(bench_summarize(one, 1).stddev) && near(bench_summarize(one, 1).median, 7));
    CU_ASSERT(isnan(bench_summarize(one, 0).median) && isnan(bench_median(one, 0)));
}

static void u_test_agrees_with_the_tables(void)
{
    static const double low[] = {1, 2, 3, 4, 5}, high[] = {6, 7, 8, 9, 10};
    static const double mixed[] = {0.5, 3.5, 6, 7, 8}; /* U = 0 + 3 + 5 + 5 + 5 = 18 */

    CU_ASSERT(near(bench_u_test(low, 5, high, 5), 1.0 / 252));
    CU_ASSERT(near(bench_u_test(high, 5, low, 5), 1));
    CU_ASSERT(near(bench_u_test(low, 5, mixed, 5), 39.0 / 252));
    CU_ASSERT(near(bench_u_test_floor(3, 3), 1.0 / 20));
    CU_ASSERT(near(bench_u_test_floor(5, 5), 1.0 / 252));
    CU_ASSERT(near(bench_u_test(low, 0, high, 5), 1));
}

static void u_test_of_equal_values_sees_nothing(void)
{
    static const double same[] = {2, 2, 2, 2, 2, 2};

    CU_ASSERT(near(bench_u_test(same, 6, same, 6), 1));
}

static void u_test_with_ties_is_close_to_the_exact_one(void)
{
    static const double a[] = {1, 2, 3, 4, 5, 6, 7, 8}, b[] = {8, 9, 10, 11, 12, 13, 14, 15};
    double p = bench_u_test(a, 8, b, 8);

    CU_ASSERT(p > 0 && p < 0.001);
}

static void u_test_of_large_samples_approximates(void)
{
    double a[40], b[40];

    for (int i = 0; i < 40; i++) {
        a[i] = i;
        b[i] = i + 0.5;
    }
    CU_ASSERT(bench_u_test(a, 40, b, 40) > 0.4 && bench_u_test(a, 40, b, 40) < 0.5);
}

/* ---- comparison ------------------------------------------------------------------------------ */

static const struct bench_rule ten_percent = {0.10, 0.01, NULL};

static enum bench_verdict verdict(const double *before, const double *after, size_t n)
{
    return bench_compare_samples(before, n, after, n, &ten_percent).verdict;
}

static void a_clear_slowdown_is_slower_and_the_reverse_faster(void)
{
    static const double quick[] = {1.00, 1.01, 0.99, 1.02, 1.00},
                        slow[] = {1.30, 1.31, 1.29, 1.33, 1.28};

    CU_ASSERT_EQUAL(verdict(quick, slow, 5), BENCH_SLOWER);
    CU_ASSERT_EQUAL(verdict(slow, quick, 5), BENCH_FASTER);
}

static void a_certain_but_small_slowdown_is_the_same(void)
{
    static const double before[] = {1.00, 1.01, 0.99, 1.02, 1.005};
    static const double after[] = {1.05, 1.06, 1.04, 1.07, 1.055};

    CU_ASSERT_EQUAL(verdict(before, after, 5), BENCH_SAME);
}

static void a_large_but_noisy_difference_is_the_same(void)
{
    static const double before[] = {1.0, 3.0, 0.9, 2.5, 1.1}, after[] = {1.2, 3.1, 0.8, 2.7, 1.9};

    CU_ASSERT_EQUAL(verdict(before, after, 5), BENCH_SAME);
}

static void too_few_runs_are_told_from_no_difference(void)
{
    static const double before[] = {1.0, 1.1, 1.2}, after[] = {9.0, 9.1, 9.2};

    CU_ASSERT_EQUAL(verdict(before, after, 3), BENCH_UNSURE);
}

/* One record; its times are `unit`, 1.01 unit, ...; its ratios 2 throughout, unless it is qbatch's.
 */
static void add_record(struct bench_records *all, const char *who, double unit)
{
    struct bench_record *r = bench_records_add(all, 6);

    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    strcpy(r->title, "expand size=8G");
    strcpy(r->who, who);
    r->cooled = "no";
    r->images = 1;
    for (size_t i = 0; i < r->n; i++) {
        r->runs[i].seconds = unit * (1 + 0.01 * (double)i);
        r->ratios[i] = 2 + 1e-6 * (double)i;
    }
    if (!strcmp(who, "qbatch")) {
        free(r->ratios);
        r->ratios = NULL;
    }
}

static int slower_by(const char *by)
{
    struct bench_records old = {NULL, 0, 0}, fresh = {NULL, 0, 0};
    struct bench_rule rule = {0.10, 0.01, by};
    FILE *nowhere = fopen("/dev/null", "w");
    int slower;

    add_record(&old, "qbatch", 1);
    add_record(&old, "limit", 2);
    add_record(&fresh, "qbatch", 3); /* a slower machine: the limit takes three times as long too */
    add_record(&fresh, "limit", 6);
    slower = bench_compare(&old, &fresh, &rule, nowhere);
    fclose(nowhere);
    bench_records_free(&old);
    bench_records_free(&fresh);
    return slower;
}

static void ratios_forgive_a_slower_machine_and_times_do_not(void)
{
    CU_ASSERT_EQUAL(slower_by(NULL), 1);
    CU_ASSERT_EQUAL(slower_by("limit"), 0);
    CU_ASSERT_EQUAL(slower_by("qemu-img"), 0); /* nothing to compare with */
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static char path[] = "/tmp/test_bench.XXXXXX";

static void write_text(const char *text)
{
    FILE *f = fopen(path, "w");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(text, f);
    fclose(f);
}

static void json_gives_back_what_it_took(void)
{
    struct bench_records out = {NULL, 0, 0}, in = {NULL, 0, 0};
    struct bench_env env = {.cpu = "a \"quoted\" cpu"};
    struct qb_err err;
    const struct bench_record *r;

    add_record(&out, "qbatch", 0.001);
    add_record(&out, "limit", 0.0005);
    CU_ASSERT_FATAL(bench_json_write(path, &env, &out, &err) == 0);
    CU_ASSERT_FATAL(bench_json_read(path, &in, &err) == 0);
    CU_ASSERT_EQUAL(in.n, 2);
    r = bench_records_find(&in, "expand size=8G", "qbatch");
    CU_ASSERT(r && r->n == 6 && near(r->runs[5].seconds, 0.00105) && !r->ratios);
    r = bench_records_find(&in, "expand size=8G", "limit");
    CU_ASSERT(r && r->ratios && near(r->ratios[0], 2));
    CU_ASSERT_PTR_NULL(bench_records_find(&in, "expand size=9G", "limit"));
    bench_records_free(&out);
    bench_records_free(&in);
}

static void json_of_another_kind_is_refused(void)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{\"results\": 1}",
        "{\"results\": [1]}",
        "{\"results\": [{\"command\": \"sleep 1\", \"times\": [1.0]}]}", /* hyperfine's own */
        "{\"results\": [{\"title\": \"t\", \"contender\": \"limit\", \"times\": [\"1\"]}]}",
        "{\"results\": [{\"title\": \"t\", \"contender\": \"x\", \"times\": [1], \"ratios\": []}]}",
    };

    for (size_t i = 0; i < N(bad); i++) {
        struct bench_records in = {NULL, 0, 0};
        struct qb_err err = {0};

        write_text(bad[i]);
        CU_ASSERT(bench_json_read(path, &in, &err) < 0 && err.text[0]);
        bench_records_free(&in);
    }
}

/* ---- parameters and arguments ---------------------------------------------------------------- */

static void every_preset_reads_back_as_it_is_written(void)
{
    for (enum bench_case c = 0; c < BENCH_CASE_COUNT; c++) {
        struct bench_grid grid, again;
        struct bench_values v;
        char buf[32];

        CU_ASSERT_FATAL(bench_grid_init(&grid, c, NULL) == 0);
        CU_ASSERT_FATAL(bench_grid_init(&again, c, NULL) == 0);
        v = bench_grid_at(&grid, 0);
        for (enum bench_param p = 0; p < BENCH_PARAM_COUNT; p++) {
            const char *text = bench_value_text(p, v.v[p], buf, sizeof(buf));

            CU_ASSERT(bench_grid_set(&again, p, text, NULL) == 0);
            CU_ASSERT_EQUAL(bench_grid_at(&again, 0).v[p], v.v[p]);
        }
        bench_grid_free(&grid);
        bench_grid_free(&again);
    }
}

static void lists_multiply_and_the_last_varies_fastest(void)
{
    struct bench_grid grid;

    CU_ASSERT_FATAL(bench_grid_init(&grid, BENCH_CASE_EXPAND, NULL) == 0);
    CU_ASSERT(bench_grid_set(&grid, BENCH_SIZE, "1k,8G,1T", NULL) == 0);
    CU_ASSERT(bench_grid_set(&grid, BENCH_BACKING, "no,yes", NULL) == 0);
    CU_ASSERT_EQUAL(bench_grid_size(&grid), 6);
    CU_ASSERT_EQUAL(bench_grid_at(&grid, 0).v[BENCH_SIZE], 1024);
    CU_ASSERT_EQUAL(bench_grid_at(&grid, 1).v[BENCH_SIZE], 1024);
    CU_ASSERT_EQUAL(bench_grid_at(&grid, 1).v[BENCH_BACKING], BENCH_BACKED);
    CU_ASSERT_EQUAL(bench_grid_at(&grid, 5).v[BENCH_SIZE], 1ull << 40);
    bench_grid_free(&grid);
}

/* Parses `line` as a command line; what went wrong, or "". */
static const char *complaint(const char *line, struct bench_args *args)
{
    static struct qb_err err;
    static char copy[512];
    char *argv[20] = {"qbatch-bench"}, *at = copy, *word;
    int argc = 1;

    snprintf(copy, sizeof(copy), "%s", line);
    while ((word = strsep(&at, " ")) && *word)
        argv[argc++] = word;
    err.text[0] = '\0';
    bench_args_parse(argc, argv, args, &err);
    return err.text;
}

static void mistakes_on_the_command_line_are_named(void)
{
    static const char *const bad[][2] = {
        {"", "name a case"},
        {"expnad", "no such case"},
        {"expand --size 8X", "--size"},
        {"expand --size 8GB", "--size"},
        {"expand --size 99999999T", "--size"},
        {"expand --size", "takes a value"},
        {"expand --images 3", "says nothing to expand"},
        {"expand --backing maybe", "yes|no"},
        {"expand --every -1", "--every"},
        {"expand --runs x", "number of runs"},
        {"expand --frobnicate", "unknown option"},
        {"expand fleet", "what is this"},
        {"expand --vs qemu", "--vs"},
        {"expand --by time", "--by"},
        {"expand --fail-on 10%%", "share"},
        {"expand --max-disk much", "size"},
        {"--size 8G", "which case"},
        {"--with a.json", "--with"},
        {"--suite /nonexistent", "/nonexistent"},
    };

    for (size_t i = 0; i < N(bad); i++) {
        struct bench_args args;

        CU_ASSERT_PTR_NOT_NULL(strstr(complaint(bad[i][0], &args), bad[i][1]));
        bench_args_free(&args);
    }
}

static void a_suite_is_lines_of_cases(void)
{
    struct bench_args args;
    char line[128];

    write_text("# comment\n\nexpand --size 1G,2G --vs limit  # here too\none --runs 7\n");
    snprintf(line, sizeof(line), "--suite %s --runs 3", path);
    CU_ASSERT_STRING_EQUAL(complaint(line, &args), "");
    CU_ASSERT_FATAL(args.jobs.n == 2);
    CU_ASSERT(args.jobs.items[0].runs == 3 && args.jobs.items[0].tools.path[BENCH_LIMIT_IO]);
    CU_ASSERT(args.jobs.items[1].runs == 7 && !args.jobs.items[1].tools.path[BENCH_LIMIT_IO]);
    bench_args_free(&args);
    write_text("expand\nfleet --export-json x\n");
    CU_ASSERT_PTR_NOT_NULL(strstr(complaint(line, &args), ":2: unknown option"));
    bench_args_free(&args);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(summary_of_known_values),
        UNIT(one_value_has_no_deviation_and_none_has_no_median),
        UNIT(u_test_agrees_with_the_tables),
        UNIT(u_test_of_equal_values_sees_nothing),
        UNIT(u_test_with_ties_is_close_to_the_exact_one),
        UNIT(u_test_of_large_samples_approximates),
        UNIT(a_clear_slowdown_is_slower_and_the_reverse_faster),
        UNIT(a_certain_but_small_slowdown_is_the_same),
        UNIT(a_large_but_noisy_difference_is_the_same),
        UNIT(too_few_runs_are_told_from_no_difference),
        UNIT(ratios_forgive_a_slower_machine_and_times_do_not),
        UNIT(json_gives_back_what_it_took),
        UNIT(json_of_another_kind_is_refused),
        UNIT(every_preset_reads_back_as_it_is_written),
        UNIT(lists_multiply_and_the_last_varies_fastest),
        UNIT(mistakes_on_the_command_line_are_named),
        UNIT(a_suite_is_lines_of_cases),
    };
    int fd = mkstemp(path), code;

    if (fd < 0)
        return 2;
    close(fd);
    code = unit_main("bench", tests, UNIT_COUNT(tests));
    unlink(path);
    return code;
}
