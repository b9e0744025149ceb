/* Manifests: what they mean, and every mistake at its line and column. */
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/glob.h"
#include "job/keys.h"
#include "manifest/manifest.h"
#include "manifest/yaml.h"
#include "source.h"
#include "unit.h"

/* ---- helpers --------------------------------------------------------------------------------- */

static char folder[64];
static struct qb_batch batch;
static struct qb_diags diags;

static const char *in_folder(const char *name)
{
    static char paths[4][200];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text, size_t len)
{
    FILE *f = fopen(in_folder(name), "w");

    if (!f || fwrite(text, 1, len, f) != len || fclose(f))
        abort();
}

static void touch(const char *name)
{
    write_file(name, "", 0);
}

static void make_folder(const char *name)
{
    if (mkdir(in_folder(name), 0700) < 0)
        abort();
}

static void make_link(const char *target, const char *name)
{
    if (symlink(target, in_folder(name)) < 0)
        abort();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void forget(void)
{
    qb_batch_free(&batch);
    qb_diags_free(&diags);
}

static int load_bytes(const char *text, size_t len)
{
    forget();
    write_file("m.yaml", text, len);
    return qb_manifest_load(in_folder("m.yaml"), NULL, &batch, &diags);
}

static int load(const char *text)
{
    return load_bytes(text, strlen(text));
}

/* Whether job i is the file `name` of the folder. */
static bool job_is(size_t i, const char *name)
{
    bool ok = i < batch.n_jobs && strcmp(batch.jobs[i].path, in_folder(name)) == 0;

    if (!ok)
        fprintf(stderr, "job %zu is %s, not %s\n", i,
                i < batch.n_jobs ? batch.jobs[i].path : "missing", name);
    return ok;
}

static char *rendered(void)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    qb_diags_render(&diags, f);
    fclose(f);
    return text;
}

/* A small tree: three images, a golden one, a hidden one, links. */
static void make_fleet(void)
{
    make_folder("vm");
    make_folder("vm/sub");
    make_folder("vm/sub/deep");
    make_folder("vm/.hidden");
    make_folder("vm/folder.qcow2");
    make_folder("odd[x]");
    touch("vm/b.qcow2");
    touch("vm/a.qcow2");
    touch("vm/sub/c.qcow2");
    touch("vm/sub/deep/d.qcow2");
    touch("vm/sub/x-golden.qcow2");
    touch("vm/.hidden/e.qcow2");
    touch("vm/.f.qcow2");
    touch("vm/notes.txt");
    touch("odd[x]/g.qcow2");
    make_folder("links");
    make_link("../vm/a.qcow2", "links/to-a.qcow2");
    make_link("nowhere", "links/dangling.qcow2");
    make_link("../vm/sub", "links/to-sub");
    make_folder("hard");
    if (link(in_folder("vm/b.qcow2"), in_folder("hard/b2.qcow2")) < 0 ||
        mkfifo(in_folder("hard/pipe.qcow2"), 0600) < 0)
        abort();
}

/* ---- what a manifest means ------------------------------------------------------------------- */

static void a_manifest_without_settings_has_the_defaults(void)
{
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: vm/a.qcow2, compat: 1.1}]\n"), 0);
    CU_ASSERT_STRING_EQUAL(batch.name, "m.yaml");
    CU_ASSERT_STRING_EQUAL(batch.manifest_path, in_folder("m.yaml"));
    CU_ASSERT_EQUAL(batch.policy.on_error, QB_ON_ERROR_CONTINUE);
    CU_ASSERT_EQUAL(batch.policy.on_locked, QB_ON_LOCKED_SKIP);
    CU_ASSERT_EQUAL(batch.policy.lock_timeout_seconds, 60);
    CU_ASSERT_EQUAL(batch.limits.jobs, 0);
    CU_ASSERT_EQUAL(batch.limits.jobs_per_filesystem, 0);
    CU_ASSERT_EQUAL(batch.limits.memory_bytes, 512u << 20);
    CU_ASSERT_EQUAL(batch.limits.timeout_seconds, 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 1);
    CU_ASSERT_TRUE(job_is(0, "vm/a.qcow2"));
    CU_ASSERT_EQUAL(batch.jobs[0].line, 2);
    CU_ASSERT_EQUAL(batch.jobs[0].request.set, QB_KEY_COMPAT);
    CU_ASSERT_EQUAL(batch.jobs[0].request.verify, QB_VERIFY_METADATA);
    CU_ASSERT_FALSE(batch.jobs[0].request.allow_shrink);
    CU_ASSERT_FALSE(batch.jobs[0].request.fail_if_dirty);
}

