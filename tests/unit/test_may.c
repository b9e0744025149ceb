/* Who may read what: by tables, and against the kernel's own answers. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "dice.h"
#include "files/walk.h"
#include "scratch.h"

enum { ENTRIES_MAX = 12 };

struct acl {
    struct posix_acl_xattr_header header;
    struct posix_acl_xattr_entry entries[ENTRIES_MAX];
    size_t n;
};

static void acl_begin(struct acl *a)
{
    *a = (struct acl){.header = {POSIX_ACL_XATTR_VERSION}};
}

static void acl_add(struct acl *a, uint16_t tag, unsigned perm, uint32_t id)
{
    a->entries[a->n++] = (struct posix_acl_xattr_entry){tag, (uint16_t)perm, id};
}

static size_t acl_len(const struct acl *a)
{
    return sizeof(a->header) + a->n * sizeof(a->entries[0]);
}

/* ---- by tables ------------------------------------------------------------------------------- */

static bool may(uid_t uid, gid_t gid, gid_t more, mode_t mode, const struct acl *a, unsigned want)
{
    struct qb_who who = {uid, gid, &more, 1};
    struct qb_perms p = {1000, 100, mode, a ? (const void *)a : NULL, a ? acl_len(a) : 0};

    return qb_may(&who, &p, want);
}

static void mode_bits_are_those_of_owner_group_or_others(void)
{
    static const struct {
        uid_t uid;
        gid_t gid, more;
        mode_t mode;
        bool may;
    } rows[] = {
        {0, 0, 0, 0, true},         {1000, 1, 1, 0400, true},   {1000, 100, 100, 0044, false},
        {1001, 100, 1, 0040, true}, {1001, 1, 100, 0040, true}, {1001, 100, 1, 0404, false},
        {1001, 1, 1, 0004, true},   {1001, 1, 1, 0440, false},  {1001, 1, 1, 0333, false},
    };

    for (size_t i = 0; i < UNIT_COUNT(rows); i++)
        CU_ASSERT_EQUAL(
            may(rows[i].uid, rows[i].gid, rows[i].more, rows[i].mode, NULL, QB_MAY_READ),
            rows[i].may);
}

static void a_list_decides_before_the_group_and_its_mask_limits(void)
{
    struct acl a;

    acl_begin(&a);
    acl_add(&a, ACL_USER_OBJ, 6, 0);
    acl_add(&a, ACL_USER, 4, 1001);
    acl_add(&a, ACL_USER, 0, 1002);
    acl_add(&a, ACL_GROUP_OBJ, 0, 0);
    acl_add(&a, ACL_GROUP, 4, 200);
    acl_add(&a, ACL_MASK, 4, 0);
    acl_add(&a, ACL_OTHER, 4, 0);
    CU_ASSERT_TRUE(may(1001, 1, 1, 0644, &a, QB_MAY_READ));
    CU_ASSERT_FALSE(may(1002, 200, 1, 0644, &a, QB_MAY_READ)); /* named, so nothing else counts */
    CU_ASSERT_FALSE(may(1003, 100, 1, 0644, &a, QB_MAY_READ));
    CU_ASSERT_TRUE(may(1003, 100, 200, 0644, &a, QB_MAY_READ));
    CU_ASSERT_TRUE(may(1003, 1, 1, 0644, &a, QB_MAY_READ));
    a.entries[5].e_perm = 1;
    CU_ASSERT_FALSE(may(1001, 1, 1, 0614, &a, QB_MAY_READ));
    CU_ASSERT_FALSE(may(1003, 1, 200, 0614, &a, QB_MAY_READ));
    CU_ASSERT_TRUE(may(1000, 1, 1, 0614, &a, QB_MAY_READ)); /* the owner is not limited */
}

static void a_list_that_is_none_permits_nothing(void)
{
    char junk[40];
    struct qb_who who = {1001, 1, NULL, 0};

    memset(junk, 0xff, sizeof(junk));
    for (size_t len = 0; len <= sizeof(junk); len++) {
        struct qb_perms p = {1000, 100, 0777, junk, len};

        CU_ASSERT_FALSE(qb_may(&who, &p, QB_MAY_READ));
    }
}

static void two_bits_are_both_needed(void)
{
    enum { BOTH = QB_MAY_READ | QB_MAY_SEARCH };

    CU_ASSERT_FALSE(may(1001, 1, 1, 0004, NULL, BOTH));
    CU_ASSERT_FALSE(may(1001, 1, 1, 0001, NULL, BOTH));
    CU_ASSERT_TRUE(may(1001, 1, 1, 0005, NULL, BOTH));
}

