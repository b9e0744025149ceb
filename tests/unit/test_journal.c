/* The journal of a run: what is written is read again, what is damaged is told, and what a resumed
 * run makes of it. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "util/base64.h"
#include "fleet/session.h"
#include "job/rules.h"
#include "journals.h"

static const char id[] = "20260101-000000-000001";

/* ---- writing --------------------------------------------------------------------------------- */

static struct qb_journal open_new(void)
{
    struct qb_journal j;
    struct qb_err err;

    unlink(scratch_journal(id));
    CU_ASSERT_EQUAL_FATAL(qb_journal_create(scratch_journal(id), &j, &err), 0);
    qb_journal_begin(&j, "run");
    qb_journal_text(&j, "run", id);
    qb_journal_text(&j, "manifest", "/m.yaml");
    qb_journal_number(&j, "images", 3);
    qb_journal_end(&j);
    return j;
}

static void planned(struct qb_journal *j, const char *path, uint64_t virtual_size)
{
    qb_journal_begin(j, "planned");
    qb_journal_path(j, path);
    qb_journal_number(j, "asks", 7);
    qb_journal_number(j, "length", 1000);
    qb_journal_true(j, "appends", true);
    qb_journal_number(j, "virtual_size", virtual_size);
    qb_journal_number(j, "size_added", 1000);
    qb_journal_end(j);
}

static void over(struct qb_journal *j, const char *is, const char *path)
{
    struct qb_seen seen = qb_seen_at(path);

    qb_journal_begin(j, is);
    qb_journal_path(j, path);
    qb_journal_number(j, "asks", 7);
    qb_journal_true(j, "verified", true);
    qb_journal_number(j, "dev", seen.dev);
    qb_journal_number(j, "ino", seen.ino);
    qb_journal_number(j, "length", seen.length);
    qb_journal_number(j, "mtime_ns", seen.mtime_ns);
    if (strcmp(is, "failed") == 0) {
        qb_journal_text(j, "code", "no_space");
        qb_journal_text(j, "message", "full");
    }
    qb_journal_end(j);
}

static void touch(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CU_ASSERT_FATAL(fd >= 0);
    close(fd);
}

/* ---- lines ----------------------------------------------------------------------------------- */

struct read_back {
    char *path;
    uint64_t number;
    bool is_true, absent;
    unsigned char bytes[300];
    bool has_bytes;
};

static int on_record(void *arg, const struct qb_parsed *record, uint64_t at, struct qb_err *err)
{
    struct read_back *b = arg;

    (void)err;
    if (at == 0)
        return 0;
    b->path = qb_json_get_path(record);
    b->number = qb_json_get_number(record, "n", 0);
    b->is_true = qb_json_get_bool(record, "yes");
    b->absent = !qb_json_get_bool(record, "no");
    b->has_bytes = qb_json_get_bytes(record, "bytes", b->bytes, sizeof(b->bytes));
    return 0;
}

static void a_record_comes_back_as_it_was_whatever_the_path(void)
{
    static const char *const paths[] = {"/a b/c.qcow2", "/quote\"back\\slash\n\t\x01", "/\xc3\xa4",
                                        "/not\xffutf8\x80", ""};
    unsigned char bytes[300];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i * 7);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct qb_journal j = open_new();
        struct read_back b = {0};
        struct qb_journal_end end;
        struct qb_err err;

        qb_journal_begin(&j, "x");
        qb_journal_path(&j, paths[i]);
        qb_journal_number(&j, "n", 9223372036854775807u);
        qb_journal_true(&j, "yes", true);
        qb_journal_true(&j, "no", false);
        qb_journal_bytes(&j, "bytes", bytes, sizeof(bytes));
        qb_journal_end(&j);
        qb_journal_close(&j);
        CU_ASSERT_EQUAL(qb_journal_read(scratch_journal(id), on_record, &b, &end, &err), 0);
        CU_ASSERT_EQUAL(end.lines, 2);
        CU_ASSERT_FALSE(end.torn);
        CU_ASSERT_STRING_EQUAL(b.path, paths[i]);
        CU_ASSERT_EQUAL(b.number, 9223372036854775807u);
        CU_ASSERT(b.is_true && b.absent && b.has_bytes);
        CU_ASSERT_EQUAL(memcmp(b.bytes, bytes, sizeof(bytes)), 0);
        free(b.path);
    }
}

