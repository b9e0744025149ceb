/* Files that an image names: opened for those who may read them, by the engine and by the library.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "images.h"
#include "opener/named.h"
#include "opener/owners.h"
#include "files/walk.h"
#include "scratch.h"

static int open_as(struct qb_io *io, uid_t uid, gid_t gid, const char *path)
{
    struct qb_naming by = {uid, gid, "image"};
    struct qb_err err = {0};
    struct qb_file file;

    if (qb_named_open(io, by, by, path, &file, &err) < 0)
        return (int)err.code;
    qb_file_close(&file);
    return 0;
}

static void an_answer_holds_until_the_file_changes(void)
{
    struct qb_owners *owners = qb_owners_new(&(struct qb_named_rules){0}, NULL);
    struct qb_io *io = NULL;
    const char *folder = shared_folder();
    char path[128], in[128];

    if (geteuid() != 0) {
        qb_owners_free(owners);
        return;
    }
    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, NULL), 0);
    qb_io_set_owners(io, owners);
    snprintf(path, sizeof(path), "%s/kept", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    CU_ASSERT_EQUAL(chmod(path, 0644), 0);
    CU_ASSERT_EQUAL(open_as(io, 60001, 60001, path), 0);
    CU_ASSERT_EQUAL(open_as(io, 60001, 60001, path), 0);
    CU_ASSERT_EQUAL(chmod(path, 0640), 0);
    CU_ASSERT_EQUAL(open_as(io, 60001, 60001, path), QB_E_BACKING_REFUSED);
    CU_ASSERT_EQUAL(chown(path, 0, 60001), 0);
    CU_ASSERT_EQUAL(open_as(io, 60001, 60001, path), 0); /* unknown: his file's group is his */
    CU_ASSERT_EQUAL(open_as(io, 60001, 60002, path), QB_E_BACKING_REFUSED);
    CU_ASSERT_EQUAL(open_as(io, 0, 0, path), 0);
    CU_ASSERT_EQUAL(chown(path, 60001, 0) + chmod(path, 0400), 0);
    CU_ASSERT_EQUAL(open_as(io, 60001, 60003, path), 0); /* which says nothing of another user */
    CU_ASSERT_EQUAL(open_as(io, 60002, 60003, path), QB_E_BACKING_REFUSED);
    snprintf(in, sizeof(in), "%s/closed", folder);
    CU_ASSERT_EQUAL(mkdir(in, 0700), 0);
    snprintf(path, sizeof(path), "%.100s/none", in);
    CU_ASSERT_EQUAL(open_as(io, 0, 0, path), QB_E_NOT_FOUND);
    CU_ASSERT_EQUAL(open_as(io, 60001, 60001, path), QB_E_BACKING_REFUSED); /* as if it were */
    CU_ASSERT_EQUAL(rmdir(in), 0);
    snprintf(path, sizeof(path), "%s/kept", folder);
    snprintf(in, sizeof(in), "%s/fifo", folder);
    CU_ASSERT_EQUAL(mkfifo(in, 0666), 0);
    CU_ASSERT_EQUAL(open_as(io, 0, 0, in), QB_E_BACKING_REFUSED);
    CU_ASSERT_EQUAL(open_as(io, 0, 0, "/dev/null"), QB_E_BACKING_REFUSED);
    CU_ASSERT_EQUAL(open_as(io, 0, 0, folder), QB_E_BACKING_REFUSED);
    CU_ASSERT_EQUAL(open_as(io, 60001, 60001, "/"), QB_E_BACKING_REFUSED);
    qb_io_close(io);
    qb_owners_free(owners);
}

static int lookup_error;
static const char *exchanged, *exchanged_for; /* renamed so when user 60002 is looked up; or NULL */

int __real_getpwuid_r(uid_t uid, struct passwd *entry, char *buf, size_t n, struct passwd **found);
int __wrap_getpwuid_r(uid_t uid, struct passwd *entry, char *buf, size_t n, struct passwd **found);

/* The linker leads the engine's calls here. */
int __wrap_getpwuid_r(uid_t uid, struct passwd *entry, char *buf, size_t n, struct passwd **found)
{
    *found = NULL;
    if (exchanged && uid == 60002)
        CU_ASSERT_EQUAL(rename(exchanged, exchanged_for), 0);
    return lookup_error ? lookup_error : __real_getpwuid_r(uid, entry, buf, n, found);
}

/* That there is no such user is an answer; that the database could not be asked is none. */
static void a_user_database_that_fails_permits_nothing(void)
{
    static const int errors[] = {EIO, EMFILE, ENOENT, 0};
    const char *folder = shared_folder();
    struct qb_io *io = NULL;
    char path[128];

    if (geteuid() != 0)
        return;
    snprintf(path, sizeof(path), "%s/asked", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    CU_ASSERT_EQUAL(chown(path, 0, 60001) + chmod(path, 0640), 0);
    for (size_t i = 0; i < UNIT_COUNT(errors); i++) {
        CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, NULL), 0);
        lookup_error = errors[i];
        CU_ASSERT_EQUAL(open_as(io, 60001, 60001, path) == 0, i >= 2);
        lookup_error = 0;
        qb_io_close(io);
    }
}

