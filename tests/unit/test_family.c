/* The backing graph: what depends on what, what is wrong with it, and which images must not become
 * smaller because of it.  On small real files. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backing/findings.h"
#include "backing/shrink_guard.h"
#include "run/run.h"
#include "backing/scan.h"
#include "host/topo.h"
#include "images.h"
#include "scratch.h"

#define SIZE (UINT64_C(1) << 20)

static struct qb_batch batch;
static struct qb_sched *sched;
static struct qb_family family;
static struct qb_findings findings;

/* ---- fleets ---------------------------------------------------------------------------------- */

static void write_file(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(in_folder(name), "wb");

    CU_ASSERT_FATAL(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
}

static void make(const char *name, uint64_t size, const char *backing, const char *fmt)
{
    struct image_shape shape = {.version = 3,
                                .cluster_bits = 12,
                                .refcount_order = 4,
                                .size = size,
                                .backing_file = backing,
                                .backing_fmt = fmt};
    struct image_bytes image = image_make(&shape, ".");

    write_file(name, image.bytes, image.size);
    image_bytes_free(&image);
}

static void spoil(const char *name, long at, const void *bytes, size_t n)
{
    FILE *f = fopen(in_folder(name), "r+b");

    CU_ASSERT_FATAL(f && fseek(f, at, SEEK_SET) == 0 && fwrite(bytes, 1, n, f) == n &&
                    fclose(f) == 0);
}

static struct qb_request *add(const char *name)
{
    struct qb_request rq;

    qb_request_init(&rq);
    rq.set = QB_KEY_LAZY_REFCOUNTS;
    CU_ASSERT_FATAL(qb_batch_add(&batch, in_folder(name), 0, &rq));
    return &batch.jobs[batch.n_jobs - 1].request;
}

static void add_shrink(const char *name, uint64_t size)
{
    struct qb_request *rq = add(name);

    rq->set = QB_KEY_SIZE;
    rq->size = size;
    rq->allow_shrink = true;
}

static void scan(const char *text)
{
    struct qb_scan_root root = {qb_batch_keep(&batch, scratch_folder(), strlen(scratch_folder())),
                                text};

    CU_ASSERT_FATAL(qb_vec_push(&batch.scan, root));
}

static void begin(void)
{
    char command[PATH_MAX + 16];

    snprintf(command, sizeof(command), "rm -rf %s/*", scratch_folder());
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
    qb_batch_init(&batch);
    if (!sched) {
        const char *fell_back;
        struct qb_err err;

        CU_ASSERT_EQUAL_FATAL(
            qb_sched_open(qb_topo_open(2, &batch), QB_IO_POSIX, false, &sched, &fell_back, &err),
            0);
    }
}

static void end(void)
{
    qb_findings_free(&findings);
    qb_family_free(&family);
    qb_batch_free(&batch);
}

static void judge(void)
{
    struct qb_err err;

    CU_ASSERT_EQUAL_FATAL(qb_family_read(&batch, sched, NULL, &family, &err), 0);
    CU_ASSERT_EQUAL_FATAL(qb_family_order(&family, &batch, sched, &err), 0);
    CU_ASSERT_EQUAL_FATAL(qb_findings_make(&family, &batch, &findings, &err), 0);
}

static const struct qb_member *member(const char *name)
{
    for (size_t i = 0; i < family.members.n; i++)
        if (strcmp(family.members.items[i].path, in_folder(name)) == 0)
            return &family.members.items[i];
    return NULL;
}

static const struct qb_member *base_of(const struct qb_member *m)
{
    return m->base == QB_NO_MEMBER ? NULL : &family.members.items[m->base];
}

static size_t count(enum qb_finding_id id, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < findings.list.n; i++)
        n += findings.list.items[i].id == id &&
             (!name || &family.members.items[findings.list.items[i].member] == member(name));
    return n;
}

/* ---- which depends on which -------------------------------------------------------------------
 */