static void base64_takes_nothing_but_base64(void)
{
    static const char *const bad[] = {"A",    "AAA",      "A===",  "AA=A",
                                      "====", "AA==AAAA", "A\nAA", "!AAA"};
    char out[16];
    size_t n;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_EQUAL(qb_base64_read(bad[i], out, sizeof(out), &n), -1);
    CU_ASSERT_EQUAL(qb_base64_read("AAAAAAAA", out, 5, &n), -1); /* no room */
    CU_ASSERT_EQUAL(qb_base64_read("cWI=", out, sizeof(out), &n), 0);
    CU_ASSERT(n == 2 && memcmp(out, "qb", 2) == 0);
}

static int count(void *arg, const struct qb_parsed *record, uint64_t at, struct qb_err *err)
{
    (void)record;
    (void)at;
    (void)err;
    ++*(size_t *)arg;
    return 0;
}

/* Cut at every byte, a journal is whole up to the last line that is. */
static void a_torn_last_line_is_left_out_wherever_it_is_torn(void)
{
    struct qb_journal j = open_new();
    size_t n;
    char *text;

    planned(&j, "/a", 1);
    planned(&j, "/b", 1);
    qb_journal_close(&j);
    text = read_journal(id, &n);
    for (size_t cut = 0; cut <= n; cut++) {
        size_t lines = 0, whole = 0;
        struct qb_journal_end end;
        struct qb_err err;

        for (size_t i = 0; i < cut; i++)
            whole += text[i] == '\n';
        make_journal(id, text, cut);
        CU_ASSERT_EQUAL(qb_journal_read(scratch_journal(id), count, &lines, &end, &err), 0);
        CU_ASSERT(lines == whole && end.lines == whole);
        CU_ASSERT_EQUAL(end.torn, cut > 0 && text[cut - 1] != '\n');
    }
    free(text);
}

/* A file of three writes, each synced, and one more that names them as durable. */
static char *four_writes(size_t *n, size_t *durable)
{
    struct qb_journal j = open_new();

    CU_ASSERT_EQUAL(qb_journal_sync(&j), 0);
    planned(&j, "/a", 1);
    CU_ASSERT_EQUAL(qb_journal_sync(&j), 0);
    planned(&j, "/b", 1);
    CU_ASSERT_EQUAL(qb_journal_sync(&j), 0);
    *durable = (size_t)j.length;
    planned(&j, "/c", 1);
    planned(&j, "/d", 1);
    qb_journal_close(&j);
    return read_journal(id, n);
}

/* Any byte of what was durable; what is not may be lost. */
static void damage_of_what_was_durable_is_an_error_that_names_the_line(void)
{
    size_t n, durable, line = 1;
    char *text = four_writes(&n, &durable);

    for (size_t i = 0; i < n; i++) {
        char was = text[i], want[30];
        size_t lines = 0;
        struct qb_journal_end end;
        struct qb_err err = {0};
        int r;

        snprintf(want, sizeof(want), "line %zu is damaged", line);
        text[i] ^= 4;
        make_journal(id, text, n);
        r = qb_journal_read(scratch_journal(id), count, &lines, &end, &err);
        if (i == durable - 1 || (i >= durable && was == '\n')) {
            CU_ASSERT_EQUAL(r, 0); /* one line with the next, which is not durable */
        } else if (i < durable) {
            CU_ASSERT_EQUAL(r, -1);
            CU_ASSERT_EQUAL(err.code, QB_E_CORRUPT);
            CU_ASSERT_PTR_NOT_NULL(strstr(err.text, want));
        } else if (line > 6) { /* 6: the record that names the others as durable */
            CU_ASSERT(r == 0 && lines == 4 && end.cuts == 1 && end.synced == durable);
        }
        text[i] = was;
        line += was == '\n';
    }
    free(text);
}

/* What was durable once stays so, whatever a later record names. */
static void the_greatest_offset_that_a_record_names_was_durable(void)
{
    struct qb_journal j = open_new();
    struct qb_journal_end end;
    struct qb_err err;
    size_t n, lines = 0;
    char *text;

    planned(&j, "/a", 1);
    CU_ASSERT_EQUAL(qb_journal_sync(&j), 0);
    planned(&j, "/b", 1);
    CU_ASSERT_EQUAL(qb_journal_write(&j), 0);
    j.synced = 1;
    planned(&j, "/c", 1);
    qb_journal_close(&j);
    text = read_journal(id, &n);
    *(char *)memmem(text, n, "\"/a\"", 4) = 'x';
    make_journal(id, text, n);
    CU_ASSERT_EQUAL(qb_journal_read(scratch_journal(id), count, &lines, &end, &err), -1);
    free(text);
}