/* Between the looks of the two owners, who both could read either file. */
static void a_file_that_is_exchanged_meanwhile_is_not_opened(void)
{
    const char *folder = shared_folder();
    struct qb_naming image = {60001, 60001, "image"}, namer = {60002, 60002, "namer"};
    char path[128], other[128];
    struct qb_io *io = NULL;

    if (geteuid() != 0)
        return;
    snprintf(path, sizeof(path), "%s/one", folder);
    snprintf(other, sizeof(other), "%s/other", folder);
    for (int exchange = 0; exchange <= 1; exchange++) {
        struct qb_file file = {.fd = -1};
        struct qb_err err = {0};

        close(open(path, O_CREAT | O_WRONLY, 0644));
        close(open(other, O_CREAT | O_WRONLY, 0644));
        CU_ASSERT_EQUAL(chmod(path, 0644) + chmod(other, 0644), 0);
        CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, NULL), 0);
        exchanged = exchange ? other : NULL;
        exchanged_for = path;
        CU_ASSERT_EQUAL(qb_named_open(io, image, namer, path, &file, &err), exchange ? -1 : 0);
        CU_ASSERT_EQUAL(err.code, exchange ? QB_E_CHANGED : QB_E_NONE);
        exchanged = NULL;
        if (!exchange)
            qb_file_close(&file);
        qb_io_close(io);
    }
}

static gid_t second_group;

int __real_getgrouplist(const char *user, gid_t first, gid_t *groups, int *n);
int __wrap_getgrouplist(const char *user, gid_t first, gid_t *groups, int *n);

/* The database as it is, or with one group more for everybody. */
int __wrap_getgrouplist(const char *user, gid_t first, gid_t *groups, int *n)
{
    int room = *n;

    if (!second_group)
        return __real_getgrouplist(user, first, groups, n);
    *n = 2;
    if (room < 2)
        return -1;
    groups[0] = first;
    groups[1] = second_group;
    return 2;
}

/* A user of the database has its groups, and not the one of his file. */
static void groups_come_from_the_user_database(void)
{
    struct group *group = getgrnam("games");
    const char *folder = shared_folder();
    struct qb_io *io = NULL;
    char path[128];

    if (geteuid() != 0)
        return;
    CU_ASSERT_PTR_NOT_NULL_FATAL(group);
    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, NULL), 0);
    snprintf(path, sizeof(path), "%s/groups", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    CU_ASSERT_EQUAL(chown(path, 0, group->gr_gid), 0);
    CU_ASSERT_EQUAL(chmod(path, 0640), 0);
    CU_ASSERT_EQUAL(open_as(io, 5, 0, path), 0);                                    /* games */
    CU_ASSERT_EQUAL(open_as(io, 65534, group->gr_gid, path), QB_E_BACKING_REFUSED); /* nobody */
    qb_io_close(io);
    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, NULL), 0);
    CU_ASSERT_EQUAL(chown(path, 0, 60005), 0);
    second_group = 60005;
    CU_ASSERT_EQUAL(open_as(io, 5, 0, path), 0);
    second_group = 60004;
    qb_io_close(io);
    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, NULL), 0);
    CU_ASSERT_EQUAL(open_as(io, 5, 0, path), QB_E_BACKING_REFUSED);
    second_group = 0;
    qb_io_close(io);
}

/* ---- the library ----------------------------------------------------------------------------- */

/* What growing a tenant's image over the file comes to. */
static enum qb_code grow(const char *image, bool need_not_read, const char *root)
{
    const struct qb_request rq = {.struct_size = sizeof(rq),
                                  .set = QB_KEY_SIZE,
                                  .size = 1 << 20,
                                  .owner_need_not_read = need_not_read,
                                  .roots = {&root, root ? 1 : 0}};
    const struct qb_options options = {
        .struct_size = sizeof(options), .io = QB_IO_POSIX, .dry_run = true};
    const struct qb_result *result;
    enum qb_code code;

    qb_amend_image(image, &rq, &options, &result);
    code = result->err.code;
    qb_result_free(result);
    return code;
}

