/* policy.min_free: who may append, who waits for others, who is refused. */
#include "host/free_space.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "unit.h"

enum { MIB = 1 << 20, PAGE = 4096 };

/* A file of its own on a file system of the test's own, or, where none can be mounted, on one whose
 * free space others move: what is exact to a few megabytes is left out there. */
struct place {
    char dir[40];
    bool mounted;
};

static void open_place(struct place *p)
{
    strcpy(p->dir, "/tmp/qbatch-space-XXXXXX");
    CU_ASSERT_FATAL(mkdtemp(p->dir) != NULL);
    p->mounted = mount("qbatch-test", p->dir, "tmpfs", 0, "size=64m") == 0;
}

static bool is_alone(const struct place *p, const char *test)
{
    if (!p->mounted)
        printf("\nskipped: %s: a file system can only be mounted by root\n", test);
    return p->mounted;
}

static void close_place(struct place *p)
{
    if (p->mounted)
        umount2(p->dir, MNT_DETACH);
    rmdir(p->dir);
}

static struct qb_file new_file(const struct place *p)
{
    struct qb_file file = {.fd = open(p->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
    struct stat st;

    CU_ASSERT_FATAL(file.fd >= 0 && fstat(file.fd, &st) == 0);
    file.dev = st.st_dev;
    return file;
}

static uint64_t free_at(const struct place *p)
{
    struct statvfs fs;

    CU_ASSERT_FATAL(statvfs(p->dir, &fs) == 0);
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* One that books in a thread of its own. */
struct other {
    struct qb_space *space;
    const struct qb_policy *policy;
    const struct qb_file *file;
    uint64_t need;
    struct qb_err err;
    atomic_int result; /* 1: not yet */
    pthread_t thread;
};

static void *book(void *arg)
{
    struct other *o = arg;

    atomic_store(&o->result, qb_space_begin(o->space, o->policy, o->file, o->need, &o->err));
    return NULL;
}

static void start(struct other *o)
{
    atomic_store(&o->result, 1);
    CU_ASSERT_FATAL(pthread_create(&o->thread, NULL, book, o) == 0);
}

/* Until it waits for somebody, or is through. */
static bool waits(struct other *o)
{
    while (atomic_load(&o->result) == 1 && qb_space_waiting(o->space) == 0)
        sched_yield();
    return atomic_load(&o->result) == 1;
}

/* A thread that waits though it should not is let go; one that waits still is ended by the limit.
 */
static int end(struct other *o, const struct qb_file *first)
{
    if (first && qb_space_waiting(o->space))
        qb_space_end(o->space, first);
    while (atomic_load(&o->result) == 1)
        sched_yield();
    pthread_join(o->thread, NULL);
    return atomic_load(&o->result);
}

/* Books where nobody has to be waited for. */
static int begin(struct qb_space *s, const struct qb_policy *policy, const struct qb_file *file,
                 uint64_t need, struct qb_err *err)
{
    struct other o = {.space = s, .policy = policy, .file = file, .need = need};

    start(&o);
    if (waits(&o)) {
        fprintf(stderr, "space: a booking waits though there is nobody to wait for\n");
        exit(1);
    }
    pthread_join(o.thread, NULL);
    *err = o.err;
    return atomic_load(&o.result);
}

static void write_to(const struct qb_file *file, size_t bytes)
{
    char *zeros = calloc(1, bytes);

    CU_ASSERT_FATAL(zeros != NULL);
    memset(zeros, 'x', bytes);
    CU_ASSERT_EQUAL(pwrite(file->fd, zeros, bytes, 0), (ssize_t)bytes);
    free(zeros);
}

static void the_last_byte_counts(void)
{
    struct place here;
    struct qb_space *s = qb_space_new();
    struct qb_policy policy = {0};
    struct qb_err err;
    struct qb_file a;

    open_place(&here);
    a = new_file(&here);
    if (here.mounted) {
        policy.min_free.n = free_at(&here) - MIB;
        CU_ASSERT_EQUAL(begin(s, &policy, &a, MIB, &err), 0);
        qb_space_end(s, &a);
        CU_ASSERT_EQUAL(begin(s, &policy, &a, MIB + 1, &err), -1);
        CU_ASSERT_EQUAL(err.code, QB_E_NO_SPACE);
        policy.min_free.n++;
        CU_ASSERT_EQUAL(begin(s, &policy, &a, MIB, &err), -1);
    }
    policy.min_free.n = UINT64_MAX / 2; /* no sum of them may wrap */
    CU_ASSERT_EQUAL(begin(s, &policy, &a, UINT64_MAX - MIB, &err), -1);
    CU_ASSERT_EQUAL(begin(s, &policy, &a, 0, &err), 0);
    policy.min_free.n = 0;
    CU_ASSERT_EQUAL(begin(s, &policy, &a, UINT64_MAX, &err), 0);
    close(a.fd);
    close_place(&here);
    qb_space_free(s);
}

static void who_fits_only_without_the_others_waits_for_them(void)
{
    struct place here;
    struct qb_space *s = qb_space_new();
    struct qb_policy policy = {0};
    struct qb_err err;
    struct qb_file a, b;
    struct other second = {.space = s, .policy = &policy, .need = 8 * MIB};

    open_place(&here);
    if (!is_alone(&here, __func__)) {
        close_place(&here);
        qb_space_free(s);
        return;
    }
    a = new_file(&here);
    b = new_file(&here);
    second.file = &b;
    policy.min_free.n = free_at(&here) - 12 * MIB;
    CU_ASSERT_EQUAL_FATAL(begin(s, &policy, &a, 8 * MIB, &err), 0);
    start(&second);
    CU_ASSERT_TRUE(waits(&second));
    qb_space_end(s, &a); /* which wrote nothing after all */
    CU_ASSERT_EQUAL(end(&second, &a), 0);
    qb_space_end(s, &b);

    CU_ASSERT_EQUAL_FATAL(begin(s, &policy, &a, 8 * MIB, &err), 0);
    start(&second);
    CU_ASSERT_TRUE(waits(&second));
    write_to(&a, 8 * MIB);
    qb_space_end(s, &a);
    CU_ASSERT_EQUAL(end(&second, &a), -1);
    CU_ASSERT_EQUAL(second.err.code, QB_E_NO_SPACE);
    close(a.fd);
    close(b.fd);
    close_place(&here);
    qb_space_free(s);
}

/* Bytes that are booked and written are missing from the free space: they count once. */
static void what_became_real_is_not_counted_twice(void)
{
    struct place here;
    struct qb_space *s = qb_space_new();
    struct qb_policy policy = {0};
    struct qb_err err;
    struct qb_file a, b;
    struct other second = {.space = s, .policy = &policy, .need = 8 * MIB};

    open_place(&here);
    if (!is_alone(&here, __func__)) {
        close_place(&here);
        qb_space_free(s);
        return;
    }
    a = new_file(&here);
    b = new_file(&here);
    second.file = &b;
    policy.min_free.n = free_at(&here) - 17 * MIB;
    CU_ASSERT_EQUAL_FATAL(begin(s, &policy, &a, 8 * MIB, &err), 0);
    write_to(&a, 7 * MIB);
    start(&second);
    CU_ASSERT_FALSE(waits(&second));
    CU_ASSERT_EQUAL(end(&second, &a), 0);
    qb_space_end(s, &a);
    qb_space_end(s, &b);
    close(a.fd);
    close(b.fd);
    close_place(&here);
    qb_space_free(s);
}

static void file_systems_have_their_own_accounts(void)
{
    struct place here, there = {.dir = "/dev/shm"};
    struct qb_space *s = qb_space_new();
    struct qb_policy policy = {.min_free.n = 1};
    struct qb_err err;
    struct qb_file a, b;
    struct other second = {.space = s, .policy = &policy, .need = PAGE};

    open_place(&here);
    if (here.mounted)
        open_place(&there);
    a = new_file(&here);
    b = new_file(&there);
    second.file = &b;
    CU_ASSERT_NOT_EQUAL(a.dev, b.dev);
    CU_ASSERT_EQUAL_FATAL(begin(s, &policy, &a, free_at(&here) - MIB, &err), 0);
    second.need = qb_min(free_at(&there) - MIB, (uint64_t)8 * MIB);
    start(&second);
    CU_ASSERT_FALSE(waits(&second));
    CU_ASSERT_EQUAL(end(&second, &a), 0);
    qb_space_end(s, &b);
    second.file = &a; /* the first one's: it waits */
    start(&second);
    CU_ASSERT_TRUE(waits(&second));
    qb_space_end(s, &a);
    CU_ASSERT_EQUAL(end(&second, &a), 0);
    close(a.fd);
    close(b.fd);
    close_place(&here);
    if (there.mounted)
        close_place(&there);
    qb_space_free(s);
}

static void a_share_of_the_file_system_can_be_kept(void)
{
    struct qb_policy policy = {.min_free = {.n = 5, .is_percent = true}};

    CU_ASSERT_EQUAL(qb_min_free(&policy, 1000), 50);
    policy.min_free.n = 100;
    CU_ASSERT_EQUAL(qb_min_free(&policy, UINT64_MAX / 100 * 100), UINT64_MAX / 100 * 100);
    policy.min_free.is_percent = false;
    CU_ASSERT_EQUAL(qb_min_free(&policy, 1000), 100);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(the_last_byte_counts),
        UNIT(who_fits_only_without_the_others_waits_for_them),
        UNIT(what_became_real_is_not_counted_twice),
        UNIT(file_systems_have_their_own_accounts),
        UNIT(a_share_of_the_file_system_can_be_kept),
    };
    /* Who waits takes processor time here, so that no fault lets the test wait for ever. */
    static const struct rlimit limit = {20, 20};

    setrlimit(RLIMIT_CPU, &limit);
    return unit_main("space", tests, UNIT_COUNT(tests));
}