static void every_file_is_a_member_once_with_what_stands_on_it(void)
{
    begin();
    mkdir(in_folder("sub"), 0700);
    make("base", SIZE, NULL, NULL);
    make("mid", SIZE, "base", "qcow2");
    make("a", SIZE, "mid", "qcow2");
    make("b", SIZE, "./mid", "qcow2");
    make("sub/c", SIZE, "../base", "qcow2");
    add("a");
    add("b");
    add("sub/c");
    judge();
    CU_ASSERT_EQUAL(family.members.n, 5);
    CU_ASSERT_EQUAL(findings.list.n, 0);
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(family.members.items[i].job, i);
    CU_ASSERT_PTR_EQUAL(base_of(member("a")), base_of(member("b")));
    CU_ASSERT_PTR_EQUAL(base_of(base_of(member("a"))), base_of(member("sub/c")));
    CU_ASSERT_EQUAL(base_of(member("a"))->n_overlays, 2);
    CU_ASSERT_EQUAL(base_of(member("sub/c"))->n_overlays, 2);
    CU_ASSERT_EQUAL(base_of(member("sub/c"))->job, QB_NO_JOB);
    CU_ASSERT_EQUAL(member("a")->depth, 2);
    CU_ASSERT_EQUAL(member("sub/c")->depth, 1);
    end();
}

static void a_link_is_one_more_name_for_the_same_file(void)
{
    begin();
    mkdir(in_folder("sub"), 0700);
    make("base", SIZE, NULL, NULL);
    CU_ASSERT_EQUAL(symlink("base", in_folder("alias")), 0);
    make("a", SIZE, "base", "qcow2");
    make("b", SIZE, "alias", "qcow2");
    make("sub/c", SIZE, "../base", "qcow2");
    add("a");
    add("sub/c");
    judge();
    CU_ASSERT_EQUAL(findings.list.n, 0); /* the way there is no name */
    qb_findings_free(&findings);
    qb_family_free(&family);
    add("b");
    judge();
    CU_ASSERT_EQUAL(family.members.n, 4);
    CU_ASSERT_EQUAL(base_of(member("a"))->n_overlays, 3);
    CU_ASSERT_EQUAL(count(QB_FINDING_NAMES, NULL), 1);
    end();
}

/* A raw disk on which a guest wrote a header that leads back to an overlay of the disk. */
static void what_is_declared_raw_is_read_only_for_those_who_say_otherwise(void)
{
    begin();
    make("disk", SIZE, "a", "qcow2");
    make("a", SIZE, "disk", "raw");
    make("b", SIZE, "./disk", "raw");
    add("a");
    add("b");
    judge();
    CU_ASSERT_EQUAL(count(QB_FINDING_LOOP, NULL), 0);
    CU_ASSERT_EQUAL(base_of(member("a"))->kind, QB_MEMBER_OTHER);
    CU_ASSERT_EQUAL(base_of(member("b"))->n_overlays, 2);
    CU_ASSERT_EQUAL(member("a")->after, QB_NO_MEMBER);
    CU_ASSERT_EQUAL(member("b")->after, QB_NO_MEMBER);
    qb_findings_free(&findings);
    qb_family_free(&family);
    make("mid", SIZE, "disk", "qcow2"); /* met a round later */
    make("c", SIZE, "mid", "qcow2");
    add("c");
    judge();
    CU_ASSERT_EQUAL(base_of(base_of(member("c")))->kind, QB_MEMBER_QCOW2);
    CU_ASSERT_EQUAL(base_of(base_of(member("c")))->n_overlays, 3);
    CU_ASSERT_EQUAL(count(QB_FINDING_READ_RAW, NULL), 2);
    end();
}

static void an_image_waits_for_the_nearest_job_below_it(void)
{
    begin();
    make("base", SIZE, NULL, NULL);
    make("mid", SIZE, "base", "qcow2");
    make("top", SIZE, "mid", "qcow2");
    make("moves", SIZE, "base", "qcow2");
    add("top");
    add("base");
    add("moves")->set |= QB_KEY_BACKING_FILE; /* to none */
    judge();
    CU_ASSERT_EQUAL(member("top")->after, 1);
    CU_ASSERT_TRUE(member("top")->after_must);
    CU_ASSERT_EQUAL(member("base")->after, QB_NO_MEMBER);
    CU_ASSERT_EQUAL(member("moves")->after, 1);
    CU_ASSERT_FALSE(member("moves")->after_must);
    end();
}

