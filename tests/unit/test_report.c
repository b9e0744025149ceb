/* What a run says of itself: the exit code, the table, the JSON lines, the words; and the command
 * line that asks for them. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "run/reorder.h"
#include "record/report_json.h"
#include "backing/ready_queue.h"
#include "text/table.h"
#include "util/text.h"
#include "base/result.h"
#include "source.h"
#include "unit.h"

/* ---- results to tell of ---------------------------------------------------------------------- */

static struct qb_result changed(void)
{
    static const struct qb_info before = {
        .version = 3, .virtual_size = 10ull << 30, .refcount_bits = 16};
    static const struct qb_info after = {
        .version = 2, .virtual_size = 20ull << 30, .refcount_bits = 16};

    return (struct qb_result){
        .status = QB_STATUS_CHANGED, .err.offset = QB_NOWHERE, .before = &before, .after = &after};
}

static struct qb_result failed(enum qb_status status, enum qb_code code)
{
    return (struct qb_result){
        .status = status,
        .err = {code, 0, 0x30000, "table of 512 entries ends past the end of the file"}};
}

/* What fn prints. */
static char *printed(void (*fn)(FILE *f, void *arg), void *arg)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    fn(f, arg);
    fclose(f);
    return text;
}

/* ---- exit codes ------------------------------------------------------------------------------ */

static int code_of(bool detailed, size_t n, const enum qb_status *statuses)
{
    struct qb_summary sum = {0};

    for (size_t i = 0; i < n; i++)
        qb_summary_add(&sum, &(struct qb_result){.status = statuses[i]});
    return qb_summary_exit_code(&sum, detailed);
}

#define CODE(detailed, ...)                                                                        \
    code_of(detailed, sizeof((enum qb_status[]){__VA_ARGS__}) / sizeof(enum qb_status),            \
            (enum qb_status[]){__VA_ARGS__})

static void exit_code_is_the_worst_that_happened(void)
{
    CU_ASSERT_EQUAL(CODE(false, QB_STATUS_CHANGED, QB_STATUS_UNCHANGED), 0);
    CU_ASSERT_EQUAL(CODE(false, QB_STATUS_WOULD_CHANGE), 0);
    CU_ASSERT_EQUAL(CODE(true, QB_STATUS_WOULD_CHANGE), 4);
    CU_ASSERT_EQUAL(CODE(true, QB_STATUS_UNCHANGED), 0);
    CU_ASSERT_EQUAL(CODE(false, QB_STATUS_CHANGED, QB_STATUS_SKIPPED), 3);
    CU_ASSERT_EQUAL(CODE(true, QB_STATUS_WOULD_CHANGE, QB_STATUS_SKIPPED), 3);
    CU_ASSERT_EQUAL(CODE(false, QB_STATUS_SKIPPED, QB_STATUS_FAILED), 1);
    CU_ASSERT_EQUAL(CODE(false, QB_STATUS_FAILED, QB_STATUS_INTERRUPTED), 75);
}

static void an_image_that_is_not_to_be_trusted_outweighs_all_else(void)
{
    struct qb_result wrong = failed(QB_STATUS_FAILED, QB_E_VERIFY);
    struct qb_summary sum = {0};

    qb_summary_add(&sum, &(struct qb_result){.status = QB_STATUS_INTERRUPTED});
    qb_summary_add(&sum, &(struct qb_result){.status = QB_STATUS_FAILED});
    qb_summary_add(&sum, &wrong);
    qb_summary_add(&sum, &(struct qb_result){.status = QB_STATUS_SKIPPED});
    CU_ASSERT_EQUAL(qb_summary_exit_code(&sum, false), 5);
}

/* ---- words ----------------------------------------------------------------------------------- */