static void a_list_says_nothing_of_the_owner_nor_where_the_group_has_no_bits(void)
{
    struct acl a;

    acl_begin(&a);
    acl_add(&a, ACL_OTHER, 4, 0);
    acl_add(&a, ACL_USER, 0, 1000);
    acl_add(&a, ACL_USER, 4, 1001);
    CU_ASSERT_TRUE(may(1000, 1, 1, 0440, &a, QB_MAY_READ));
    CU_ASSERT_FALSE(may(1000, 1, 1, 0040, &a, QB_MAY_READ));
    CU_ASSERT_TRUE(may(1001, 1, 1, 0040, &a, QB_MAY_READ));
    CU_ASSERT_FALSE(may(1001, 1, 1, 0600, &a, QB_MAY_READ));
}

/* In whatever order they are, and to the last of the groups someone is in. */
static void every_entry_and_every_group_counts(void)
{
    gid_t groups[] = {7, 8, 100};
    struct qb_who who = {1001, 1, groups, 3};
    struct qb_perms p = {1000, 100, 0040, NULL, 0};
    struct acl a;

    CU_ASSERT_TRUE(qb_may(&who, &p, QB_MAY_READ));
    acl_begin(&a);
    acl_add(&a, ACL_OTHER, 4, 0);
    acl_add(&a, ACL_USER, 0, 1001);
    CU_ASSERT_FALSE(may(1001, 1, 1, 0644, &a, QB_MAY_READ));
    CU_ASSERT_TRUE(may(1002, 1, 1, 0644, &a, QB_MAY_READ));
}

static void a_list_of_another_version_or_an_odd_length_permits_nothing(void)
{
    struct qb_who who = {1001, 1, NULL, 0};
    struct acl a;

    acl_begin(&a);
    acl_add(&a, ACL_OTHER, 7, 0);
    for (size_t more = 0; more < sizeof(a.entries[0]); more++) {
        struct qb_perms p = {1000, 100, 0777, (const void *)&a, acl_len(&a) + more};

        CU_ASSERT_EQUAL(qb_may(&who, &p, QB_MAY_READ), more == 0);
    }
    a.header.a_version = POSIX_ACL_XATTR_VERSION - 1;
    CU_ASSERT_FALSE(may(1001, 1, 1, 0777, &a, QB_MAY_READ));
}

/* ---- against the kernel ---------------------------------------------------------------------- */

enum { IDS = 5, TRIES = 1500 };
static const unsigned ids[IDS] = {60001, 60002, 60003, 60004, 60005};

struct case_of {
    struct qb_who who;
    gid_t groups[2];
};

static unsigned some_id(struct dice *d)
{
    return ids[roll(d, IDS)];
}

static void roll_who(struct dice *d, struct case_of *c)
{
    c->groups[0] = some_id(d);
    c->groups[1] = some_id(d);
    c->who = (struct qb_who){some_id(d), some_id(d), c->groups, roll(d, 3)};
}

/* A list as acl(5) has it: sorted, named ones unique, a mask where there are named ones. */
static void roll_acl(struct dice *d, struct acl *a)
{
    acl_begin(a);
    acl_add(a, ACL_USER_OBJ, roll(d, 8), ACL_UNDEFINED_ID);
    for (size_t i = 0; i < IDS; i++)
        if (roll(d, 3) == 0)
            acl_add(a, ACL_USER, roll(d, 8), ids[i]);
    acl_add(a, ACL_GROUP_OBJ, roll(d, 8), ACL_UNDEFINED_ID);
    for (size_t i = 0; i < IDS && a->n + 3 < ENTRIES_MAX; i++)
        if (roll(d, 3) == 0)
            acl_add(a, ACL_GROUP, roll(d, 8), ids[i]);
    acl_add(a, ACL_MASK, roll(d, 3) ? 4 + roll(d, 4) : roll(d, 8), ACL_UNDEFINED_ID);
    acl_add(a, ACL_OTHER, roll(d, 8), ACL_UNDEFINED_ID);
}

static bool roll_perms(struct dice *d, const char *path)
{
    struct acl a;

    removexattr(path, "system.posix_acl_access");
    if (chown(path, some_id(d), some_id(d)) < 0 || chmod(path, roll(d, 512)) < 0)
        return false;
    if (roll(d, 3) == 0)
        return true;
    roll_acl(d, &a);
    return setxattr(path, "system.posix_acl_access", &a, acl_len(&a), 0) == 0;
}