static void settings_reach_the_run_and_every_request(void)
{
    CU_ASSERT_EQUAL(
        load("images: [{path: vm/a.qcow2, size: 1G}]\n"
             "limits: {jobs: 4, jobs_per_filesystem: 2, memory: 1G, timeout: 0.5, rate: 0}\n"
             "policy: {on_error: stop, on_locked: wait, lock_timeout: 5, on_dirty: fail,\n"
             "         allow_shrink: yes, verify: none, drop_bitmaps: on}\n"
             "name: all of it\nversion: 1\n"),
        0);
    CU_ASSERT_STRING_EQUAL(batch.name, "all of it");
    CU_ASSERT_EQUAL(batch.policy.on_error, QB_ON_ERROR_STOP);
    CU_ASSERT_EQUAL(batch.policy.on_locked, QB_ON_LOCKED_WAIT);
    CU_ASSERT_EQUAL(batch.policy.lock_timeout_seconds, 5);
    CU_ASSERT_EQUAL(batch.limits.jobs, 4);
    CU_ASSERT_EQUAL(batch.limits.jobs_per_filesystem, 2);
    CU_ASSERT_EQUAL(batch.limits.memory_bytes, 1u << 30);
    CU_ASSERT_EQUAL(batch.limits.timeout_seconds, 0.5);
    CU_ASSERT_TRUE(batch.jobs[0].request.allow_shrink);
    CU_ASSERT_TRUE(batch.jobs[0].request.fail_if_dirty);
    CU_ASSERT_TRUE(batch.jobs[0].request.drop_bitmaps);
    CU_ASSERT_EQUAL(batch.jobs[0].request.verify, QB_VERIFY_NONE);
    CU_ASSERT_EQUAL(batch.jobs[0].request.memory_limit, 1u << 30);
}

static void an_images_own_key_wins_over_defaults(void)
{
    CU_ASSERT_EQUAL(load("version: 1\n"
                         "defaults: {compat: 0.10, zero_clusters: share}\n"
                         "images:\n"
                         "  - path: vm/a.qcow2\n"
                         "  - {path: vm/b.qcow2, compat: v3, zero_clusters: defer, size: +1G}\n"),
                    0);
    CU_ASSERT_EQUAL(batch.n_jobs, 2);
    CU_ASSERT_EQUAL(batch.jobs[0].request.compat, 2);
    CU_ASSERT_EQUAL(batch.jobs[0].request.zero_clusters, QB_ZERO_SHARE);
    CU_ASSERT_EQUAL(batch.jobs[1].request.compat, 3);
    CU_ASSERT_EQUAL(batch.jobs[1].request.zero_clusters, QB_ZERO_DEFER);
    CU_ASSERT_EQUAL(batch.jobs[1].request.set, QB_KEY_COMPAT | QB_KEY_SIZE);
    CU_ASSERT_EQUAL(batch.jobs[1].request.size_is, QB_SIZE_ADDED);
}

static void folders_to_scan_are_kept_with_the_manifests_folder(void)
{
    CU_ASSERT_EQUAL(load("version: 1\ngraph: {scan: [vm, \"vm/**/*.img\", /, vm/a.qcow2]}\n"
                         "images: [{path: vm/a.qcow2, size: 1G}]\n"),
                    0);
    CU_ASSERT_EQUAL_FATAL(batch.scan.n, 4);
    CU_ASSERT_STRING_EQUAL(batch.scan.items[1].text, "vm/**/*.img");
    CU_ASSERT_EQUAL(strncmp(batch.scan.items[1].folder, in_folder("m.yaml"),
                            strlen(batch.scan.items[1].folder)),
                    0);
    CU_ASSERT_EQUAL(load("version: 1\ngraph: {scan: vm}\nimages: [{path: vm/a.qcow2, size: 1G}]\n"),
                    0);
    CU_ASSERT_EQUAL(batch.scan.n, 1);
    CU_ASSERT_EQUAL(batch.n_jobs, 1); /* what is scanned is not amended */
}

static void a_backing_file_is_kept_as_written_and_none_removes_it(void)
{
    CU_ASSERT_EQUAL(load("version: 1\n"
                         "images:\n"
                         "  - {path: vm/a.qcow2, backing_file: ../base.qcow2, backing_fmt: qcow2}\n"
                         "  - {path: vm/b.qcow2, backing_file: null, backing_fmt: ~}\n"
                         "  - {path: vm/c.qcow2, backing_file: ''}\n"
                         "  - {path: vm/d.qcow2, backing_file: 'null'}\n"),
                    0);
    CU_ASSERT_STRING_EQUAL(batch.jobs[0].request.backing_file, "../base.qcow2");
    CU_ASSERT_STRING_EQUAL(batch.jobs[0].request.backing_fmt, "qcow2");
    CU_ASSERT_STRING_EQUAL(batch.jobs[1].request.backing_file, "");
    CU_ASSERT_STRING_EQUAL(batch.jobs[1].request.backing_fmt, "");
    CU_ASSERT_STRING_EQUAL(batch.jobs[2].request.backing_file, "");
    CU_ASSERT_STRING_EQUAL(batch.jobs[3].request.backing_file, "null");
    CU_ASSERT_TRUE(batch.jobs[2].request.set & QB_KEY_BACKING_FILE);
}

static void a_byte_order_mark_and_crlf_change_nothing(void)
{
    CU_ASSERT_EQUAL(
        load("\xef\xbb\xbfversion: 1\r\nimages:\r\n- path: vm/a.qcow2\r\n  compat: 1.1\r\n"), 0);
    CU_ASSERT_EQUAL(batch.jobs[0].line, 3);
    CU_ASSERT_EQUAL(load("\xef\xbb\xbfversoin: 1\r\n"), -1);
    CU_ASSERT_EQUAL(diags.list.items[0].at.column, 1);
}

/* ---- selection ------------------------------------------------------------------------------- */

static void a_plain_path_is_taken_even_when_it_is_missing(void)
{
    CU_ASSERT_EQUAL(load("version: 1\ndefaults: {compat: v3}\n"
                         "images: [{path: [vm/missing.qcow2, /nowhere/x.qcow2, vm/a.qcow2]}]\n"),
                    0);
    CU_ASSERT_EQUAL(batch.n_jobs, 3);
    CU_ASSERT_TRUE(job_is(0, "vm/missing.qcow2"));
    CU_ASSERT_STRING_EQUAL(batch.jobs[1].path, "/nowhere/x.qcow2");
}

