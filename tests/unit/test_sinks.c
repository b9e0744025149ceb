/* The files that tell of a run: how they come to be, what stands in them whatever the names of
 * images are, and that a report can be read back. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "record/report_json.h"
#include "util/xml.h"
#include "util/atomic_file.h"
#include "record/report_read.h"
#include "page/timeline.h"
#include "scratch.h"

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(text, f);
    fclose(f);
}

static bool holds(const char *name, const char *text)
{
    char got[200] = "";
    FILE *f = fopen(in_folder(name), "r");
    size_t n = f ? fread(got, 1, sizeof(got) - 1, f) : 0;

    if (f)
        fclose(f);
    return f && n == strlen(text) && memcmp(got, text, n) == 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

static const struct qb_outfile_rules rules = {.what = "log", .begins = "Seq"};

static void a_file_appears_when_it_is_whole(void)
{
    struct qb_outfile out;

    write_file("log", "Seq old\n");
    CU_ASSERT_EQUAL_FATAL(qb_outfile_open(&out, in_folder("log"), rules), 0);
    fputs("Seq new\n", out.f);
    fflush(out.f);
    CU_ASSERT(holds("log", "Seq old\n"));
    CU_ASSERT_EQUAL(qb_outfile_commit(&out), 0);
    CU_ASSERT(holds("log", "Seq new\n"));
}

static void a_file_that_is_given_up_leaves_the_old_one_and_nothing_else(void)
{
    struct qb_outfile out;
    char temp[300];

    write_file("log", "Seq old\n");
    CU_ASSERT_EQUAL_FATAL(qb_outfile_open(&out, in_folder("log"), rules), 0);
    snprintf(temp, sizeof(temp), "%s", in_folder(out.temp));
    CU_ASSERT_EQUAL(access(temp, F_OK), 0);
    fputs("Seq new\n", out.f);
    qb_outfile_drop(&out);
    CU_ASSERT(holds("log", "Seq old\n"));
    CU_ASSERT_EQUAL(access(temp, F_OK), -1);
}

static void what_is_no_such_file_is_not_replaced(void)
{
    struct qb_outfile out;

    write_file("notes", "my notes\n");
    CU_ASSERT_EQUAL(qb_outfile_open(&out, in_folder("notes"), rules), -1);
    CU_ASSERT(holds("notes", "my notes\n"));
    write_file("notes", "");
    CU_ASSERT_EQUAL_FATAL(qb_outfile_open(&out, in_folder("notes"), rules), 0);
    qb_outfile_drop(&out);
}

static void a_file_keeps_its_mode_and_a_link_to_it_stays_a_link(void)
{
    struct qb_outfile out;
    struct stat st;
    char target[200];

    write_file("real", "Seq\n");
    CU_ASSERT_EQUAL(chmod(in_folder("real"), 0640), 0);
    snprintf(target, sizeof(target), "%s", in_folder("real"));
    CU_ASSERT_EQUAL(symlink(target, in_folder("link")), 0);
    CU_ASSERT_EQUAL_FATAL(qb_outfile_open(&out, in_folder("link"), rules), 0);
    fputs("Seq new\n", out.f);
    CU_ASSERT_EQUAL(qb_outfile_commit(&out), 0);
    CU_ASSERT(holds("real", "Seq new\n"));
    CU_ASSERT_EQUAL(lstat(in_folder("link"), &st), 0);
    CU_ASSERT(S_ISLNK(st.st_mode));
    CU_ASSERT_EQUAL(stat(target, &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 0777, 0640);
}

static void what_was_spilled_is_poured_where_it_belongs(void)
{
    struct qb_outfile out;
    FILE *spill;

    CU_ASSERT_EQUAL_FATAL(qb_outfile_open(&out, in_folder("poured"), rules), 0);
    spill = qb_outfile_spill(&out);
    CU_ASSERT_PTR_NOT_NULL_FATAL(spill);
    fputs("body\n", spill);
    fputs("head\n", out.f);
    qb_outfile_pour(&out, spill);
    fputs("foot\n", out.f);
    CU_ASSERT_EQUAL(qb_outfile_commit(&out), 0);
    CU_ASSERT(holds("poured", "head\nbody\nfoot\n"));
}

/* ---- text inside of markup ------------------------------------------------------------------- */