static void going_on_cuts_off_what_is_torn_and_appends_behind_it(void)
{
    struct qb_journal j = open_new();
    struct qb_history h;
    struct qb_err err;
    size_t n;
    char *text;

    planned(&j, "/a", 1);
    planned(&j, "/b", 1);
    qb_journal_close(&j);
    text = read_journal(id, &n);
    make_journal(id, text, n - 5);
    free(text);
    CU_ASSERT_EQUAL_FATAL(qb_history_reopen(scratch_folder(), id, &h, &j, &err), 0);
    CU_ASSERT(h.end.torn && qb_history_find(&h, "/a") && !qb_history_find(&h, "/b"));
    qb_history_free(&h);
    planned(&j, "/c", 1);
    qb_journal_close(&j);
    CU_ASSERT_EQUAL_FATAL(qb_history_read(scratch_folder(), id, &h, &err), 0);
    CU_ASSERT(!h.end.torn && qb_history_find(&h, "/c"));
    qb_history_free(&h);
}

static void two_never_work_with_one_journal(void)
{
    struct qb_journal first = open_new(), second;
    struct qb_history h;
    struct qb_err err;

    qb_journal_write(&first);
    CU_ASSERT(qb_journal_is_held(scratch_journal(id)));
    CU_ASSERT_EQUAL(qb_history_reopen(scratch_folder(), id, &h, &second, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_LOCKED);
    qb_history_free(&h);
    qb_journal_close(&first);
    CU_ASSERT_FALSE(qb_journal_is_held(scratch_journal(id)));
    CU_ASSERT_EQUAL(qb_journal_create(scratch_journal(id), &first, &err),
                    -1); /* names are used once */
}

/* ---- resuming -------------------------------------------------------------------------------- */

static void add(struct qb_batch *batch, const char *path, uint64_t delta)
{
    struct qb_request rq;

    qb_request_init(&rq);
    rq.set = delta ? QB_KEY_SIZE : QB_KEY_COMPAT;
    rq.compat = 2;
    rq.size = delta;
    rq.size_is = delta > 0 ? QB_SIZE_ADDED : QB_SIZE_SET;
    CU_ASSERT_FATAL(qb_batch_add(batch, path, 0, &rq));
    batch->jobs[batch->n_jobs - 1].asks = 7;
    batch->jobs[batch->n_jobs - 1].size_added = delta;
}

static void apply(struct qb_batch *batch, bool failed_only)
{
    struct qb_history h;
    struct qb_err err;

    CU_ASSERT_EQUAL_FATAL(qb_history_read(scratch_folder(), id, &h, &err), 0);
    batch->folder = strdup("");
    if (failed_only)
        qb_resume_failed_only(batch, &h);
    else
        qb_resume_apply(&(struct qb_keep){0}, batch, &h, false);
    qb_history_free(&h);
}

static void what_is_done_and_still_is_as_it_was_left_is_not_looked_at_again(void)
{
    struct qb_journal j = open_new();
    struct qb_batch batch;

    for (const char *name = "abcdef"; *name; name++)
        touch(in_folder((char[]){*name, 0}));
    over(&j, "changed", in_folder("a"));
    over(&j, "unchanged", in_folder("b"));
    over(&j, "failed", in_folder("c"));
    planned(&j, in_folder("d"), 1);
    over(&j, "changed", in_folder("e"));
    qb_journal_close(&j);
    CU_ASSERT_EQUAL(truncate(in_folder("e"), 5), 0); /* somebody used it since */
    qb_batch_init(&batch);
    for (const char *name = "abcdef"; *name; name++)
        add(&batch, in_folder((char[]){*name, 0}), 0);
    batch.jobs[1].asks = 8; /* the manifest asks for something else now */
    apply(&batch, false);
    CU_ASSERT_TRUE(batch.jobs[0].already);
    for (size_t i = 1; i < 6; i++)
        CU_ASSERT_FALSE(batch.jobs[i].already);
    CU_ASSERT_EQUAL(batch.jobs[3].abandoned_from, 1000); /* begun, and nothing heard since */
    CU_ASSERT_EQUAL(batch.jobs[4].abandoned_from, 0);
    qb_batch_free(&batch);
}

static void an_added_size_is_added_once(void)
{
    struct qb_journal j = open_new();
    struct qb_batch batch;

    touch(in_folder("a"));
    touch(in_folder("b"));
    planned(&j, in_folder("a"), 5000);
    planned(&j, in_folder("b"), 5000);
    over(&j, "changed", in_folder("b"));
    qb_journal_close(&j);
    CU_ASSERT_EQUAL(truncate(in_folder("b"), 5), 0);
    qb_batch_init(&batch);
    add(&batch, in_folder("a"), 1000);
    add(&batch, in_folder("b"), 1000);
    batch.jobs[1].request.set |= QB_KEY_COMPAT;
    batch.jobs[0].request.allow_shrink = true;
    apply(&batch, false);
    CU_ASSERT(batch.jobs[0].request.size == 5000 &&
              batch.jobs[0].request.size_is == QB_SIZE_AT_LEAST);
    CU_ASSERT_FALSE(batch.jobs[0].request.allow_shrink);
    CU_ASSERT(batch.jobs[1].request.size == 5000 &&
              batch.jobs[1].request.size_is == QB_SIZE_AT_LEAST);
    qb_batch_free(&batch);
}

static void retrying_takes_what_failed_and_nothing_else(void)
{
    struct qb_journal j = open_new();
    struct qb_batch batch;

    for (const char *name = "abc"; *name; name++)
        touch(in_folder((char[]){*name, 0}));
    over(&j, "failed", in_folder("a"));
    over(&j, "changed", in_folder("a")); /* the last word counts */
    over(&j, "failed", in_folder("b"));
    qb_journal_close(&j);
    qb_batch_init(&batch);
    for (const char *name = "abc"; *name; name++)
        add(&batch, in_folder((char[]){*name, 0}), 0);
    apply(&batch, true);
    CU_ASSERT_EQUAL_FATAL(batch.n_jobs, 1);
    CU_ASSERT_STRING_EQUAL(batch.jobs[0].path, in_folder("b"));
    qb_batch_free(&batch);
}

static void an_image_has_one_name_from_wherever_the_manifest_is_given(void)
{
    static const struct {
        const char *manifest, *image;
    } same[] = {{"%s/sub/../m.yaml", "%s/sub/../x/a"},
                {"%s/m.yaml", "%s/x/a"},
                {"%s/./m.yaml", "%s/./x/a"},
                {"m.yaml", "x/a"},
                {"./m.yaml", "./x/a"}};
    char want[400];

    snprintf(want, sizeof(want), "%s/x/a", scratch_folder());
    mkdir(in_folder("sub"), 0700);
    CU_ASSERT_EQUAL(chdir(scratch_folder()), 0);
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        char manifest[400], image[400], buf[PATH_MAX];
        struct qb_batch batch;

        snprintf(manifest, sizeof(manifest), same[i].manifest, scratch_folder());
        snprintf(image, sizeof(image), same[i].image, scratch_folder());
        qb_batch_init(&batch);
        batch.manifest_path = strdup(manifest);
        add(&batch, image, 0);
        CU_ASSERT(qb_state_prepare(&batch));
        CU_ASSERT_STRING_EQUAL(qb_job_name(&batch, &batch.jobs[0], buf), want);
        qb_batch_free(&batch);
    }
}