static void a_loop_is_told_apart_from_what_stands_on_it(void)
{
    begin();
    make("x", SIZE, "y", "qcow2");
    make("y", SIZE, "z", "qcow2");
    make("z", SIZE, "x", "qcow2");
    make("on", SIZE, "y", "qcow2");
    make("on-on", SIZE, "on", "qcow2");
    make("self", SIZE, "self", "qcow2");
    make("good", SIZE, NULL, NULL);
    add("on-on");
    add("self");
    add("good");
    judge();
    CU_ASSERT_EQUAL(count(QB_FINDING_LOOP, NULL), 4);
    CU_ASSERT_EQUAL(count(QB_FINDING_LOOP, "self"), 1);
    CU_ASSERT_TRUE(member("on-on")->above_loop && member("on")->above_loop);
    CU_ASSERT_FALSE(member("on")->in_loop || member("good")->above_loop);
    CU_ASSERT_TRUE(member("y")->in_loop && !member("y")->above_loop);
    end();
}

static void a_chain_of_200_files_is_fine_and_one_more_is_too_deep(void)
{
    enum { DEEP = 203 };
    char name[16], below[16] = "";

    begin();
    for (int i = 0; i < DEEP; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        make(name, SIZE, i ? below : NULL, i ? "qcow2" : NULL);
        strcpy(below, name);
    }
    add("c200");
    judge();
    CU_ASSERT_EQUAL(member("c200")->depth, 200);
    CU_ASSERT_EQUAL(findings.list.n, 0);
    qb_findings_free(&findings);
    qb_family_free(&family);
    add("c202");
    judge();
    CU_ASSERT_EQUAL(member("c202")->depth, 202);
    CU_ASSERT_EQUAL(count(QB_FINDING_TOO_DEEP, NULL), 1);
    end();
}

/* ---- findings -------------------------------------------------------------------------------- */

static void make_every_trouble(void)
{
    static const char unknown_feature = 0x40;
    struct qb_request *rq;
    FILE *f;

    make("base", SIZE, "below", "qcow2");
    make("below", SIZE, NULL, NULL);
    make("plain", SIZE, "base", NULL);           /* NO_FORMAT */
    make("small", SIZE / 2, "base", "qcow2");    /* SMALLER */
    make("as-raw", SIZE, "base", "raw");         /* READ_RAW */
    make("lost", SIZE, "gone", "qcow2");         /* MISSING */
    make("remote", SIZE, "nbd://host/e", "raw"); /* NOT_LOCAL */
    make("self", SIZE, "self", "qcow2");         /* LOOP */
    write_file("file.raw", "rawrawra", 8);
    make("on-raw", SIZE, "file.raw", "qcow2"); /* WRONG_FORMAT */
    make("future", SIZE, NULL, NULL);          /* UNREADABLE */
    f = fopen(in_folder("future"), "r+b");
    fseek(f, 72, SEEK_SET);
    fwrite(&unknown_feature, 1, 1, f);
    fclose(f);
    CU_ASSERT_EQUAL(link(in_folder("below"), in_folder("below2")), 0); /* NAMES */
    rq = add("base");                                                  /* SHRINK, REBASED */
    rq->set = QB_KEY_SIZE | QB_KEY_BACKING_FILE;
    rq->size = SIZE / 4;
    rq->backing_file = "";
    for (const char *const *name =
             (const char *const[]){"plain", "small", "as-raw", "lost", "remote", "self", "on-raw",
                                   "future", NULL};
         *name; name++)
        add(*name);
}

static void every_finding_is_found_where_it_is(void)
{
    static const char *const where[QB_FINDING_COUNT] = {
        [QB_FINDING_LOOP] = "self",         [QB_FINDING_MISSING] = "gone",
        [QB_FINDING_UNREADABLE] = "future", [QB_FINDING_WRONG_FORMAT] = "on-raw",
        [QB_FINDING_SHRINK] = "base",       [QB_FINDING_NOT_LOCAL] = "remote",
        [QB_FINDING_READ_RAW] = "as-raw",   [QB_FINDING_NAMES] = "below",
        [QB_FINDING_NO_FORMAT] = "plain",   [QB_FINDING_SMALLER] = "small",
        [QB_FINDING_REBASED] = "base",
    };
    size_t errors = 0;

    begin();
    make_every_trouble();
    judge();
    for (int i = 0; i < QB_FINDING_COUNT; i++) {
        if (i == QB_FINDING_TOO_DEEP) /* has a test of its own */
            continue;
        if (!where[i] || count((enum qb_finding_id)i, where[i]) != 1)
            fprintf(stderr, "not found: %s\n", qb_finding_rows[i].name);
        CU_ASSERT_TRUE(where[i] && count((enum qb_finding_id)i, where[i]) == 1);
        CU_ASSERT_EQUAL(count((enum qb_finding_id)i, NULL), 1);
        errors += qb_finding_rows[i].is_error;
    }
    CU_ASSERT_EQUAL(findings.errors, errors);
    end();
}