static void markup_is_well_formed_whatever_the_bytes(void)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"a<b>&\"'c", "a&lt;b&gt;&amp;&quot;&#39;c"},
        {"\t\n\r", "&#9;&#10;&#13;"},
        {"\x01\x1b\x7f", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc2\x85", "\xef\xbf\xbd"}, /* a control character of two bytes */
        {"\xef\xbf\xbe|\xef\xbf\xbf", "\xef\xbf\xbd|\xef\xbf\xbd"}, /* U+FFFE, U+FFFF */
        {"\xc3\xa9\xf0\x9f\x92\xbe", "\xc3\xa9\xf0\x9f\x92\xbe"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = NULL;
        size_t len;
        FILE *f = open_memstream(&text, &len);

        qb_markup_text(f, cases[i].in);
        fclose(f);
        CU_ASSERT_STRING_EQUAL(text, cases[i].out);
        free(text);
    }
}

/* ---- read back ------------------------------------------------------------------------------- */

static struct qb_outcome outcome_of(enum qb_status status)
{
    static const struct qb_info before = {
        .version = 2, .virtual_size = 1 << 20, .cluster_size = 1 << 16, .refcount_bits = 16};
    static const struct qb_info after = {.version = 3,
                                         .virtual_size = 2 << 20,
                                         .cluster_size = 1 << 16,
                                         .refcount_bits = 16,
                                         .has_backing_file = true,
                                         .backing_file = "b \"ase",
                                         .backing_fmt = "raw"};
    struct qb_outcome o = {.result = {.status = status, .err.offset = QB_NOWHERE}};
    struct qb_result *r = &o.result;

    r->before = &before;
    r->after = &after;
    r->io = (struct qb_io_stats){1, 2, 3, 4, 5, 6};
    r->allocated_delta = -4096;
    r->image_end_offset = 5 << 16;
    r->device_lacks = 4096;
    r->repaired = true;
    r->write_seconds = 0.5;
    o.timing = (struct qb_timing){.started_seconds = 1.5, .seconds = 0.75, .wave = 3, .worker = 7};
    if (status == QB_STATUS_FAILED)
        r->err = (struct qb_failure){QB_E_CORRUPT, 0, 0x30000, "a \xff table"};
    return o;
}

static char *line_of(const char *path, const struct qb_outcome *o, bool tagged)
{
    struct qb_job job = {.path = (char *)path};
    struct qb_batch batch = {0};
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    CU_ASSERT_EQUAL(qb_line_image(f, &batch, &job, o, tagged), 0);
    fclose(f);
    return text;
}

static void a_line_read_back_is_what_was_written(void)
{
    static const enum qb_status statuses[] = {QB_STATUS_CHANGED, QB_STATUS_FAILED};

    for (size_t i = 0; i < 4; i++) {
        struct qb_outcome o = outcome_of(statuses[i / 2]);
        char *text = line_of("dir/\xff.qcow2", &o, i % 2), *again;
        struct qb_read_line line;

        CU_ASSERT_PTR_NULL_FATAL(qb_line_read(text, strlen(text), &line));
        CU_ASSERT_EQUAL(line.kind, QB_READ_IMAGE);
        CU_ASSERT_EQUAL(line.tagged, i % 2);
        CU_ASSERT_STRING_EQUAL(line.path, "dir/\xff.qcow2");
        again = line_of(line.path, &line.outcome, i % 2);
        CU_ASSERT_STRING_EQUAL(again, text);
        qb_line_free(&line);
        free(again);
        free(text);
    }
}

static void an_image_that_never_ran_has_no_times(void)
{
    struct qb_outcome o = outcome_of(QB_STATUS_CHANGED);
    char *text;

    o.timing = (struct qb_timing){0};
    text = line_of("a", &o, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"started_seconds\":null,\"seconds\":null,"
                                        "\"wait_seconds\":null,\"wave\":null,\"worker\":null,"
                                        "\"spans\":{}"));
    free(text);
}