static void sizes_and_counts_read_well(void)
{
    char b[QB_TEXT_NUMBER];

    CU_ASSERT_STRING_EQUAL(qb_text_size(0, b), "0 B");
    CU_ASSERT_STRING_EQUAL(qb_text_size_exact(0, b), "0 B");
    CU_ASSERT_STRING_EQUAL(qb_text_size_exact(65537, b), "65537 B");
    CU_ASSERT_STRING_EQUAL(qb_text_size_exact(65536, b), "64 KiB");
    CU_ASSERT_STRING_EQUAL(qb_text_size_exact(UINT64_C(3) << 29, b), "1536 MiB");
    CU_ASSERT_STRING_EQUAL(qb_text_size_exact(UINT64_C(1) << 63, b), "8 EiB");
    CU_ASSERT_STRING_EQUAL(qb_text_size_exact(UINT64_MAX, b), "18446744073709551615 B");
    CU_ASSERT_STRING_EQUAL(qb_text_size(1023, b), "1023 B");
    CU_ASSERT_STRING_EQUAL(qb_text_size(1536, b), "1.5 KiB");
    CU_ASSERT_STRING_EQUAL(qb_text_size(10ull << 30, b), "10 GiB");
    CU_ASSERT_STRING_EQUAL(qb_text_size((1ull << 30) - 1, b), "1024 MiB");
    CU_ASSERT_STRING_EQUAL(qb_text_size(UINT64_MAX, b), "16 EiB");
    CU_ASSERT_STRING_EQUAL(qb_text_count(0, b), "0");
    CU_ASSERT_STRING_EQUAL(qb_text_count(999, b), "999");
    CU_ASSERT_STRING_EQUAL(qb_text_count(9950, b), "9,950");
    CU_ASSERT_STRING_EQUAL(qb_text_count(1234567, b), "1,234,567");
    CU_ASSERT_STRING_EQUAL(qb_text_seconds(0.0012, b), "1.2 ms");
    CU_ASSERT_STRING_EQUAL(qb_text_seconds(1.24, b), "1.2 s");
    CU_ASSERT_STRING_EQUAL(qb_text_seconds(125.9, b), "2 min 05 s");
}

static void utf8_is_told_from_what_is_not(void)
{
    CU_ASSERT_EQUAL(qb_text_utf8("a"), 1);
    CU_ASSERT_EQUAL(qb_text_utf8("\xc3\xa9"), 2);
    CU_ASSERT_EQUAL(qb_text_utf8("\xe2\x82\xac"), 3);
    CU_ASSERT_EQUAL(qb_text_utf8("\xf0\x9f\x92\xbe"), 4);
    CU_ASSERT_EQUAL(qb_text_utf8(""), 0);
    CU_ASSERT_EQUAL(qb_text_utf8("\x80"), 0);             /* a continuation alone */
    CU_ASSERT_EQUAL(qb_text_utf8("\xc3"), 0);             /* cut off */
    CU_ASSERT_EQUAL(qb_text_utf8("\xc0\xaf"), 0);         /* overlong */
    CU_ASSERT_EQUAL(qb_text_utf8("\xed\xa0\x80"), 0);     /* a surrogate */
    CU_ASSERT_EQUAL(qb_text_utf8("\xf4\x90\x80\x80"), 0); /* above U+10FFFF */
}

static void print_safe(FILE *f, void *arg)
{
    qb_text_safe(f, arg);
}

static void a_file_name_cannot_harm_the_terminal(void)
{
    char name[] = "a\x1b[2J\n\xff\xc2\x9b"
                  "\xc3\xa9";
    char *text = printed(print_safe, name);

    CU_ASSERT_STRING_EQUAL(text, "a\\x1b[2J\\x0a\\xff\\xc2\\x9b\xc3\xa9");
    CU_ASSERT_EQUAL(qb_text_columns(name), strlen(text) - 1); /* the last one is two bytes */
    free(text);
}

/* ---- changes --------------------------------------------------------------------------------- */

