#include "files/attributes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/own.h"

static const char acl[] = "system.posix_acl_access";

enum { MODE_KEPT = 0777 };

/* One attribute's value, and the list of their names, end at 64 KiB each (xattr(7)). */
enum { ROOM = 65536 };

static int fail(const char *name, struct qb_err *err)
{
    return qb_fail_sys(err, errno, QB_NOWHERE, "cannot keep the attribute %.200s of the image",
                       name);
}

/* With a mount option context= all files have one label, which cannot be set. */
static bool has_equal(int fd, const char *name, const char *value, ssize_t n)
{
    QB_AUTO(qb_buf) char *other = malloc(ROOM);
    int errnum = errno;
    bool equal =
        other && fgetxattr(fd, name, other, ROOM) == n && memcmp(other, value, (size_t)n) == 0;

    errno = errnum;
    return equal;
}

/* 1 where `from` has it, 0 where it has none, -1 with *err. */
static int copy(int from, int to, const char *name, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *value = malloc(ROOM);
    ssize_t n;

    if (!value)
        return qb_fail_memory(err);
    n = fgetxattr(from, name, value, ROOM);
    if (n < 0 && (errno == ENODATA || errno == EOPNOTSUPP))
        return 0;
    if (n < 0 || (fsetxattr(to, name, value, (size_t)n, 0) < 0 && !has_equal(to, name, value, n)))
        return fail(name, err);
    return 1;
}

static bool is_kept(const char *name)
{
    return strncmp(name, "user.", 5) == 0 || strcmp(name, "security.selinux") == 0 ||
           strcmp(name, "security.SMACK64") == 0;
}

static int copy_labels(int from, int to, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *names = malloc(ROOM);
    ssize_t n;

    if (!names)
        return qb_fail_memory(err);
    n = flistxattr(from, names, ROOM);
    if (n < 0 && errno != EOPNOTSUPP)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot list the attributes of the image");
    for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1)
        if (is_kept(name) && copy(from, to, name, err) < 0)
            return -1;
    return 0;
}

/* The group bits of a mode are the mask of a list: without the list they would be the group's. */
static int copy_acl(int from, int to, struct qb_err *err)
{
    int r = copy(from, to, acl, err);

    if (r == 0 && fremovexattr(to, acl) < 0 && errno != ENODATA && errno != EOPNOTSUPP)
        return fail(acl, err);
    return r < 0 ? -1 : 0;
}

int qb_attributes_copy(int from, int to, const struct stat *st, struct qb_err *err)
{
    if (copy_labels(from, to, err) < 0)
        return -1;
    if (fchown(to, st->st_uid, st->st_gid) < 0)
        return 0;
    if (copy_acl(from, to, err) < 0)
        return -1;
    if (fchmod(to, st->st_mode & MODE_KEPT) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot keep the mode of the image");
    return 0;
}