/* ---- scans ----------------------------------------------------------------------------------- */

static void a_scan_finds_images_by_content_below_folders_and_by_patterns(void)
{
    begin();
    make("base", SIZE, NULL, NULL);
    mkdir(in_folder("d"), 0700);
    mkdir(in_folder("d/.hidden"), 0700);
    mkdir(in_folder("elsewhere"), 0700);
    make("d/one.img", SIZE, "../base", "qcow2");
    make("d/.hidden/two", SIZE, "../../base", "qcow2");
    make("elsewhere/three", SIZE, "../base", "qcow2");
    make("four.q", SIZE, "base", "qcow2");
    write_file("d/note.qcow2", "no image", 8);
    CU_ASSERT_EQUAL(symlink("../elsewhere", in_folder("d/link")), 0);
    CU_ASSERT_EQUAL(symlink("nowhere", in_folder("d/dangling")), 0);
    add("base");
    scan("d");
    scan("*.q");
    judge();
    CU_ASSERT_EQUAL(family.members.n, 4);
    CU_ASSERT_EQUAL(family.unknown.n, 0);
    CU_ASSERT_EQUAL(member("base")->n_overlays, 3);
    CU_ASSERT_TRUE(member("d/one.img")->scanned && member("d/.hidden/two")->scanned);
    CU_ASSERT_TRUE(member("four.q")->scanned);
    CU_ASSERT_PTR_NULL(member("elsewhere/three"));
    end();
}

static void what_a_scan_cannot_look_at_is_told(void)
{
    begin();
    make("base", SIZE, NULL, NULL);
    add("base");
    scan("gone/*");
    scan("never");
    judge();
    CU_ASSERT_EQUAL(family.members.n, 1);
    CU_ASSERT_EQUAL(family.unknown.n, 0); /* what is not there holds no image */
    qb_findings_free(&findings);
    qb_family_free(&family);
    batch.scan.n = 0;
    write_file("file", "x", 1);
    scan("file/[x]/*");
    CU_ASSERT_EQUAL(symlink("round", in_folder("round")), 0);
    scan("round/x*");
    judge();
    CU_ASSERT_EQUAL(family.unknown.n, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(strstr(family.unknown.items[0], "round"));
    end();
}

/* ---- shrinking ------------------------------------------------------------------------------- */

static struct qb_err told;

static enum qb_code check(size_t job, uint64_t size_now)
{
    const struct qb_info now = {.virtual_size = size_now};
    struct qb_overlays *overlays;

    told = (struct qb_err){0};
    CU_ASSERT_EQUAL_FATAL(qb_overlays_find(&batch, sched, NULL, &overlays, &told), 0);
    qb_overlays_check(overlays, &batch, job, &now, &told);
    qb_overlays_free(overlays);
    return told.code;
}

static void an_image_that_others_stand_on_does_not_shrink(void)
{
    char name[16];

    begin();
    make("base", SIZE, NULL, NULL);
    make("free", SIZE, NULL, NULL);
    add_shrink("base", SIZE / 2);
    add_shrink("free", SIZE / 2);
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_NONE);
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "over%d", i);
        make(name, SIZE, "base", "qcow2");
        add(name);
    }
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(told.text, "over0"));
    CU_ASSERT_PTR_NOT_NULL(strstr(told.text, "over2 and 2 more"));
    CU_ASSERT_PTR_NULL(strstr(told.text, "over3"));
    CU_ASSERT_EQUAL(check(1, SIZE), QB_E_NONE);
    CU_ASSERT_EQUAL(check(0, SIZE / 2), QB_E_NONE); /* it is as small already */
    CU_ASSERT_EQUAL(check(0, SIZE / 4), QB_E_NONE); /* grows */
    end();
}

static void an_overlay_in_a_chain_counts_whoever_named_it(void)
{
    begin();
    make("base", SIZE, NULL, NULL);
    make("mid", SIZE, "base", "qcow2");
    make("top", SIZE, "mid", "qcow2");
    add_shrink("base", SIZE / 2);
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_NONE); /* alone, and nothing is to be looked at */
    add("top");
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(told.text, "mid"));
    spoil("mid", 72, "\x40", 1); /* a feature that nobody knows */
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_REFUSED);
    end();
}