static void a_pattern_finds_files_in_order_and_nothing_hidden(void)
{
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: 'vm/*.qcow2', compat: v3}]\n"), 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 2);
    CU_ASSERT_TRUE(job_is(0, "vm/a.qcow2"));
    CU_ASSERT_TRUE(job_is(1, "vm/b.qcow2"));
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: 'vm/.*.qcow2', compat: v3}]\n"), 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 1);
    CU_ASSERT_TRUE(job_is(0, "vm/.f.qcow2"));
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: 'v?/[!b].qcow2', compat: v3}]\n"), 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 1);
}

static void two_stars_cross_folders_but_no_links(void)
{
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: 'vm/**/*.qcow2', compat: v3}]\n"), 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 5);
    CU_ASSERT_TRUE(job_is(0, "vm/a.qcow2"));
    CU_ASSERT_TRUE(job_is(1, "vm/b.qcow2"));
    CU_ASSERT_TRUE(job_is(2, "vm/sub/c.qcow2"));
    CU_ASSERT_TRUE(job_is(3, "vm/sub/deep/d.qcow2"));
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: 'vm/**/**/sub/**/d*', compat: v3}]\n"), 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 1);
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: 'vm/sub/**', compat: v3}]\n"), 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 3);
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: 'links/**/*.qcow2', compat: v3}]\n"), 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 1); /* to-a; nothing behind to-sub, and nothing that dangles */
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: 'links/*/c.qcow2', compat: v3}]\n"), 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 1); /* a `*` of one folder does follow */
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: 'hard/*', compat: v3}]\n"), 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 1); /* no pipe */
}

static void a_backslash_takes_a_wildcard_as_it_is(void)
{
    CU_ASSERT_EQUAL(load("version: 1\nimages: [{path: 'odd\\[x\\]/*.qcow2', compat: v3}]\n"), 0);
    CU_ASSERT_EQUAL(batch.n_jobs, 1);
    CU_ASSERT_TRUE(job_is(0, "odd[x]/g.qcow2"));
}

static void the_manifests_folder_is_no_pattern(void)
{
    forget();
    write_file("odd[x]/n.yaml", "version: 1\nimages: [{path: '*.qcow2', exclude: y/*, size: 1G}]\n",
               62);
    CU_ASSERT_EQUAL(qb_manifest_load(in_folder("odd[x]/n.yaml"), NULL, &batch, &diags), 0);
    CU_ASSERT_TRUE(job_is(0, "odd[x]/g.qcow2"));
}

static void exclude_leaves_out_files_and_folders(void)
{
    CU_ASSERT_EQUAL(load("version: 1\ndefaults: {compat: v3}\n"
                         "images: [{path: 'vm/**/*.qcow2', exclude: '*-golden.qcow2'}]\n"),
                    0);
    CU_ASSERT_EQUAL(batch.n_jobs, 4);
    CU_ASSERT_EQUAL(load("version: 1\ndefaults: {compat: v3}\n"
                         "images: [{path: 'vm/**/*.qcow2', exclude: [sub, b.qcow2]}]\n"),
                    0);
    CU_ASSERT_EQUAL(batch.n_jobs, 1);
    CU_ASSERT_EQUAL(load("version: 1\ndefaults: {compat: v3}\n"
                         "images: [{path: 'vm/**/*.qcow2', exclude: ['vm/sub/**', '**/a*']}]\n"),
                    0);
    CU_ASSERT_EQUAL(batch.n_jobs, 1);
    CU_ASSERT_TRUE(job_is(0, "vm/b.qcow2"));
    CU_ASSERT_EQUAL(load("version: 1\ndefaults: {compat: v3}\n"
                         "images: [{path: [vm/a.qcow2, vm/missing.qcow2], exclude: a.qcow2}]\n"),
                    -1);
    CU_ASSERT_EQUAL(diags.list.items[0].code, QB_M_NO_MATCH);
}

static void patterns_match_paths_as_wholes(void)
{
    CU_ASSERT_TRUE(qb_glob_match("/a/**/c", "/a/c"));
    CU_ASSERT_TRUE(qb_glob_match("/a/**/c", "/a/b/x/c"));
    CU_ASSERT_TRUE(qb_glob_match("**/b/**/d", "a/b/c/b/d"));
    CU_ASSERT_TRUE(qb_glob_match("a/*/c", "a/./b//c"));
    CU_ASSERT_TRUE(qb_glob_match("**", "a/b"));
    CU_ASSERT_FALSE(qb_glob_match("a/**", "a"));
    CU_ASSERT_FALSE(qb_glob_match("a/*", "a/b/c"));
    CU_ASSERT_FALSE(qb_glob_match("/a", "a"));
    CU_ASSERT_FALSE(qb_glob_match("**/c", "a/b"));
    CU_ASSERT_FALSE(qb_glob_match("", "a"));
}