static void a_damaged_line_is_told_from_a_line(void)
{
    static const char *const damaged[] = {
        "",
        "{",
        "12",
        "[]",
        "{\"path\":\"a\"}",
        "{\"status\":\"changed\"}",
        "{\"path\":\"a\",\"status\":\"eaten\"}",
        "{\"path\":\"\",\"status\":\"changed\"}",
        "{\"path\":3,\"status\":\"changed\"}",
        "{\"type\":\"check\",\"path\":\"a\"}",
        "{\"type\":3}",
        "{\"path\":\"a\",\"path\":\"b\",\"status\":\"changed\"}",
    };
    static const char *const odd[] = {
        "{\"path\":\"a\",\"status\":\"failed\",\"error\":{\"code\":\"of a later version\"}}",
        "{\"path\":\"a\",\"status\":\"changed\",\"before\":3,\"io\":[],\"wave\":-1}",
        "{\"path\":\"a\",\"status\":\"changed\",\"seconds\":1e300,\"wave\":9999999999}",
        "{\"path\":\"a\",\"status\":\"changed\",\"started_seconds\":-1e300,\"worker\":4294967295}",
    };
    struct qb_read_line line;

    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++)
        CU_ASSERT_PTR_NOT_NULL(qb_line_read(damaged[i], strlen(damaged[i]), &line));
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        CU_ASSERT_PTR_NULL_FATAL(qb_line_read(odd[i], strlen(odd[i]), &line));
        CU_ASSERT(line.outcome.timing.seconds < 1e9);
        CU_ASSERT(line.outcome.timing.wave < 1u << 24);
        qb_line_free(&line);
    }
}

/* ---- pages ----------------------------------------------------------------------------------- */

/* Where there is no rectangle for each image, the few that failed do not hide what workers did. */
static void look_for_stripes(const char *text)
{
    const char *failed = strstr(text, "<path class=kf d=\"M"), *end;

    if (!strstr(text, "<path class=\"kr "))
        return;
    CU_ASSERT_PTR_NOT_NULL_FATAL(failed);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "<path class=\"kw "));
    end = strchr(failed, '>');
    for (const char *s = strchr(failed, 'v'); s && s < end; s = strchr(s + 1, 'v'))
        CU_ASSERT_EQUAL(strncmp(s, "v4h", 3), 0);
}

static size_t picture_of(size_t n, unsigned workers, unsigned wave_size)
{
    struct qb_job *jobs = calloc(n, sizeof(*jobs));
    struct qb_batch batch = {.jobs = jobs, .n_jobs = n};
    struct qb_timeline t;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    qb_timeline_init(&t);
    for (size_t i = 0; i < n; i++) {
        struct qb_outcome o = outcome_of(i % 7 ? QB_STATUS_CHANGED : QB_STATUS_FAILED);

        jobs[i].path = (char *)"<&";
        o.timing = (struct qb_timing){
            .started_seconds = (double)i * 0.01,
            .seconds = 0.02,
            .spans[QB_SPAN_PLAN] = {(double)i * 0.01, 0.01, (unsigned)i % workers},
            .spans[QB_SPAN_WRITE] = {(double)i * 0.01 + 0.01, 0.01, (unsigned)(i + 1) % workers},
            .spans[QB_SPAN_SYNC] = {(double)(i / wave_size), 0.5, 0},
            .wave = (unsigned)i / wave_size + 1,
            .worker = (unsigned)i % workers};
        qb_timeline_add(&t, i, &o);
    }
    qb_timeline_print(f, &t, &batch);
    fclose(f);
    CU_ASSERT_PTR_NULL(strstr(text, "<&"));
    CU_ASSERT_PTR_NULL(strstr(text, "nan"));
    CU_ASSERT_PTR_NULL(strstr(text, "inf"));
    CU_ASSERT_EQUAL(len > 0, n > 0);
    look_for_stripes(text);
    qb_timeline_free(&t);
    free(text);
    free(jobs);
    return len;
}

static void a_picture_does_not_grow_with_the_fleet(void)
{
    CU_ASSERT_EQUAL(picture_of(0, 1, 1), 0);
    CU_ASSERT(picture_of(1, 1, 1) > 0);
    CU_ASSERT(picture_of(400, 8, 20) < 100000);
    CU_ASSERT(picture_of(401, 8, 20) < 100000);
    CU_ASSERT(picture_of(50000, 256, 512) < 300000);
    CU_ASSERT(picture_of(50000, 256, 1) < 300000);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_file_appears_when_it_is_whole),
        UNIT(a_file_that_is_given_up_leaves_the_old_one_and_nothing_else),
        UNIT(what_is_no_such_file_is_not_replaced),
        UNIT(a_file_keeps_its_mode_and_a_link_to_it_stays_a_link),
        UNIT(what_was_spilled_is_poured_where_it_belongs),
        UNIT(markup_is_well_formed_whatever_the_bytes),
        UNIT(a_line_read_back_is_what_was_written),
        UNIT(an_image_that_never_ran_has_no_times),
        UNIT(a_damaged_line_is_told_from_a_line),
        UNIT(a_picture_does_not_grow_with_the_fleet),
    };

    return scratch_main("sinks", tests, UNIT_COUNT(tests));
}