static void a_scanned_overlay_counts(void)
{
    begin();
    mkdir(in_folder("d"), 0700);
    make("base", SIZE, NULL, NULL);
    make("d/over", SIZE, in_folder("base"), "qcow2");
    add_shrink("base", SIZE / 2);
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_NONE);
    scan("d");
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_REFUSED);
    end();
}

static void what_may_stand_on_an_image_counts_too(void)
{
    begin();
    make("base", SIZE, NULL, NULL);
    make("other", SIZE, "json:{\"driver\":\"qcow2\",\"file.filename\":\"elsewhere\"}", "qcow2");
    add_shrink("base", SIZE / 2);
    add("other");
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_NONE);
    make("other", SIZE, "json:{\"driver\":\"qcow2\",\"file.filename\":\"base\"}", "qcow2");
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_REFUSED);
    make("other", SIZE, "json:{\"file.filename\":\"b\\u0061se\"}", "qcow2");
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_REFUSED);
    make("other", SIZE, "json:{\"file.filename\":\"b\\u0062se\"}", "qcow2");
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_NONE);
    CU_ASSERT_EQUAL(mkfifo(in_folder("fifo"), 0600), 0); /* nobody takes that for an image */
    add("fifo");
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_NONE);
    CU_ASSERT_EQUAL(symlink("round", in_folder("round")), 0);
    scan("round/x*");
    CU_ASSERT_EQUAL(check(0, SIZE), QB_E_REFUSED);
    end();
}

/* Bytes that keep the header from being read, and whether any reader finds the name. */
static const struct {
    long at;
    size_t n;
    const char *bytes;
    bool has_name;
} spoilt[] = {
    {72, 1, "\x40", true},               /* a feature that nobody knows */
    {7, 1, "\1", true},                  /* an old version */
    {20, 4, "\0\0\0\77", true},          /* clusters of 2^63 bytes */
    {36, 4, "\377\377\377\377", true},   /* a large L1 table */
    {100, 4, "\377\377\377\377", true},  /* a long header */
    {56, 4, "\0\0\0\0", true},           /* no refcount table */
    {7, 1, "\4", false},                 /* a version that there is not */
    {8, 8, "\177\0\0\0\0\0\0\0", false}, /* a name past the file's end */
    {16, 4, "\0\0\4\0", false},          /* one of 1024 bytes */
};

static void an_image_that_cannot_be_read_holds_back_its_base_alone(void)
{
    for (size_t i = 0; i < UNIT_COUNT(spoilt); i++) {
        begin();
        make("base", SIZE, NULL, NULL);
        make("free", SIZE, NULL, NULL);
        make("over", SIZE, "base", "qcow2");
        spoil("over", spoilt[i].at, spoilt[i].bytes, spoilt[i].n);
        add_shrink("base", SIZE / 2);
        add_shrink("free", SIZE / 2);
        add("over");
        CU_ASSERT_EQUAL(check(0, SIZE), spoilt[i].has_name ? QB_E_REFUSED : QB_E_NONE);
        if (spoilt[i].has_name)
            CU_ASSERT_PTR_NOT_NULL(strstr(told.text, "over"));
        CU_ASSERT_EQUAL(check(1, SIZE), QB_E_NONE);
        judge();
        CU_ASSERT_EQUAL(member("over")->kind, QB_MEMBER_UNREADABLE);
        CU_ASSERT_EQUAL(count(QB_FINDING_UNREADABLE, "over"), 1);
        CU_ASSERT_EQUAL(findings.list.n, spoilt[i].has_name ? 2 : 1); /* and that base shrinks */
        end();
    }
}

static void nothing_is_read_where_no_job_can_shrink(void)
{
    struct qb_overlays *overlays = NULL;
    struct qb_request *rq;
    struct qb_err err;

    begin();
    scan("no-such-folder");
    add("no-such-image");
    rq = add("nor-this");
    rq->set = QB_KEY_SIZE;
    rq->size = 1;
    CU_ASSERT_EQUAL(qb_overlays_find(&batch, sched, NULL, &overlays, &err), 0);
    CU_ASSERT_PTR_NULL(overlays); /* it is not allowed to */
    rq->allow_shrink = true;
    rq->size_is = QB_SIZE_ADDED;
    CU_ASSERT_EQUAL(qb_overlays_find(&batch, sched, NULL, &overlays, &err), 0);
    CU_ASSERT_PTR_NULL(overlays); /* only grows */
    rq->size_is = QB_SIZE_SET;
    CU_ASSERT_EQUAL(qb_overlays_find(&batch, sched, NULL, &overlays, &err), 0);
    CU_ASSERT_PTR_NOT_NULL(overlays);
    qb_overlays_free(overlays);
    end();
}