static void a_file_reached_twice_is_named_with_both_places(void)
{
    CU_ASSERT_EQUAL(load("version: 1\ndefaults: {compat: v3}\nimages:\n"
                         "  - path: vm/a.qcow2\n"
                         "  - path: [vm/b.qcow2, links/to-a.qcow2]\n"
                         "  - path: hard/b*.qcow2\n"
                         "  - path: vm/../vm/*.qcow2\n"
                         "  - path: [x/gone, ./vm/gone, x/gone]\n"),
                    -1);
    CU_ASSERT_EQUAL(qb_diags_count(&diags), 3);
    CU_ASSERT_EQUAL_FATAL(diags.list.n, 4);
    for (size_t i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(diags.list.items[i].code, QB_M_SAME_FILE);
        CU_ASSERT_EQUAL(diags.list.items[i].is_note, i == 1); /* a pattern found the hard link */
    }
    CU_ASSERT_EQUAL(diags.list.items[0].at.line, 5);
    CU_ASSERT_EQUAL(diags.list.items[0].at.column, 24);
    CU_ASSERT_PTR_NOT_NULL(strstr(diags.list.items[0].text, "links/to-a.qcow2"));
    CU_ASSERT_PTR_NOT_NULL(strstr(diags.list.items[0].text, "vm/a.qcow2\" in line 4"));
    CU_ASSERT_EQUAL(diags.list.items[1].at.line, 6);
    CU_ASSERT_PTR_NOT_NULL(strstr(diags.list.items[1].text, "is the file of"));
    CU_ASSERT_PTR_NOT_NULL(strstr(diags.list.items[1].text, "vm/b.qcow2"));
    CU_ASSERT_EQUAL(diags.list.items[2].at.line, 7);
    CU_ASSERT_PTR_NOT_NULL(strstr(diags.list.items[2].text, "and 1 more"));
    CU_ASSERT_EQUAL(diags.list.items[3].at.line, 8);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

#define HEAD "version: 1\nimages:\n"
#define ONE  "- path: vm/a.qcow2\n"

struct mistake {
    const char *text;
    enum qb_mistake code;
    unsigned line, column;
    const char *did_you_mean;
};

static const struct mistake mistakes[] = {
    {"version: 1\nname: \xff\n", QB_M_UTF8, 2, 7, NULL},
    {"version: 1\nname: \xc3\xa4\xed\xa0\x80\n", QB_M_UTF8, 2, 8, NULL},
    {"version: 1\nname: a\x1b[31m\n", QB_M_CONTROL, 2, 8, NULL},
    {"version: 1\nname: a\xe2\x80\xa8\n", QB_M_CONTROL, 2, 8, NULL},
    {"version: 1\rname: a\n", QB_M_CONTROL, 1, 11, NULL},
    {HEAD "\t- path: a\n", QB_M_SYNTAX, 3, 1, NULL},
    {HEAD "- path: a\n   size: 1G\n  compat: v3\n", QB_M_SYNTAX, 4, 4, NULL},
    {HEAD "- path: [a\n", QB_M_SYNTAX, 3, 9, NULL},
    {"version: 1\nname: \"\n", QB_M_SYNTAX, 2, 7, NULL},
    {HEAD "- path: *.qcow2\n", QB_M_SYNTAX, 3, 9, NULL},
    {HEAD "- path: @a\n", QB_M_SYNTAX, 3, 9, NULL},
    {HEAD "- path: *a\n", QB_M_ALIAS, 3, 9, NULL},
    {HEAD "- path: vm/a.qcow2\n  size: &s 1G\n", QB_M_ALIAS, 4, 9, NULL},
    {HEAD "- path: vm/a.qcow2\n  size: !!str 1G\n", QB_M_TAG, 4, 9, NULL},
    {"", QB_M_DOCUMENTS, 1, 1, NULL},
    {"# nothing\n", QB_M_DOCUMENTS, 1, 1, NULL},
    {HEAD "- {path: vm/a.qcow2, size: 1G}\n---\nversion: 1\n", QB_M_DOCUMENTS, 4, 1, NULL},
    {"[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", QB_M_TOO_DEEP, 1, 17, NULL},
    {"version: 1\nversion: 1\nimages: [{path: vm/a.qcow2, size: 1G}]\n", QB_M_DUPLICATE_KEY, 2, 1,
     NULL},
    {HEAD ONE "  size: 1G\n  size: 2G\n", QB_M_DUPLICATE_KEY, 5, 3, NULL},
    {HEAD "- {path: vm/a.qcow2, size: 1G}\nimage: x\n", QB_M_UNKNOWN_KEY, 4, 1, "images"},
    {HEAD ONE "  compat: 1.10\n", QB_M_BAD_VALUE, 4, 11, "1.1"},
    {HEAD ONE "  backing_fmt: gcow2\n", QB_M_BAD_VALUE, 4, 16, "qcow2"},
    {HEAD ONE "  size: 0\n", QB_M_BAD_VALUE, 4, 9, NULL},
    {HEAD ONE "  size: 10g\n", QB_M_BAD_VALUE, 4, 9, NULL},
    {HEAD ONE "  lazy_refcount: on\n", QB_M_UNKNOWN_KEY, 4, 3, "lazy_refcounts"},
    {HEAD ONE "  size: 1G\n  exclud: x\n", QB_M_UNKNOWN_KEY, 5, 3, "exclude"},
    {HEAD ONE "  size: 1G\ndefaults: {<<: x}\n", QB_M_UNKNOWN_KEY, 5, 12, NULL},
    {HEAD ONE "  size: 1G\npolicy: {on_eror: stop}\n", QB_M_UNKNOWN_KEY, 5, 10, "on_error"},
    {HEAD ONE "  size: 1G\nlimits: {job: 1}\n", QB_M_UNKNOWN_KEY, 5, 10, "jobs"},
    {HEAD ONE "  size: 1G\n  allow_shrink: on\n", QB_M_MISPLACED_KEY, 5, 3, NULL},
    {HEAD ONE "  size: 1G\ncompat: v3\n", QB_M_MISPLACED_KEY, 5, 1, NULL},
    {HEAD ONE "  size: 1G\ndefaults: {path: x}\n", QB_M_MISPLACED_KEY, 5, 12, NULL},
    {HEAD ONE "  size: 1G\npolicy: {version: 1}\n", QB_M_MISPLACED_KEY, 5, 10, NULL},
    {HEAD ONE "  size: 1G\n  encrypt.format: luks\n", QB_M_NOT_YET, 5, 3, NULL},
    {HEAD ONE "  backing: {relative: on, check_content: maybe}\n", QB_M_BAD_VALUE, 4, 42, NULL},
    {HEAD "- chain: vm/none.qcow2\n  size: 1G\n", QB_M_FILE, 3, 10, NULL},
    {HEAD ONE "  size: 1G\n  when: {comat: v2}\n", QB_M_UNKNOWN_KEY, 5, 10, "compat"},
    {HEAD ONE "  size: 1G\n  when: {}\n", QB_M_NO_VALUE, 5, 9, NULL},
    {HEAD ONE "  size: 1G\n  expect: [dirty]\n", QB_M_WRONG_TYPE, 5, 11, NULL},
    {HEAD ONE "  size: 1G\n  after: {dirty: maybe}\n", QB_M_BAD_VALUE, 5, 18, NULL},
    {HEAD ONE "  size: 1G\n  when: {mtime_before: 2026-02-30}\n", QB_M_BAD_VALUE, 5, 24, NULL},
    {HEAD ONE "  size: 1G\nwhen: {compat: v2}\n", QB_M_MISPLACED_KEY, 5, 1, NULL},
    {HEAD ONE "  backing: {rewrite: []}\n", QB_M_NO_VALUE, 4, 22, NULL},
    {HEAD ONE "  backing: {rewrites: []}\n", QB_M_UNKNOWN_KEY, 4, 13, "rewrite"},
    {HEAD ONE "  backing: {rewrite: [{from: a}]}\n", QB_M_MISSING_KEY, 4, 23, NULL},
    {HEAD ONE "  backing: {rewrite: [{from: (, to: a}]}\n", QB_M_BAD_VALUE, 4, 30, NULL},
    {HEAD ONE "  backing: {rewrite: [{from: a, to: '\\1'}]}\n", QB_M_BAD_VALUE, 4, 37, NULL},
    {HEAD ONE "  backing: {file: base.qcow2}\n", QB_M_UNKNOWN_KEY, 4, 13, NULL},
    {HEAD ONE "  backing: {fmt: raw}\n", QB_M_BAD_VALUE, 4, 18, NULL},
    {HEAD ONE "  backing: {relative: on}\n  backing_file: x\n", QB_M_BAD_VALUE, 3, 3, NULL},
    {HEAD ONE "  backing: {fmt: auto}\n  backing_fmt: raw\n", QB_M_BAD_VALUE, 3, 3, NULL},
    {HEAD ONE "  size: 1G\n  tags: [a, 'b c']\n", QB_M_BAD_VALUE, 5, 13, NULL},
    {HEAD "- from_file: nowhere.txt\n  size: 1G\n", QB_M_FILE, 3, 14, NULL},
    {HEAD ONE "  size: 1G\nlimits: {rate: 10MB}\n", QB_M_BAD_VALUE, 5, 16, NULL},
    {HEAD ONE "  size: 1G\nlimits: {iops: 1k}\n", QB_M_BAD_VALUE, 5, 16, NULL},
    {HEAD ONE "  size: 1G\nlimits: {nice: 20}\n", QB_M_BAD_VALUE, 5, 16, NULL},
    {HEAD ONE "  size: 1G\nlimits: {ionice: best-effort:8}\n", QB_M_BAD_VALUE, 5, 18, NULL},
    {HEAD ONE "  size: 1G\nlimits: {load: 101}\n", QB_M_BAD_VALUE, 5, 16, NULL},
    {HEAD ONE "  size: 1G\npolicy: {max_failed: 101%}\n", QB_M_BAD_VALUE, 5, 22, NULL},
    {HEAD ONE "  size: 1G\npolicy: {min_free: some}\n", QB_M_BAD_VALUE, 5, 20, NULL},
    {HEAD ONE "  size: 1G\npolicy: {verify: contents}\n", QB_M_BAD_VALUE, 5, 18, "content"},
    {HEAD ONE "  size: 1G\npolicy: {extend_command: lvextend}\n", QB_M_WRONG_TYPE, 5, 26, NULL},
    {HEAD ONE "  size: 1G\npolicy: {extend_command: []}\n", QB_M_NO_VALUE, 5, 26, NULL},
    {HEAD ONE "  size: 1G\npolicy: {extend_command: ['', a]}\n", QB_M_BAD_VALUE, 5, 27, NULL},
    {HEAD ONE "  size: 1G\npolicy: {extend_command: [./a, b]}\n", QB_M_BAD_VALUE, 5, 27, NULL},
    {HEAD ONE "  size: 1G\npolicy: {extend_command: [a, {path}]}\n", QB_M_WRONG_TYPE, 5, 30, NULL},
    {HEAD ONE "  size: 1G\npolicy: {max_growth: -1}\n", QB_M_BAD_VALUE, 5, 22, NULL},
    {HEAD ONE "  size: 1G\nscan: [vm]\n", QB_M_MISPLACED_KEY, 5, 1, NULL},
    {HEAD ONE "  size: 1G\n  graph: {scan: vm}\n", QB_M_MISPLACED_KEY, 5, 3, NULL},
    {HEAD ONE "  size: 1G\ngraph: {scans: vm, scan: vm}\n", QB_M_UNKNOWN_KEY, 5, 9, "scan"},
    {HEAD ONE "  size: 1G\ngraph: {}\n", QB_M_MISSING_KEY, 5, 1, NULL},
    {HEAD ONE "  size: 1G\ngraph: [vm]\n", QB_M_WRONG_TYPE, 5, 8, NULL},
    {HEAD ONE "  size: 1G\ngraph: {scan: {vm: 1}}\n", QB_M_WRONG_TYPE, 5, 15, NULL},
    {HEAD ONE "  size: 1G\ngraph: {scan: []}\n", QB_M_NO_VALUE, 5, 15, NULL},
    {HEAD ONE "  size: 1G\ngraph: {scan: ['']}\n", QB_M_BAD_VALUE, 5, 16, NULL},
    {HEAD ONE "  size: 1G\ngraph: {scan: [vm, gone]}\n", QB_M_FOLDER, 5, 20, NULL},
    {HEAD ONE "  size: 1G\ngraph: {scan: hard/pipe.qcow2}\n", QB_M_FOLDER, 5, 15, NULL},
    {"images: [{path: vm/a.qcow2, size: 1G}]\n", QB_M_MISSING_KEY, 1, 1, NULL},
    {"version: 1\n", QB_M_MISSING_KEY, 1, 1, NULL},
    {HEAD "- size: 1G\n", QB_M_MISSING_KEY, 3, 3, NULL},
    {"- version: 1\n", QB_M_WRONG_TYPE, 1, 1, NULL},
    {"just text", QB_M_WRONG_TYPE, 1, 1, NULL},
    {"version: 1\nimages: x\n", QB_M_WRONG_TYPE, 2, 9, NULL},
    {HEAD "- vm/a.qcow2\n", QB_M_WRONG_TYPE, 3, 3, NULL},
    {HEAD "- [vm/a.qcow2]\n", QB_M_WRONG_TYPE, 3, 3, NULL},
    {HEAD "- path: {a: b}\n  size: 1G\n", QB_M_WRONG_TYPE, 3, 9, NULL},
    {HEAD ONE "  size: [1G]\n", QB_M_WRONG_TYPE, 4, 9, NULL},
    {HEAD ONE "  size: 1G\npolicy: [a]\n", QB_M_WRONG_TYPE, 5, 9, NULL},
    {HEAD ONE "  size: 1G\ndefaults: on\n", QB_M_WRONG_TYPE, 5, 11, NULL},
    {HEAD ONE "  ? [a]\n  : b\n", QB_M_WRONG_TYPE, 4, 5, NULL},
    {HEAD ONE "  size:\n", QB_M_NO_VALUE, 4, 3, NULL},
    {HEAD ONE "  size: null\n", QB_M_NO_VALUE, 4, 3, NULL},
    {HEAD ONE "  backing_file:\n", QB_M_NO_VALUE, 4, 3, NULL},
    {HEAD ONE "  size: 1G\npolicy:\n", QB_M_NO_VALUE, 5, 1, NULL},
    {"version: 1\nimages: []\n", QB_M_NO_VALUE, 2, 9, NULL},
    {HEAD "- path: []\n  size: 1G\n", QB_M_NO_VALUE, 3, 9, NULL},
    {"version: 2\nimages: [{path: vm/a.qcow2, size: 1G}]\n", QB_M_BAD_VALUE, 1, 10, NULL},
    {"version: 01\nimages: [{path: vm/a.qcow2, size: 1G}]\n", QB_M_BAD_VALUE, 1, 10, NULL},
    {HEAD ONE "  compat: 0.1\n", QB_M_BAD_VALUE, 4, 11, "0.10"},
    {HEAD ONE "  size: 200GB\n", QB_M_BAD_VALUE, 4, 9, NULL},
    {HEAD ONE "  size: 1:30\n", QB_M_BAD_VALUE, 4, 9, NULL},
    {HEAD ONE "  size: 017\n", QB_M_BAD_VALUE, 4, 9, NULL},
    {HEAD ONE "  refcount_bits: 4294967304\n", QB_M_BAD_VALUE, 4, 18, NULL},
    {HEAD ONE "  refcount_bits: 12\n", QB_M_BAD_VALUE, 4, 18, NULL},
    {HEAD ONE "  lazy_refcounts: 'onn'\n", QB_M_BAD_VALUE, 4, 19, "on"},
    {HEAD ONE "  compat: ''\n", QB_M_BAD_VALUE, 4, 11, NULL},
    {HEAD ONE "  zero_clusters: shared\n  size: 1G\n", QB_M_BAD_VALUE, 4, 18, "share"},
    {HEAD "- path: ''\n  size: 1G\n", QB_M_BAD_VALUE, 3, 9, NULL},
    {HEAD ONE "  size: 1G\n  exclude: old/\n", QB_M_BAD_VALUE, 5, 12, NULL},
    {HEAD ONE "  size: 1G\nlimits: {jobs: 0}\n", QB_M_BAD_VALUE, 5, 16, NULL},
    {HEAD ONE "  size: 1G\nlimits: {timeout: 5 min}\n", QB_M_BAD_VALUE, 5, 19, NULL},
    {HEAD "- path: \"a\\0b\"\n  size: 1G\n", QB_M_CONTROL, 3, 9, NULL},
    {HEAD ONE, QB_M_NOTHING_TO_DO, 3, 3, NULL},
    {HEAD ONE "  zero_clusters: share\n", QB_M_NOTHING_TO_DO, 3, 3, NULL},
    {HEAD "- path: vm/*.raw\n  size: 1G\n", QB_M_NO_MATCH, 3, 9, NULL},
    {HEAD "- path: [vm/a.qcow2, \xe6\x97\xa5\xe6\x9c\xac*, nix*]\n  size: 1G\n", QB_M_NO_MATCH, 3,
     22, NULL},
    {HEAD "- path: '*/a.qcow2'\n  exclude: a*\n  size: 1G\n", QB_M_NO_MATCH, 3, 9, NULL},
    {HEAD "- path: odd[x]/g.qcow2\n  size: 1G\n", QB_M_NO_MATCH, 3, 9, NULL},
    {HEAD "- path: vm/a.qcow2\n  size: 1G\n- {path: vm/a.qcow2, size: 1G}\n", QB_M_SAME_FILE, 5, 10,
     NULL},
};

static void every_mistake_is_found_at_its_place(void)
{
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        const struct mistake *m = &mistakes[i];
        int rc = load(m->text);
        const struct qb_diag *d = diags.list.items;
        bool ok =
            rc == -1 && diags.list.n > 0 && d->code == m->code && d->at.line == m->line &&
            d->at.column == m->column && batch.n_jobs == 0 &&
            (m->did_you_mean ? d->did_you_mean && strcmp(d->did_you_mean, m->did_you_mean) == 0
                             : !d->did_you_mean);

        if (!ok) {
            fprintf(stderr, "---- mistake %zu of:\n%s\n", i, m->text);
            qb_diags_render(&diags, stderr);
        }
        CU_ASSERT_TRUE(ok);
    }
}