/* Asks the kernel, as that user: whether `path` can be opened for reading. */
static bool kernel_says(const struct case_of *c, const char *path)
{
    pid_t pid = fork();
    int status = 0, fd;

    if (pid == 0) {
        if (setgroups(c->who.n_groups, c->groups) < 0 ||
            setresgid(c->who.gid, c->who.gid, c->who.gid) < 0 ||
            setresuid(c->who.uid, c->who.uid, c->who.uid) < 0)
            _exit(2);
        fd = open(path, O_RDONLY);
        _exit(fd >= 0 ? 0 : errno == EACCES ? 1 : 2);
    }
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_TRUE_FATAL(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

static bool walk_says(const struct case_of *c, const char *path)
{
    struct qb_err err = {0};
    struct stat st;
    int fd = -1;

    if (qb_walk(&c->who, path, &fd, &st, &err) < 0) {
        CU_ASSERT_EQUAL(err.code, QB_E_BACKING_REFUSED);
        return false;
    }
    close(fd);
    return true;
}

/* A file in a folder, both of random owners, modes and lists, and ways there by links. */
static void a_walk_agrees_with_the_kernel(void)
{
    static const char *const ways[] = {"in/file", "in/../in/./file", "link", "far/file", "in//hop"};
    struct dice d = {.state = 10};
    const char *folder = shared_folder();
    char sub[96], file[128], way[128];
    unsigned yes = 0;

    if (geteuid() != 0)
        return; /* only root can become somebody else */
    snprintf(sub, sizeof(sub), "%s/in", folder);
    snprintf(file, sizeof(file), "%s/file", sub);
    CU_ASSERT_EQUAL_FATAL(mkdir(sub, 0700), 0);
    close(open(file, O_CREAT | O_WRONLY, 0600));
    snprintf(way, sizeof(way), "%s/link", folder);
    CU_ASSERT_EQUAL(symlink("in/hop", way), 0);
    snprintf(way, sizeof(way), "%s/far", folder);
    CU_ASSERT_EQUAL(symlink(sub, way), 0);
    snprintf(way, sizeof(way), "%s/hop", sub);
    CU_ASSERT_EQUAL(symlink("../in/file", way), 0);
    for (unsigned i = 0; i < TRIES; i++) {
        struct case_of c;
        bool kernel;

        roll_who(&d, &c);
        CU_ASSERT_TRUE_FATAL(roll_perms(&d, file) && roll_perms(&d, sub));
        if (roll(&d, 2)) /* so that the file decides as often as its folder */
            CU_ASSERT_EQUAL(chmod(sub, 0711), 0);
        snprintf(way, sizeof(way), "%s/%s", folder, ways[roll(&d, UNIT_COUNT(ways))]);
        kernel = kernel_says(&c, way);
        CU_ASSERT_EQUAL(walk_says(&c, way), kernel);
        yes += kernel;
    }
    CU_ASSERT_TRUE(yes > TRIES / 10 && yes < TRIES - TRIES / 10);
}

static void a_walk_ends_where_the_kernel_ends(void)
{
    struct qb_who root = {0}, other = {60001, 60001, NULL, 0};
    const char *folder = shared_folder();
    char a[128], b[128];
    struct qb_err err;
    struct stat st;
    int fd;

    snprintf(a, sizeof(a), "%s/a", folder);
    snprintf(b, sizeof(b), "%s/b", folder);
    CU_ASSERT_EQUAL(symlink("b", a), 0);
    CU_ASSERT_EQUAL(symlink("a", b), 0);
    CU_ASSERT_EQUAL(qb_walk(&root, a, &fd, &st, &err), -1);
    CU_ASSERT_EQUAL(err.sys_errno, ELOOP);
    unlink(b);
    CU_ASSERT_EQUAL(qb_walk(&other, a, &fd, &st, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_NOT_FOUND);
    close(open(b, O_CREAT | O_WRONLY, 0644));
    snprintf(b, sizeof(b), "%s/a/", folder);
    CU_ASSERT_EQUAL(qb_walk(&other, b, &fd, &st, &err), -1);
    CU_ASSERT_EQUAL(err.sys_errno, ENOTDIR);
    CU_ASSERT_EQUAL_FATAL(qb_walk(&other, a, &fd, &st, &err), 0);
    CU_ASSERT_TRUE(S_ISREG(st.st_mode));
    close(fd);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(mode_bits_are_those_of_owner_group_or_others),
        UNIT(a_list_decides_before_the_group_and_its_mask_limits),
        UNIT(a_list_that_is_none_permits_nothing),
        UNIT(two_bits_are_both_needed),
        UNIT(a_list_says_nothing_of_the_owner_nor_where_the_group_has_no_bits),
        UNIT(every_entry_and_every_group_counts),
        UNIT(a_list_of_another_version_or_an_odd_length_permits_nothing),
        UNIT(a_walk_agrees_with_the_kernel),
        UNIT(a_walk_ends_where_the_kernel_ends),
    };

    unsetenv("TMPDIR"); /* other users may not reach it */
    return scratch_main("may", tests, UNIT_COUNT(tests));
}