static void changes_list_what_differs_and_nothing_else(void)
{
    struct qb_result r = changed();
    struct qb_change c[QB_CHANGES_MAX];

    CU_ASSERT_EQUAL_FATAL(qb_report_changes(&r, c), 2);
    CU_ASSERT_STRING_EQUAL(c[0].key, "compat");
    CU_ASSERT_STRING_EQUAL(c[0].to.text, "0.10");
    CU_ASSERT_STRING_EQUAL(c[1].key, "size");
    CU_ASSERT_EQUAL(c[1].from.number, 10ull << 30);
    r.status = QB_STATUS_FAILED;
    CU_ASSERT_EQUAL(qb_report_changes(&r, c), 0);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

struct line {
    const char *path;
    struct qb_result result;
};

static void print_line(FILE *f, void *arg)
{
    struct line *l = arg;
    struct qb_job job = {.path = (char *)l->path, .line = 7};
    struct qb_batch batch = {.manifest_path = (char *)"m.yaml"};

    struct qb_outcome outcome = {.result = l->result};

    CU_ASSERT_EQUAL(qb_line_image(f, &batch, &job, &outcome, true), 0);
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static void json_line_is_whole_whatever_the_path(void)
{
    struct line l = {"dir/\xff\"\n.qcow2", changed()};
    char *text = printed(print_line, &l);

    CU_ASSERT(has(text, "{\"type\":\"image\",\"path\":\"dir/\xef\xbf\xbd\\\"\\n.qcow2\","
                        "\"path_bytes_base64\":\"ZGlyL/8iCi5xY293Mg==\",\"status\":\"changed\""));
    CU_ASSERT(has(text, "\"changes\":[{\"key\":\"compat\",\"from\":\"1.1\",\"to\":\"0.10\"},"
                        "{\"key\":\"size\",\"from\":10737418240,\"to\":21474836480}]"));
    CU_ASSERT_EQUAL(strchr(text, '\n'), text + strlen(text) - 1);
    free(text);
}

static void json_error_names_the_code_the_place_and_the_line(void)
{
    struct line l = {"a", failed(QB_STATUS_FAILED, QB_E_CORRUPT)};
    char *text = printed(print_line, &l);

    CU_ASSERT(has(text,
                  "\"error\":{\"code\":\"corrupt\",\"message\":\"table of 512 entries ends past "
                  "the end of the file\",\"errno\":null,\"offset\":196608,"
                  "\"manifest\":{\"path\":\"m.yaml\",\"line\":7}"));
    CU_ASSERT(has(text, "\"before\":null,\"after\":null,\"changes\":[]"));
    free(text);
}

/* ---- the table ------------------------------------------------------------------------------- */

struct shown {
    size_t n;
    bool quiet, all_rows;
    struct qb_result (*result_of)(size_t i);
};

static struct qb_result some_fail(size_t i)
{
    return i % 30 == 29 ? failed(QB_STATUS_FAILED, QB_E_CORRUPT) : changed();
}

static void print_table(FILE *f, void *arg)
{
    struct shown *s = arg;
    struct qb_job *jobs = calloc(s->n, sizeof(*jobs));
    struct qb_batch batch = {.jobs = jobs, .n_jobs = s->n};
    struct qb_table table = {.out = f, .errors = f, .quiet = s->quiet, .all_rows = s->all_rows};
    struct qb_summary sum = {.seconds = 1.2};

    for (size_t i = 0; i < s->n; i++)
        jobs[i].path = (char *)"image.qcow2";
    qb_table_start(&table, &batch);
    for (size_t i = 0; i < s->n; i++) {
        struct qb_outcome o = {.result = s->result_of(i)};

        qb_summary_add(&sum, &o.result);
        qb_table_row(&table, &jobs[i], &o);
    }
    qb_table_end(&table, &sum);
    free(jobs);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;

    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

static void a_small_batch_is_shown_whole(void)
{
    struct shown s = {.n = 30, .result_of = some_fail};
    char *text = printed(print_table, &s);

    CU_ASSERT_EQUAL(
        count(text, "changed      image.qcow2  compat: 1.1 -> 0.10, size: 10 GiB -> 20 GiB\n"), 29);
    CU_ASSERT(has(text,
                  "failed       image.qcow2  corrupt: table of 512 entries ends past the end of "
                  "the file at 0x30000\n             hint: "));
    CU_ASSERT(has(text, "30 images: 29 changed, 1 failed in 1.2 s\n"));
    free(text);
}

static void of_a_large_batch_equal_outcomes_are_a_line(void)
{
    struct shown s = {.n = 3000, .result_of = some_fail};
    char *text = printed(print_table, &s);

    CU_ASSERT_EQUAL(count(text, "\n"), 4);
    CU_ASSERT(has(text, "changed      2,900 images  compat: 1.1 -> 0.10, size: 10 GiB -> 20 GiB  "
                        "(image.qcow2, image.qcow2, image.qcow2, ...)\n"));
    CU_ASSERT(has(text, "failed       100 images  corrupt: table of 512 entries ends past the end "
                        "of the file  (image.qcow2, image.qcow2, image.qcow2, ...)\n"
                        "             hint: "));
    CU_ASSERT(has(text, "3,000 images: 2,900 changed, 100 failed in 1.2 s\n"));
    free(text);
    s.quiet = true;
    text = printed(print_table, &s);
    CU_ASSERT_STRING_EQUAL(text, "qbatch: image.qcow2, image.qcow2, image.qcow2 and 97 more: "
                                 "corrupt: table of 512 entries ends past the end of the file\n");
    free(text);
    s = (struct shown){.n = 3000, .all_rows = true, .result_of = some_fail};
    text = printed(print_table, &s);
    CU_ASSERT_EQUAL(count(text, "image.qcow2  "), 3000);
    free(text);
}

static struct qb_result all_differ(size_t i)
{
    static char reason[20]; /* read before the next one is made */

    snprintf(reason, sizeof(reason), "reason %zu", i);
    return (struct qb_result){.status = i % 2 ? QB_STATUS_FAILED : QB_STATUS_SKIPPED,
                              .err = {QB_E_REFUSED, 0, QB_NOWHERE, reason}};
}

static void of_a_thousand_different_outcomes_few_are_listed_and_all_are_counted(void)
{
    struct shown s = {.n = 1000, .result_of = all_differ};
    char *text = printed(print_table, &s);

    CU_ASSERT(count(text, "\n") < 50);
    CU_ASSERT(has(text, "... and 480 more failed, of other kinds") ||
              has(text, "of several kinds"));
    CU_ASSERT(has(text, "1,000 images: 500 skipped, 500 failed"));
    free(text);
}

static struct qb_result left_out(size_t i)
{
    if (i == 0)
        return changed();
    return (struct qb_result){.status = QB_STATUS_SKIPPED,
                              .err = {QB_E_WHEN, 0, QB_NOWHERE, "version is 3"}};
}

static void images_that_when_leaves_out_are_counted_and_not_listed(void)
{
    for (size_t n = 5; n <= 500; n *= 100) {
        struct shown s = {.n = n, .result_of = left_out};
        char *text = printed(print_table, &s), *all;

        CU_ASSERT(!has(text, "skipped"));
        CU_ASSERT(has(text, n == 5 ? "5 images: 1 changed, 4 left out by `when` in"
                                   : "500 images: 1 changed, 499 left out by `when` in"));
        s.all_rows = true;
        all = printed(print_table, &s);
        CU_ASSERT_EQUAL(count(all, "when: version is 3"), n - 1);
        free(text);
        free(all);
    }
}

static struct qb_result leaky(size_t i)
{
    struct qb_result r = changed();

    r.backing_unchecked = true;
    r.leaks = (struct qb_leaks){.valid = true, .clusters = i, .bytes = i << 16};
    return r;
}

static void a_note_is_told_once_for_all_images(void)
{
    struct shown s = {.n = 10, .result_of = leaky};
    char *text = printed(print_table, &s);

    CU_ASSERT_EQUAL(count(text, "note: "), 2);
    CU_ASSERT(has(text, "\nnote: 9 images: leaks: 45 leaked clusters (2.81 MiB) kept"));
    CU_ASSERT(has(text, "\nnote: 10 images: backing file: only the name"));
    free(text);
    s.n = 1;
    text = printed(print_table, &s);
    CU_ASSERT(has(text, "\nnote: backing file: only the name"));
    free(text);
}

/* ---- waiting for one's turn ------------------------------------------------------------------ */

static void held_results_come_back_in_order_as_they_were(void)
{
    struct qb_hold *hold = qb_hold_new(3);
    struct qb_outcome out;
    size_t job;

    for (size_t i = 3; i-- > 0;) {
        struct qb_outcome o = {.result = changed(), .steps = i == 1 ? strdup("step\n") : NULL};
        struct qb_info after = *o.result.after;
        char name[] = "base?";

        name[4] = (char)('0' + i);
        after.backing_file = name;
        o.result.after = &after;
        o.result.file_size_after = i;
        o.result.verified = true;
        qb_result_own(&o.result);
        CU_ASSERT(!qb_hold_next(hold, &job, &out));
        qb_hold_put(hold, i, &o);
        CU_ASSERT_PTR_NULL(o.steps);
    }
    for (size_t i = 0; i < 3; i++) {
        CU_ASSERT_FATAL(qb_hold_next(hold, &job, &out));
        CU_ASSERT_EQUAL(job, i);
        CU_ASSERT_EQUAL(out.result.file_size_after, i);
        CU_ASSERT(out.result.verified);
        CU_ASSERT_EQUAL(out.result.before->virtual_size, 10ull << 30);
        CU_ASSERT_EQUAL(out.result.after->virtual_size, 20ull << 30);
        CU_ASSERT_EQUAL(out.result.after->backing_file[4], (char)('0' + i));
        CU_ASSERT_EQUAL(out.steps != NULL, i == 1);
        qb_outcome_clear(&out);
    }
    qb_hold_free(hold);
}

static void queue_keeps_the_order_and_lets_who_waits_go_after_the_other(void)
{
    struct qb_queue *q = qb_queue_new(5);
    size_t got[5];

    CU_ASSERT_EQUAL(qb_queue_take(q, 0, 2, got), 2);
    CU_ASSERT(got[0] == 0 && got[1] == 1);
    qb_queue_after(q, 0, 4, true); /* 4 moves to the front */
    qb_queue_again(q, 1, 10);
    CU_ASSERT_EQUAL(qb_queue_take(q, 0, 2, got), 2);
    CU_ASSERT(got[0] == 4 && got[1] == 2);
    qb_queue_done(q, 4);
    qb_queue_done(q, 2);
    CU_ASSERT_EQUAL(qb_queue_take(q, 0, 5, got), 2);
    CU_ASSERT(got[0] == 0 && got[1] == 3);
    CU_ASSERT_EQUAL(qb_queue_take(q, 9, 5, got), 0);
    CU_ASSERT_EQUAL(qb_queue_wakes(q), 10);
    CU_ASSERT_EQUAL(qb_queue_take(q, 10, 5, got), 1);
    CU_ASSERT_EQUAL(got[0], 1);
    qb_queue_free(q);
}

/* ---- the command line ------------------------------------------------------------------------ */

struct typed {
    char *argv[8];
    struct qb_cli cli;
    int result;
};

static void parse_typed(FILE *f, void *arg)
{
    struct typed *t = arg;
    int argc = 0;

    while (t->argv[argc])
        argc++;
    t->result = qb_cli_parse(argc, t->argv, &t->cli, f);
}

#define W(s) ((char *)(s))

static void command_line_understands_each_command(void)
{
    struct typed t = {.argv = {W("qbatch"), W("amend"), W("-qo"), W("compat=1.1"), W("x"),
                               W("--jobs=3"), W("y")}};
    char *text = printed(parse_typed, &t);

    CU_ASSERT_STRING_EQUAL(text, "");
    CU_ASSERT_EQUAL(t.result, 0);
    CU_ASSERT_EQUAL(t.cli.command, QB_COMMAND_AMEND);
    CU_ASSERT(qb_cli_has(&t.cli, QB_OPTION_QUIET));
    CU_ASSERT_EQUAL(t.cli.jobs, 3);
    CU_ASSERT_EQUAL(t.cli.keys.n, 1);
    CU_ASSERT_EQUAL(t.cli.n_operands, 2);
    qb_cli_free(&t.cli);
    free(text);
}

static void command_line_says_what_may_have_been_meant(void)
{
    static const struct {
        const char *words[4];
        const char *part;
    } typed[] = {
        {{"--jason", "m"}, "did you mean --json?"},
        {{"--shrink", "m"}, "which is one of qbatch amend"},
        {{"amned"}, "did you mean the command \"amend\"?"},
        {{"chekc", "--shrink", "x"}, "did you mean the command \"check\"?"},
        {{"--json", "check", "x"}, "the command comes first"},
        {{"amend", "x"}, "-o KEY=VALUE is missing"},
        {{"--jobs", "0", "m"}, "--jobs \"0\": a number"},
        {{"--io", "fast", "m"}, "auto, uring or posix"},
        {{"--quiet=1", "m"}, "--quiet: takes no argument"},
        {{"--resume", "--retry-failed", "m"}, "exclude each other"},
        {{"--no-state", "--state", "d"}, "--no-state does not go with"},
        {{"--force-resume", "m"}, "goes with --resume"},
        {{"--deadline", "x", "m"}, "--deadline \"x\": is not a duration; write seconds"},
        {{"--deadline", "2hours", "m"}, "is not a duration; write 2h"},
        {{"--verify", "all", "m"}, "none | metadata | content is expected"},
        {{"--color", "yes", "m"}, "auto, always or never is expected"},
        {{"--resume=", "m"}, "a run is expected"},
        {{"undo"}, "a run is missing"},
        {{"status", "a", "b"}, "one run at a time"},
        {{"amend", "-o"}, "-o: an argument is missing"},
        {{"lint"}, "one manifest is expected"},
    };

    for (size_t i = 0; i < sizeof(typed) / sizeof(typed[0]); i++) {
        struct typed t = {.argv = {W("qbatch")}};
        char *text;

        for (size_t k = 0; k < 4 && typed[i].words[k]; k++)
            t.argv[k + 1] = W(typed[i].words[k]);
        text = printed(parse_typed, &t);
        CU_ASSERT_EQUAL(t.result, -1);
        if (!has(text, typed[i].part))
            printf("\n  expected \"%s\" in \"%s\"\n", typed[i].part, text);
        CU_ASSERT(has(text, typed[i].part));
        qb_cli_free(&t.cli);
        free(text);
    }
}

static void manual_page_has_every_option_as_the_table_has_it(void)
{
    char want[300], *text = source_text("batch/man/qbatch.1");

    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        if (qb_options[i].name)
            snprintf(want, sizeof(want), "Fl -%s", qb_options[i].name);
        else
            snprintf(want, sizeof(want), ".It Fl %c", qb_options[i].letter);
        CU_ASSERT(has(text, want));
    }
    free(text);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(exit_code_is_the_worst_that_happened),
        UNIT(an_image_that_is_not_to_be_trusted_outweighs_all_else),
        UNIT(sizes_and_counts_read_well),
        UNIT(utf8_is_told_from_what_is_not),
        UNIT(a_file_name_cannot_harm_the_terminal),
        UNIT(changes_list_what_differs_and_nothing_else),
        UNIT(json_line_is_whole_whatever_the_path),
        UNIT(json_error_names_the_code_the_place_and_the_line),
        UNIT(a_small_batch_is_shown_whole),
        UNIT(of_a_large_batch_equal_outcomes_are_a_line),
        UNIT(of_a_thousand_different_outcomes_few_are_listed_and_all_are_counted),
        UNIT(images_that_when_leaves_out_are_counted_and_not_listed),
        UNIT(a_note_is_told_once_for_all_images),
        UNIT(held_results_come_back_in_order_as_they_were),
        UNIT(queue_keeps_the_order_and_lets_who_waits_go_after_the_other),
        UNIT(command_line_understands_each_command),
        UNIT(command_line_says_what_may_have_been_meant),
        UNIT(manual_page_has_every_option_as_the_table_has_it),
    };

    return unit_main("report", tests, UNIT_COUNT(tests));
}