static void one_mistake_is_told_once(void)
{
    static const enum qb_mistake several[] = {QB_M_UTF8, QB_M_MISSING_KEY, QB_M_NO_MATCH};

    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        bool may_be_more = false;

        for (size_t k = 0; k < sizeof(several) / sizeof(several[0]); k++)
            may_be_more |= mistakes[i].code == several[k];
        load(mistakes[i].text);
        if (!may_be_more && qb_diags_count(&diags) != 1)
            qb_diags_render(&diags, stderr);
        CU_ASSERT_TRUE(may_be_more || qb_diags_count(&diags) == 1);
    }
}

static void all_mistakes_are_told_in_the_order_of_the_text(void)
{
    CU_ASSERT_EQUAL(load("images:\n"
                         "- {path: none*, siez: 1G}\n"
                         "- {path: vm/a.qcow2, compat: v4}\n"
                         "- {path: vm/a.qcow2}\n"
                         "version: 3\n"
                         "policy: {on_error: go}\n"),
                    -1);
    CU_ASSERT_EQUAL(qb_diags_count(&diags), 7);
    for (size_t i = 1; i < diags.list.n; i++)
        CU_ASSERT_TRUE(diags.list.items[i - 1].at.line <= diags.list.items[i].at.line);
}

static void what_cannot_be_read_is_one_mistake(void)
{
    forget();
    CU_ASSERT_EQUAL(qb_manifest_load(in_folder("none.yaml"), NULL, &batch, &diags), -1);
    CU_ASSERT_EQUAL(diags.list.items[0].code, QB_M_FILE);
    CU_ASSERT_EQUAL(diags.list.items[0].at.line, 0);
    forget();
    CU_ASSERT_EQUAL(qb_manifest_load(folder, NULL, &batch, &diags), -1);
    CU_ASSERT_EQUAL(diags.list.items[0].code, QB_M_FILE);
}