/* ---- the folder ------------------------------------------------------------------------------ */

static void make_run(const char *dir, unsigned number, const char *last, uint64_t left)
{
    char name[QB_RUN_ID], path[QB_JOURNAL_PATH];
    struct qb_journal j;
    struct qb_err err;

    snprintf(name, sizeof(name), "20250101-%06u-000000", number);
    qb_state_dir_journal(dir, name, path);
    CU_ASSERT_EQUAL_FATAL(qb_journal_create(path, &j, &err), 0);
    qb_journal_begin(&j, "run");
    qb_journal_text(&j, "run", name);
    qb_journal_true(&j, "undo", strcmp(last, "undo") == 0);
    qb_journal_end(&j);
    if (strcmp(last, "undo") == 0) {
        qb_journal_begin(&j, "planned");
        qb_journal_path(&j, "/a");
        qb_journal_text(&j, "old_sector", "");
        qb_journal_end(&j);
        over(&j, "changed", "/a");
    }
    qb_journal_begin(&j, "end");
    qb_journal_number(&j, "left", left);
    qb_journal_end(&j);
    qb_journal_close(&j);
}

/* One that is not a run's: it cannot be read as one. */
static void make_strange(const char *dir, unsigned number)
{
    char name[QB_RUN_ID], path[QB_JOURNAL_PATH];
    struct qb_journal j;
    struct qb_err err;

    snprintf(name, sizeof(name), "20250101-%06u-000000", number);
    qb_state_dir_journal(dir, name, path);
    CU_ASSERT_EQUAL_FATAL(qb_journal_create(path, &j, &err), 0);
    qb_journal_begin(&j, "strange");
    qb_journal_end(&j);
    qb_journal_close(&j);
}