/* ---- runs ------------------------------------------------------------------------------------ */

static enum qb_status became[4];
static enum qb_code code[4];

static void listen(void *arg, size_t job, const struct qb_outcome *outcome)
{
    (void)arg;
    became[job] = outcome->result.status;
    code[job] = outcome->result.err.code;
}

static void a_run_refuses_the_base_and_amends_the_others(void)
{
    struct qb_run_options options = {.io = QB_IO_POSIX, .jobs = 2, .dry_run = true};
    struct qb_listener listener = {.image = listen};
    struct stat before, after;
    struct qb_err err;

    begin();
    make("base", SIZE, NULL, NULL);
    make("over", SIZE, "base", "qcow2");
    make("free", SIZE, NULL, NULL);
    add("over")->lazy_refcounts = true;
    add_shrink("base", SIZE / 2);
    add_shrink("free", SIZE / 2);
    stat(in_folder("base"), &before);
    for (int round = 0; round < 2; round++, options.dry_run = false) {
        CU_ASSERT_EQUAL_FATAL(qb_run(&batch, &options, &listener, &err), 0);
        CU_ASSERT_EQUAL(became[0], round ? QB_STATUS_CHANGED : QB_STATUS_WOULD_CHANGE);
        CU_ASSERT_EQUAL(became[1], QB_STATUS_FAILED);
        CU_ASSERT_EQUAL(code[1], QB_E_REFUSED);
        CU_ASSERT_EQUAL(became[2], round ? QB_STATUS_CHANGED : QB_STATUS_WOULD_CHANGE);
    }
    stat(in_folder("base"), &after);
    CU_ASSERT_EQUAL(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    CU_ASSERT_EQUAL(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
    end();
}

static void a_run_refuses_what_the_graph_calls_too_deep(void)
{
    struct qb_run_options options = {.io = QB_IO_POSIX, .jobs = 2, .dry_run = true};
    struct qb_listener listener = {.image = listen};
    char name[16], below[16] = "";
    struct qb_err err;

    begin();
    for (int i = 0; i < 202; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        make(name, SIZE, i ? below : NULL, i ? "qcow2" : NULL);
        strcpy(below, name);
    }
    add("c200")->lazy_refcounts = true;
    add("c201")->lazy_refcounts = true;
    CU_ASSERT_EQUAL_FATAL(qb_run(&batch, &options, &listener, &err), 0);
    CU_ASSERT_EQUAL(became[0], QB_STATUS_WOULD_CHANGE);
    CU_ASSERT_EQUAL(became[1], QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(code[1], QB_E_BACKING_LOOP);
    end();
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(every_file_is_a_member_once_with_what_stands_on_it),
        UNIT(a_link_is_one_more_name_for_the_same_file),
        UNIT(what_is_declared_raw_is_read_only_for_those_who_say_otherwise),
        UNIT(an_image_waits_for_the_nearest_job_below_it),
        UNIT(a_loop_is_told_apart_from_what_stands_on_it),
        UNIT(a_chain_of_200_files_is_fine_and_one_more_is_too_deep),
        UNIT(every_finding_is_found_where_it_is),
        UNIT(a_scan_finds_images_by_content_below_folders_and_by_patterns),
        UNIT(what_a_scan_cannot_look_at_is_told),
        UNIT(an_image_that_others_stand_on_does_not_shrink),
        UNIT(an_overlay_in_a_chain_counts_whoever_named_it),
        UNIT(a_scanned_overlay_counts),
        UNIT(what_may_stand_on_an_image_counts_too),
        UNIT(an_image_that_cannot_be_read_holds_back_its_base_alone),
        UNIT(nothing_is_read_where_no_job_can_shrink),
        UNIT(a_run_refuses_the_base_and_amends_the_others),
        UNIT(a_run_refuses_what_the_graph_calls_too_deep),
    };
    int failed = scratch_main("family", tests, UNIT_COUNT(tests));

    qb_sched_close(sched);
    return failed;
}