static void a_folder_that_cannot_be_read_is_a_mistake(void)
{
    if (geteuid() == 0)
        return; /* root may read everything */
    make_folder("closed");
    chmod(in_folder("closed"), 0);
    CU_ASSERT_EQUAL(load(HEAD "- {path: 'closed/*', size: 1G}\n"), -1);
    CU_ASSERT_EQUAL(diags.list.items[0].code, QB_M_FOLDER);
    chmod(in_folder("closed"), 0700);
}

static void too_much_of_anything_is_refused(void)
{
    size_t len = 0;
    char *text = malloc(400000);

    len += (size_t)sprintf(text, "version: 1\n");
    for (int i = 0; i < 200; i++)
        len += (size_t)sprintf(text + len, "k%d: 1\n", i);
    CU_ASSERT_EQUAL(load(text), -1);
    CU_ASSERT_EQUAL(diags.list.items[0].code, QB_M_TOO_BIG);
    CU_ASSERT_EQUAL(diags.list.items[0].at.line, QB_YAML_MAX_KEYS + 1);
    len = (size_t)sprintf(text, "version: 1\nimages:\n");
    for (int i = 0; i < 3000; i++)
        len += (size_t)sprintf(text + len, "- {path: p%d, x: 1}\n", i);
    CU_ASSERT_EQUAL(load(text), -1);
    CU_ASSERT_EQUAL(qb_diags_count(&diags), 3000);
    CU_ASSERT_TRUE(diags.list.n < 3000);
    len = (size_t)sprintf(text, "version: 1\nimages: [{size: 1G, path: ");
    for (int i = 0; i < 70; i++)
        len += (size_t)sprintf(text + len, "a/");
    sprintf(text + len, "'*'}]\n");
    CU_ASSERT_EQUAL(load(text), -1);
    free(text);
}