static void old_runs_go_unless_somebody_needs_them(void)
{
    char dir[300];
    qb_run_ids ids = {0};
    struct qb_run_id one;
    struct qb_err err;

    snprintf(dir, sizeof(dir), "%s/state", scratch_folder());
    CU_ASSERT_EQUAL(qb_state_dir_make(dir, &err), 0);
    make_run(dir, 0, "undo", 0);
    make_run(dir, 1, "end", 3); /* unfinished */
    make_strange(dir, 2);
    for (unsigned i = 3; i < 60; i++)
        make_run(dir, i, "end", 0);
    qb_runs_prune(dir);
    CU_ASSERT_EQUAL(qb_state_dir_list(dir, &ids, &err), 0);
    CU_ASSERT_EQUAL(ids.n, QB_RUNS_KEPT + 3);
    CU_ASSERT_STRING_EQUAL(ids.items[0].text, "20250101-000000-000000");
    CU_ASSERT_STRING_EQUAL(ids.items[1].text, "20250101-000001-000000");
    CU_ASSERT_STRING_EQUAL(ids.items[2].text, "20250101-000002-000000");
    CU_ASSERT_STRING_EQUAL(ids.items[3].text, "20250101-000010-000000");
    CU_ASSERT_EQUAL(qb_state_dir_pick(dir, "last", &one, &err), 0);
    CU_ASSERT_STRING_EQUAL(one.text, "20250101-000059-000000");
    CU_ASSERT_EQUAL(qb_state_dir_pick(dir, "20250101-000001", &one, &err), 0);
    CU_ASSERT_EQUAL(qb_state_dir_pick(dir, "2025", &one, &err), -1);
    CU_ASSERT_EQUAL(qb_state_dir_pick(dir, "2024", &one, &err), -1);
    qb_vec_free(&ids);
}

static void runs_have_names_of_their_own(void)
{
    struct qb_run_id a = qb_state_dir_new_id(), b = qb_state_dir_new_id();

    CU_ASSERT_EQUAL(strlen(a.text), strlen("20260101-000000-000000"));
    CU_ASSERT(strcmp(a.text, b.text) != 0);
}

/* ---- fingerprints: those of tests/earlier, which journals on disk have ------------------------
 */

static uint32_t print_of(const struct qb_request *rq, const struct qb_rules *rules)
{
    struct qb_batch batch;
    uint32_t asks;

    qb_batch_init(&batch);
    CU_ASSERT_TRUE_FATAL(qb_batch_add(&batch, "/srv/vm/a.qcow2", 1, rq));
    batch.jobs[0].rules = rules;
    qb_asks_note(&batch);
    asks = batch.jobs[0].asks;
    qb_batch_free(&batch);
    return asks;
}

static void a_request_has_the_fingerprint_that_it_had_in_version_0_1(void)
{
    struct qb_request undo, grow;
    struct qb_rules rules = {.moves = NULL};
    struct qb_why why;

    qb_request_init(&undo);
    undo.set = QB_KEY_COMPAT;
    undo.compat = 2;
    undo.keep_undo = true;
    CU_ASSERT_EQUAL(print_of(&undo, NULL), 2848129459u);
    qb_request_init(&grow);
    grow.set = QB_KEY_SIZE;
    grow.size = 1 << 20;
    grow.size_is = QB_SIZE_ADDED;
    CU_ASSERT_TRUE(qb_condition_set(QB_IF_size_max, "1G", &rules.when, &why));
    CU_ASSERT_TRUE(qb_condition_set(QB_IF_has_backing, "off", &rules.when, &why));
    CU_ASSERT_EQUAL(print_of(&grow, &rules), 1923382413u);
    grow.on_leaks = QB_LEAKS_FREE;
    CU_ASSERT_NOT_EQUAL(print_of(&grow, &rules), 1923382413u);
    grow.on_leaks = QB_LEAKS_KEEP;
    grow.free_lost_tables = true;
    CU_ASSERT_NOT_EQUAL(print_of(&grow, &rules), 1923382413u);
}

