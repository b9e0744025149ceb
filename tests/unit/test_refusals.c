/* Every refusal that an amend can give: an image, what is wrong with it, a request, and the code
 * and the sentence that come of it.  A refused image is byte for byte what it was, and was not
 * written at all.  The last test holds the table against errors.def. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "amends.h"
#include "poke.h"
#include "scratch.h"

#define KIB 1024u

/* ---- the table ------------------------------------------------------------------------------- */

/* What is wrong with the world instead of with bytes: a poke with one of these as its place. */
enum {
    BLOCK_DEVICE = N_PLACES, /* the image is one */
    FAILS,                   /* every request while planning, with the errno `value` */
    STOPPED,                 /* by qb_io_set_stop */
};

struct refusal {
    const char *name;
    struct image_shape shape;
    const char *script;
    struct poke pokes[4];
    struct qb_request rq;
    enum qb_code code;
    const char *text;
};

#define V3(bits, ...)                                                                              \
    {                                                                                              \
        .version = 3, .cluster_bits = bits, .refcount_order = 4, .size = 64 * KIB, __VA_ARGS__     \
    }
#define V2(bits, ...)                                                                              \
    {                                                                                              \
        .version = 2, .cluster_bits = bits, .refcount_order = 4, .size = 64 * KIB, __VA_ARGS__     \
    }
#define WIDTH(order, ...)                                                                          \
    {                                                                                              \
        .version = 3, .cluster_bits = 9, .refcount_order = order, .size = 64 * KIB, __VA_ARGS__    \
    }