/* ---- rendering ------------------------------------------------------------------------------- */

static void renders(const char *manifest, const char *expected)
{
    char *text, *found;

    load(manifest);
    text = rendered();
    found = strstr(text, expected);
    if (!found)
        fprintf(stderr, "---- rendered:\n%s---- lacks:\n%s\n", text, expected);
    CU_ASSERT_PTR_NOT_NULL(found);
    free(text);
}

static void the_caret_stands_under_the_place(void)
{
    renders(HEAD ONE "  lazy_refcount: on\n",
            "m.yaml:4:3: error: unknown key \"lazy_refcount\"; did you mean \"lazy_refcounts\"?\n"
            "      lazy_refcount: on\n"
            "      ^~~~~~~~~~~~~\n");
    renders("version: 1\nimages: [{path: vm/a.qcow2,\tsize: x}]\n",
            "    images: [{path: vm/a.qcow2,\tsize: x}]\n"
            "                               \t      ^\n");
    renders("{\xe6\x97\xa5\xe6\x9c\xac: 1}\r\n", "    {\xe6\x97\xa5\xe6\x9c\xac: 1}\n"
                                                 "     ^~~~\n");
}

static void a_long_line_is_shown_around_the_place(void)
{
    char text[1000];

    memset(text, 'x', sizeof(text));
    memcpy(text, "version: 1 #", 12);
    memcpy(text + 300, "\x01", 1);
    text[900] = '\0';
    load(text);
    for (char *out = rendered(); out; out = NULL) {
        CU_ASSERT_PTR_NOT_NULL(strstr(out, "    ...xxx"));
        CU_ASSERT_PTR_NOT_NULL(strstr(out, "x?x"));
        CU_ASSERT_TRUE(strlen(out) < 600);
        free(out);
    }
}