static void the_library_keeps_the_rule_unless_it_is_told_not_to(void)
{
    struct image_shape shape = {.version = 3,
                                .cluster_bits = 12,
                                .refcount_order = 4,
                                .size = 4608,
                                .backing_file = "others",
                                .backing_fmt = "raw"};
    struct image_bytes image = image_make(&shape, ".");
    const char *folder = shared_folder();
    char path[128], below[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/image", folder);
    snprintf(below, sizeof(below), "%s/others", folder);
    f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(image.bytes, 1, image.size, f), image.size);
    fclose(f);
    image_bytes_free(&image);
    f = fopen(below, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    for (int i = 0; i < 7680; i++)
        fputc('s', f);
    fclose(f);
    CU_ASSERT_EQUAL(chmod(below, 0600), 0);
    CU_ASSERT_EQUAL(grow(path, false, NULL), QB_E_NONE);
    CU_ASSERT_EQUAL(grow(path, false, folder), QB_E_NONE);
    CU_ASSERT_EQUAL(grow(path, false, "/proc"), QB_E_OUTSIDE_ROOTS);
    CU_ASSERT_EQUAL(grow(path, false, below), QB_E_REFUSED); /* no directory */
    if (geteuid() != 0)
        return;
    CU_ASSERT_EQUAL(chown(path, 60001, 60001), 0);
    CU_ASSERT_EQUAL(grow(path, false, NULL), QB_E_BACKING_REFUSED);
    CU_ASSERT_EQUAL(grow(path, true, NULL), QB_E_NONE);
}

static int getxattr_errno;
static const void *long_list; /* of all files; NULL: each has its own */
static size_t long_list_len;

ssize_t __real_getxattr(const char *path, const char *name, void *value, size_t size);
ssize_t __wrap_getxattr(const char *path, const char *name, void *value, size_t size);

/* The linker leads the engine's calls here. */
ssize_t __wrap_getxattr(const char *path, const char *name, void *value, size_t size)
{
    if (long_list && size && size < long_list_len)
        errno = ERANGE;
    else if (long_list && size)
        memcpy(value, long_list, long_list_len);
    if (long_list)
        return size && size < long_list_len ? -1 : (ssize_t)long_list_len;
    if (!getxattr_errno)
        return __real_getxattr(path, name, value, size);
    errno = getxattr_errno;
    return -1;
}

/* Where there is none, or the file system knows none, the mode alone decides. */
static void a_list_that_cannot_be_read_is_not_taken_for_none(void)
{
    static const struct {
        int says, rc;
    } rows[] = {{EIO, -1}, {EPERM, -1}, {ENODATA, 0}, {EOPNOTSUPP, 0}};
    struct qb_who other = {60001, 60001, NULL, 0};
    int fd = open(make_file("listed", "x", 1), O_RDONLY | O_CLOEXEC);
    struct stat st;

    CU_ASSERT_EQUAL_FATAL(fchmod(fd, 0644), 0);
    CU_ASSERT_EQUAL_FATAL(fstat(fd, &st), 0);
    st.st_uid = 60002; /* not the one who asks, nor root */
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        struct qb_err err = {0};
        bool may = false;

        getxattr_errno = rows[i].says;
        CU_ASSERT_EQUAL(qb_may_fd(&other, fd, &st, QB_MAY_READ, &may, &err), rows[i].rc);
        CU_ASSERT_EQUAL(may, rows[i].rc == 0);
        CU_ASSERT_EQUAL(err.sys_errno, rows[i].rc ? rows[i].says : 0);
    }
    getxattr_errno = 0;
    close(fd);
}

/* Its last entry but the three of a file without a list denies what the mode permits. */
static void a_long_list_counts_to_its_end(void)
{
    enum { USERS = 100 };
    struct {
        struct posix_acl_xattr_header header;
        struct posix_acl_xattr_entry entries[USERS + 4];
    } acl = {.header = {POSIX_ACL_XATTR_VERSION}};
    struct qb_who other = {60001, 60001, NULL, 0};
    int fd = open(make_file("long", "x", 1), O_RDONLY | O_CLOEXEC);
    struct qb_err err = {0};
    bool may = true;
    struct stat st;

    acl.entries[0] = (struct posix_acl_xattr_entry){ACL_USER_OBJ, 6, 0};
    for (uint32_t i = 1; i <= USERS; i++)
        acl.entries[i] = (struct posix_acl_xattr_entry){ACL_USER, i == USERS ? 0 : 4, 59901 + i};
    acl.entries[USERS + 1] = (struct posix_acl_xattr_entry){ACL_GROUP_OBJ, 4, 0};
    acl.entries[USERS + 2] = (struct posix_acl_xattr_entry){ACL_MASK, 4, 0};
    acl.entries[USERS + 3] = (struct posix_acl_xattr_entry){ACL_OTHER, 4, 0};
    CU_ASSERT_EQUAL_FATAL(fchmod(fd, 0644), 0);
    CU_ASSERT_EQUAL_FATAL(fstat(fd, &st), 0);
    st.st_uid = 60002;
    long_list = &acl;
    long_list_len = sizeof(acl);
    CU_ASSERT_EQUAL(qb_may_fd(&other, fd, &st, QB_MAY_READ, &may, &err), 0);
    CU_ASSERT_FALSE(may);
    other.uid = 60000;
    CU_ASSERT_EQUAL(qb_may_fd(&other, fd, &st, QB_MAY_READ, &may, &err), 0);
    CU_ASSERT_TRUE(may);
    long_list = NULL;
    close(fd);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(an_answer_holds_until_the_file_changes),
        UNIT(a_user_database_that_fails_permits_nothing),
        UNIT(a_file_that_is_exchanged_meanwhile_is_not_opened),
        UNIT(groups_come_from_the_user_database),
        UNIT(the_library_keeps_the_rule_unless_it_is_told_not_to),
        UNIT(a_list_that_cannot_be_read_is_not_taken_for_none),
        UNIT(a_long_list_counts_to_its_end),
    };

    unsetenv("TMPDIR"); /* other users may not reach it */
    return scratch_main("named", tests, UNIT_COUNT(tests));
}