/* Also of two images that stand next to each other, and share what `when` and `expect` say. */
static void other_requests_have_other_fingerprints(void)
{
    struct qb_request requests[4];
    struct qb_batch batch;

    qb_batch_init(&batch);
    for (size_t i = 0; i < UNIT_COUNT(requests); i++) {
        qb_request_init(&requests[i]);
        requests[i].set = QB_KEY_COMPAT;
        requests[i].compat = i == 3 ? 2 : 3;
        requests[i].keep_undo = i == 1;
        requests[i].verify = i == 2 ? QB_VERIFY_CONTENT : QB_VERIFY_METADATA;
        CU_ASSERT_FATAL(qb_batch_add(&batch, "/i", 0, &requests[i]));
    }
    qb_asks_note(&batch);
    for (size_t i = 0; i < batch.n_jobs; i++)
        for (size_t k = 0; k < i; k++)
            CU_ASSERT_NOT_EQUAL(batch.jobs[i].asks, batch.jobs[k].asks);
    qb_batch_free(&batch);
}

/* Each part of each item counts, and so does its place. */
static void other_lists_of_mappings_have_other_fingerprints(void)
{
    static const struct qb_bitmap_add adds[][2] = {
        {{"a", 0, false}, {"b", 0, false}},    {{"b", 0, false}, {"a", 0, false}},
        {{"a", 4096, false}, {"b", 0, false}}, {{"a", 0, false}, {"b", 4096, false}},
        {{"a", 0, true}, {"b", 0, false}},     {{"c", 0, false}, {"b", 0, false}}};
    static const char *const names[] = {"a", "b"};
    static const struct qb_bitmap_merge merges[] = {
        {{names, 1}, "b"}, {{names + 1, 1}, "b"}, {{names, 2}, "b"}, {{names, 2}, "a"}};
    static const struct qb_bitmap_rename renames[] = {{"a", "b"}, {"b", "a"}};
    struct qb_batch batch;
    struct qb_request rq;

    qb_batch_init(&batch);
    qb_request_init(&rq);
    rq.set = QB_KEY_BITMAPS;
    for (size_t i = 0; i < UNIT_COUNT(adds); i++) {
        rq.bitmaps_add = (struct qb_bitmap_adds){adds[i], 2};
        CU_ASSERT_FATAL(qb_batch_add(&batch, "/i", 0, &rq));
    }
    rq.bitmaps_add.n = 1;
    CU_ASSERT_FATAL(qb_batch_add(&batch, "/i", 0, &rq));
    rq.bitmaps_add.n = 0;
    for (size_t i = 0; i < UNIT_COUNT(merges); i++) {
        rq.bitmaps_merge = (struct qb_bitmap_merges){&merges[i], 1};
        CU_ASSERT_FATAL(qb_batch_add(&batch, "/i", 0, &rq));
    }
    rq.bitmaps_merge.n = 0;
    for (size_t i = 0; i < UNIT_COUNT(renames); i++) {
        rq.bitmaps_rename = (struct qb_bitmap_renames){&renames[i], 1};
        CU_ASSERT_FATAL(qb_batch_add(&batch, "/i", 0, &rq));
    }
    qb_asks_note(&batch);
    for (size_t i = 0; i < batch.n_jobs; i++)
        for (size_t k = 0; k < i; k++)
            CU_ASSERT_NOT_EQUAL(batch.jobs[i].asks, batch.jobs[k].asks);
    qb_batch_free(&batch);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_record_comes_back_as_it_was_whatever_the_path),
        UNIT(base64_takes_nothing_but_base64),
        UNIT(a_torn_last_line_is_left_out_wherever_it_is_torn),
        UNIT(damage_of_what_was_durable_is_an_error_that_names_the_line),
        UNIT(the_greatest_offset_that_a_record_names_was_durable),
        UNIT(going_on_cuts_off_what_is_torn_and_appends_behind_it),
        UNIT(two_never_work_with_one_journal),
        UNIT(what_is_done_and_still_is_as_it_was_left_is_not_looked_at_again),
        UNIT(an_added_size_is_added_once),
        UNIT(retrying_takes_what_failed_and_nothing_else),
        UNIT(an_image_has_one_name_from_wherever_the_manifest_is_given),
        UNIT(old_runs_go_unless_somebody_needs_them),
        UNIT(runs_have_names_of_their_own),
        UNIT(a_request_has_the_fingerprint_that_it_had_in_version_0_1),
        UNIT(other_requests_have_other_fingerprints),
        UNIT(other_lists_of_mappings_have_other_fingerprints),
    };

    return scratch_main("journal", tests, UNIT_COUNT(tests));
}