static void nothing_in_a_manifest_reaches_the_terminal_raw(void)
{
    char *text;

    load("version: 1\n\"\\e[31m\": 1\nname: a\x1b]0;x\x07\xc2\x9b\xff\n");
    text = rendered();
    CU_ASSERT_PTR_NULL(strchr(text, 0x1b));
    CU_ASSERT_PTR_NULL(strchr(text, 0x07));
    CU_ASSERT_PTR_NULL(strstr(text, "\xc2\x9b"));
    free(text);
    load("version: 1\n\"\\e[31m\": 1\n");
    text = rendered();
    CU_ASSERT_PTR_NULL(strchr(text, 0x1b));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\\x1b[31m"));
    free(text);
}

/* ---- the pages ------------------------------------------------------------------------------- */

/* The pages' examples name files that are not there; nothing else may be wrong with them. */
static void every_example_of_the_manual_page_is_right(void)
{
    char *man = source_text("batch/man/qbatch-manifest.5.in"), *at;
    size_t n = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(man);
    for (at = strstr(man, ".Sh EXAMPLES"); at && (at = strstr(at, "\nversion: 1\n")); n++) {
        char *end = strstr(at, "\n.Ed");
        bool right = true;

        load_bytes(at + 1, (size_t)(end - at));
        for (size_t i = 0; i < diags.list.n; i++)
            right &= diags.list.items[i].code == QB_M_NO_MATCH;
        if (!right)
            qb_diags_render(&diags, stderr);
        CU_ASSERT_TRUE(right);
        at = end;
    }
    CU_ASSERT_TRUE(n >= 10);
    free(man);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_manifest_without_settings_has_the_defaults),
        UNIT(settings_reach_the_run_and_every_request),
        UNIT(an_images_own_key_wins_over_defaults),
        UNIT(folders_to_scan_are_kept_with_the_manifests_folder),
        UNIT(a_backing_file_is_kept_as_written_and_none_removes_it),
        UNIT(a_byte_order_mark_and_crlf_change_nothing),
        UNIT(a_plain_path_is_taken_even_when_it_is_missing),
        UNIT(a_pattern_finds_files_in_order_and_nothing_hidden),
        UNIT(two_stars_cross_folders_but_no_links),
        UNIT(a_backslash_takes_a_wildcard_as_it_is),
        UNIT(the_manifests_folder_is_no_pattern),
        UNIT(exclude_leaves_out_files_and_folders),
        UNIT(patterns_match_paths_as_wholes),
        UNIT(a_file_reached_twice_is_named_with_both_places),
        UNIT(every_mistake_is_found_at_its_place),
        UNIT(one_mistake_is_told_once),
        UNIT(all_mistakes_are_told_in_the_order_of_the_text),
        UNIT(what_cannot_be_read_is_one_mistake),
        UNIT(a_folder_that_cannot_be_read_is_a_mistake),
        UNIT(too_much_of_anything_is_refused),
        UNIT(the_caret_stands_under_the_place),
        UNIT(a_long_line_is_shown_around_the_place),
        UNIT(nothing_in_a_manifest_reaches_the_terminal_raw),
        UNIT(every_example_of_the_manual_page_is_right),
    };
    int rc;

    strcpy(folder, "/tmp/qb-manifest-XXXXXX");
    if (!mkdtemp(folder))
        return 2;
    make_fleet();
    rc = unit_main("manifest", tests, UNIT_COUNT(tests));
    forget();
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}