#define POKE(...)                                                                                  \
    {                                                                                              \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define NONE                                                                                       \
    {                                                                                              \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define SET(key, ...)                                                                              \
    {                                                                                              \
        .struct_size = sizeof(struct qb_request), .set = QB_KEY_##key, __VA_ARGS__                 \
    }
#define DOWN(...) SET(COMPAT, .compat = 2, __VA_ARGS__)
#define UP        SET(COMPAT, .compat = 3)
#define SIZE(...) SET(SIZE, __VA_ARGS__)
#define LAZY      SET(LAZY_REFCOUNTS, .lazy_refcounts = true)

/* Bits of the header of version 3. */
#define INCOMPATIBLE(bits) IN_HEADER, 72, 8, bits
#define AUTOCLEAR(bits)    IN_HEADER, 88, 8, bits
#define EXTERNAL_DATA      INCOMPATIBLE(4)
#define RAW_DATA                                                                                   \
    {                                                                                              \
        {INCOMPATIBLE(4)},                                                                         \
        {                                                                                          \
            AUTOCLEAR(2)                                                                           \
        }                                                                                          \
    }
#define ZSTD                                                                                       \
    {                                                                                              \
        {INCOMPATIBLE(8)},                                                                         \
        {                                                                                          \
            IN_HEADER, 104, 1, 1                                                                   \
        }                                                                                          \
    }

static char name_of_1024[1025], format_of_64[65];
static bool seen[QB_E_COUNT];

static const struct refusal refusals[] = {
#include "refusals.def"
};

/* ---- trying a row ---------------------------------------------------------------------------- */

static struct image_bytes image_of(const struct refusal *r)
{
    struct image_shape shape = r->shape;
    struct image_bytes image;

    shape.backing_file = amends_name(shape.backing_file);
    image = image_make(&shape, r->script);
    for (size_t i = 0; i < UNIT_COUNT(r->pokes) && r->pokes[i].len; i++)
        if (r->pokes[i].in < N_PLACES)
            poke_image(image.bytes, &r->pokes[i]);
    return image;
}

/* The value of a thing of the world; 0 where the row has none. */
static uint64_t world_of(const struct refusal *r, unsigned what)
{
    for (size_t i = 0; i < UNIT_COUNT(r->pokes); i++)
        if (r->pokes[i].len && r->pokes[i].in == what)
            return r->pokes[i].value;
    return 0;
}

static struct qb_amend *open_image(struct qb_io *io, struct qb_mem_log *log, bool block_device)
{
    struct qb_amend *a = qb_amend_new("/nowhere/image.qcow2");
    struct qb_file file;

    if (!a || qb_mem_reopen(log, 0, &file) < 0)
        abort();
    file.is_block_device = block_device;
    qb_amend_open(a, io, (struct qb_claim){.writable = true}, &file);
    return a;
}

/* The row's sentence, with the path that "@other" and the like stand for. */
static const char *sentence(const char *text, char *out, size_t room)
{
    const char *at = strchr(text, '@');
    int name = at ? (int)strcspn(at, " :") : 0;
    char sign[16];

    if (!at)
        return text;
    snprintf(sign, sizeof(sign), "%.*s", name, at);
    snprintf(out, room, "%.*s%s%s", (int)(at - text), text, amends_name(sign), at + name);
    return out;
}

/* Whether it failed in this way, which is noted. */
static bool failed_with(const struct qb_result *result, const char *name, enum qb_code code,
                        const char *text)
{
    char room[500];

    text = sentence(text, room, sizeof(room));
    seen[code] = true;
    if (result->status == QB_STATUS_FAILED && result->err.code == code &&
        strcmp(result->err.text, text) == 0)
        return true;
    fprintf(stderr, "\n%s: %s: %s\n    expected %s: %s\n", name, qb_code_name(result->err.code),
            result->err.text, qb_code_name(code), text);
    return false;
}

/* Whether the request was refused as the row says. */
static bool refused(const struct refusal *r, struct qb_amend *a, struct qb_io *io,
                    struct qb_mem_log *log)
{
    int rc = qb_amend_result(a)->status == QB_STATUS_FAILED ? -1 : 0;

    if (world_of(r, FAILS))
        qb_mem_fail(log, 0, (int)world_of(r, FAILS), true);
    if (world_of(r, STOPPED))
        qb_io_set_stop(io, stop_always, NULL);
    if (rc == 0)
        rc = qb_amend_plan(a, io, &r->rq);
    return rc == -1 && failed_with(qb_amend_result(a), r->name, r->code, r->text);
}

static void try_row(const struct refusal *r)
{
    struct image_bytes image = image_of(r);
    struct qb_mem_log *log = run_machine(&image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = open_image(io, log, world_of(r, BLOCK_DEVICE));
    const struct qb_mem_event *events;
    const unsigned char *now;
    uint64_t size;

    CU_ASSERT_TRUE(refused(r, a, io, log));
    qb_amend_close(a);
    now = qb_mem_content(log, 0, &size);
    CU_ASSERT_EQUAL(qb_mem_events(log, &events), 0);
    CU_ASSERT(size == image.size && memcmp(now, image.bytes, size) == 0);
    qb_io_close(io);
    qb_mem_log_free(log);
    image_bytes_free(&image);
}

static void every_row_is_refused_as_it_says(void)
{
    memset(name_of_1024, 'n', sizeof(name_of_1024) - 1);
    memset(format_of_64, 'f', sizeof(format_of_64) - 1);
    for (size_t i = 0; i < UNIT_COUNT(refusals); i++)
        try_row(&refusals[i]);
}

/* ---- refusals that take a real file ---------------------------------------------------------- */

static const struct image_shape plain = V3(9);

/* Whether the library's call refuses the file in this way. */
static bool refuses(const char *path, const struct qb_request *rq, enum qb_code code,
                    const char *text)
{
    const struct qb_options options = {.struct_size = sizeof(options), .io = QB_IO_POSIX};
    const struct qb_result *result;
    int rc = qb_amend_image(path, rq, &options, &result);
    bool as_it_says = failed_with(result, path, code, text);

    qb_result_free(result);
    return rc == -1 && as_it_says;
}

static void try_file(const char *path, const struct qb_request *rq, enum qb_code code,
                     const char *text)
{
    CU_ASSERT_TRUE(refuses(path, rq, code, text));
}

static const char *image_file(const char *name, struct image_bytes *image)
{
    *image = image_make(&plain, "d9z9");
    return make_file(name, image->bytes, image->size);
}

static void expect_untouched(const char *path, struct image_bytes *image)
{
    uint8_t *now = malloc(image->size + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    CU_ASSERT_EQUAL(read(fd, now, image->size + 1), (ssize_t)image->size);
    CU_ASSERT_EQUAL(memcmp(now, image->bytes, image->size), 0);
    close(fd);
    free(now);
    image_bytes_free(image);
}

static void what_is_not_there_or_not_a_file_is_refused(void)
{
    const struct qb_request up = UP;

    CU_ASSERT_EQUAL(symlink("loop", in_folder("loop")), 0);
    try_file(in_folder("absent"), &up, QB_E_NOT_FOUND,
             "cannot open the file: No such file or directory");
    try_file(scratch_folder(), &up, QB_E_NOT_QCOW2, "is a directory");
    try_file(in_folder("loop"), &up, QB_E_NOT_FOUND,
             "cannot open the file: Too many levels of symbolic links");
}

static void an_image_in_use_is_refused(void)
{
    const struct qb_request down = DOWN();
    struct image_bytes image;
    const char *path = image_file("used", &image);
    struct qb_file user = open_or_die(path, false);

    CU_ASSERT_EQUAL(qb_file_lock(&user, false, NULL), 0);
    try_file(path, &down, QB_E_LOCKED,
             "image is locked: another process does not share \"write\" (is a virtual machine or "
             "another tool using it?)");
    qb_file_close(&user);
    expect_untouched(path, &image);
}

static void an_image_is_not_its_own_backing_file(void)
{
    struct image_bytes image;
    const char *path = image_file("self.qcow2", &image);
    const struct qb_request rq = SET(BACKING_FILE, .backing_file = "self.qcow2");

    try_file(path, &rq, QB_E_BACKING_LOOP, "the backing file self.qcow2 is the image itself");
    expect_untouched(path, &image);
}

/* In a child, since it holds for the process. */
static int without_permission(const char *path)
{
    const struct qb_request down = DOWN();

    if (chmod(path, 0444) < 0)
        return 2;
    if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
        return 2;
    return refuses(path, &down, QB_E_PERMISSION,
                   "cannot open the file for writing: Permission denied")
               ? 0
               : 1;
}

static int with_short_files(const char *path)
{
    struct rlimit limit = {7168, 7168};
    const struct qb_request down = DOWN();

    setrlimit(RLIMIT_FSIZE, &limit);
    return refuses(path, &down, QB_E_NO_SPACE,
                   "the amended file would have 9 KiB, and RLIMIT_FSIZE allows 7 KiB: "
                   "File too large")
               ? 0
               : 1;
}

static int without_descriptors(const char *path)
{
    struct rlimit limit = {3, 3};
    const struct qb_request down = DOWN();

    setrlimit(RLIMIT_NOFILE, &limit);
    return refuses(path, &down, QB_E_LIMIT, "cannot open the file: Too many open files") ? 0 : 1;
}

static void what_the_process_may_not_do_is_refused(void)
{
    int (*const tries[])(const char *) = {without_permission, with_short_files,
                                          without_descriptors};

    CU_ASSERT_EQUAL(chmod(scratch_folder(), 0755), 0);
    for (size_t i = 0; i < UNIT_COUNT(tries); i++) {
        struct image_bytes image;
        const char *path = image_file("mine", &image);
        int status = -1;
        pid_t pid;

        pid = fork();
        if (pid == 0)
            _exit(tries[i](path));
        CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
        CU_ASSERT_EQUAL(status, 0);
        expect_untouched(path, &image);
        unlink(path);
    }
    seen[QB_E_PERMISSION] = seen[QB_E_LIMIT] = true;
}

/* In a mount namespace of its own; 77 where nothing may be mounted. */
static int on_a_full_disk(const char *folder)
{
    const struct qb_request down = DOWN();
    struct image_bytes image = image_make(&plain, "d9z9");
    char path[200], filler[4096] = "x";
    int fd;

    if (unshare(CLONE_NEWNS) < 0 || mount("", "/", "", MS_REC | MS_PRIVATE, "") < 0 ||
        mount("qbatch-test", folder, "tmpfs", 0, "size=64k") < 0)
        return 77;
    snprintf(path, sizeof(path), "%s/image", folder);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (write(fd, image.bytes, image.size) != (ssize_t)image.size)
        return 2;
    close(fd);
    snprintf(path, sizeof(path), "%s/filler", folder);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    while (write(fd, filler, sizeof(filler)) == sizeof(filler))
        ;
    snprintf(path, sizeof(path), "%s/image", folder);
    return refuses(path, &down, QB_E_NO_SPACE,
                   "the file system has 0 B free, and the amend needs 6.01 KiB")
               ? 0
               : 1;
}

static void a_full_disk_is_known_before_the_first_write(void)
{
    int status = -1;
    pid_t pid;

    CU_ASSERT_EQUAL(mkdir(in_folder("full"), 0700), 0);
    pid = fork();
    if (pid == 0)
        _exit(on_a_full_disk(in_folder("full")));
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        printf("skipped: a full disk: nothing may be mounted here\n");
    else
        CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

/* ---- what happens between plan and flip ------------------------------------------------------ */

enum meddling { WRITES_HEADER, CHANGES_LENGTH, TAKES_PLACE };

static void meddle(const char *path, enum meddling how)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (how == WRITES_HEADER)
        CU_ASSERT_EQUAL(pwrite(fd, "\1", 1, 511), 1);
    if (how == CHANGES_LENGTH)
        CU_ASSERT_EQUAL(ftruncate(fd, 1 << 20), 0);
    if (how == TAKES_PLACE)
        CU_ASSERT_EQUAL(rename(make_file("other", "x", 1), path), 0);
    close(fd);
}

static void an_image_that_changed_since_it_was_read_is_left_alone(void)
{
    static const char *const texts[] = {"something else wrote the image's header",
                                        "something else changed the image's length",
                                        "another file took the image's place"};
    const struct qb_request rq = LAZY;

    for (int how = WRITES_HEADER; how <= TAKES_PLACE; how++) {
        struct image_bytes image;
        const char *path = image_file("changing", &image);
        struct qb_io *io = open_kind(QB_IO_POSIX);
        struct qb_amend *a = qb_amend_new(path);
        uint8_t lazy = 0xff;

        CU_ASSERT_EQUAL(qb_amend_open(a, io, (struct qb_claim){.writable = true}, NULL), 0);
        CU_ASSERT_EQUAL(qb_amend_plan(a, io, &rq), 0);
        meddle(path, how);
        CU_ASSERT_EQUAL(qb_amend_flip(a, io), -1);
        CU_ASSERT_TRUE(failed_with(qb_amend_result(a), path, QB_E_CHANGED, texts[how]));
        CU_ASSERT_EQUAL(pread(qb_amend_file(a)->fd, &lazy, 1, 87), 1);
        CU_ASSERT_EQUAL(lazy, 0);
        qb_amend_close(a);
        qb_io_close(io);
        image_bytes_free(&image);
        unlink(path);
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Whether the code is none with which qb_amend_* refuses an image; else the table lacks it. */
static bool is_no_refusal(enum qb_code code)
{
    switch (code) {
    case QB_E_NONE:
    case QB_E_DURABILITY: /* these three come after the first write */
    case QB_E_VERIFY:
    case QB_E_INTERNAL:
    case QB_E_TIMEOUT: /* these four are the batch's */
    case QB_E_WHEN:
    case QB_E_EXPECTATION:
    case QB_E_UNDONE:
    case QB_E_BY_HAND:
    case QB_E_CRASHED:       /* it takes a process that dies: system.crash */
    case QB_E_STALE:         /* it takes a saved plan: system.plan */
    case QB_E_OUTSIDE_ROOTS: /* it takes roots: unit.named, system.roots */
    case QB_E_OVER_BUDGET:   /* it takes a budget: unit.budget, system.budgets */
    case QB_E_NO_LOCKS:      /* it takes a file system without locks: unit.mounts, system.in_use */
        return true;
    default:
        return false;
    }
}

static void every_code_of_errors_def_was_tried_or_is_no_refusal(void)
{
    for (int code = 0; code < QB_E_COUNT; code++) {
        if (!seen[code] && !is_no_refusal(code))
            fprintf(stderr, "\nno image is refused with %s\n", qb_code_name(code));
        CU_ASSERT_TRUE(seen[code] || is_no_refusal(code));
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(every_row_is_refused_as_it_says),
        UNIT(what_is_not_there_or_not_a_file_is_refused),
        UNIT(an_image_in_use_is_refused),
        UNIT(an_image_is_not_its_own_backing_file),
        UNIT(what_the_process_may_not_do_is_refused),
        UNIT(a_full_disk_is_known_before_the_first_write),
        UNIT(an_image_that_changed_since_it_was_read_is_left_alone),
        UNIT(every_code_of_errors_def_was_tried_or_is_no_refusal),
    };
    int rc;

    amends_begin();
    rc = scratch_main("refusals", tests, UNIT_COUNT(tests));
    amends_end();
    return rc;
}
