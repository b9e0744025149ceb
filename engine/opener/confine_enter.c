/* A user and a mount namespace for a process alone.
 *
 * Whoever may change users takes a number that no account has, different for each process, and no
 * namespace of users is needed.  Anyone else gets one, in which he keeps his own number, for a
 * socket's peer to be known by (SO_PEERCRED), and has no rights outside: no file, process or mount
 * of the host's namespaces heeds what he may do in it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/beside.h"
#include "opener/confine.h"

/* Above all ranges that distributions and systemd give out, below those that programs take for
 * negative. */
enum { NOBODYS = 0x70000000 };

/* ---- the user -------------------------------------------------------------------------------- */

static bool has_capabilities(uint64_t wanted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return syscall(SYS_capget, &header, has) == 0 &&
           (wanted & ~(has[0].effective | (uint64_t)has[1].effective << 32)) == 0;
}

/* In a container numbers of users may end at some thousands. */
static bool is_mapped(const char *path, unsigned long id)
{
    FILE *f = fopen(path, "re");
    unsigned long first, of_host, n;
    bool is = false;

    while (f && !is && fscanf(f, "%lu %lu %lu", &first, &of_host, &n) == 3)
        is = id >= first && id - first < n;
    if (f)
        fclose(f);
    return is;
}

static uid_t number_of_its_own(void)
{
    return NOBODYS + (uid_t)getpid();
}

/* CAP_KILL, for its parent has to be able to end it, and is asked for it when the parent ends. */
static bool may_become_another(void)
{
    return has_capabilities(UINT64_C(1) << CAP_SETUID | UINT64_C(1) << CAP_SETGID |
                            UINT64_C(1) << CAP_KILL | UINT64_C(1) << CAP_SYS_ADMIN) &&
           is_mapped("/proc/self/uid_map", number_of_its_own()) &&
           is_mapped("/proc/self/gid_map", number_of_its_own());
}

static long become_another(void)
{
    uid_t own = number_of_its_own(), real, effective, saved;

    if (setgroups(0, NULL) < 0 || setresgid(own, own, own) < 0 || setresuid(own, own, own) < 0 ||
        getresuid(&real, &effective, &saved) < 0)
        return -1;
    if (real == own && effective == own && saved == own)
        return 0;
    errno = EPERM;
    return -1;
}

static long write_text(const char *path, const char *text)
{
    size_t len = strlen(text);
    int fd = open(path, O_WRONLY | O_CLOEXEC), errnum;
    ssize_t n;

    if (fd < 0)
        return -1;
    n = write(fd, text, len);
    errnum = n < 0 ? errno : EIO;
    close(fd);
    errno = errnum;
    return n == (ssize_t)len ? 0 : -1;
}

static long map_own(uid_t uid, gid_t gid)
{
    char users[64], groups[64];

    snprintf(users, sizeof(users), "%lu %lu 1", (unsigned long)uid, (unsigned long)uid);
    snprintf(groups, sizeof(groups), "%lu %lu 1", (unsigned long)gid, (unsigned long)gid);
    return write_text("/proc/self/setgroups", "deny") < 0 ||
                   write_text("/proc/self/uid_map", users) < 0 ||
                   write_text("/proc/self/gid_map", groups) < 0
               ? -1
               : 0;
}

static long take_namespace_of_users(void)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();

    return unshare(CLONE_NEWUSER) < 0 ? -1 : map_own(uid, gid);
}

/* ---- the mounts ------------------------------------------------------------------------------ */

/* A file system in memory that nobody may look into, or write to. */
static int make_empty(void)
{
    int made = -1, errnum, fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);

    if (fs < 0)
        return -1;
    if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0", 0) == 0 &&
        syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        made = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
                            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                MOUNT_ATTR_NOEXEC);
    errnum = errno;
    close(fs);
    errno = errnum;
    return made;
}

/* It lies on the root, becomes the root, and the old one lies on it until that is taken away, with
 * all that is mounted there. */
static long turn_to(int empty)
{
    return syscall(SYS_move_mount, empty, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
                   fchdir(empty) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
                   umount2(".", MNT_DETACH) < 0 || chdir("/") < 0
               ? -1
               : 0;
}

/* A way back: a path may begin at an open folder.  Whoever has it finds an empty file instead. */
static long shut_folders(void)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    DIR *all = null < 0 ? NULL : opendir("/proc/self/fd");
    struct dirent *e;
    struct stat st;
    bool failed = !all;

    while (!failed && (e = readdir(all)) != NULL) {
        int fd = e->d_name[0] == '.' ? -1 : atoi(e->d_name);

        if (fd >= 0 && fd != dirfd(all) && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
            failed = dup3(null, fd, O_CLOEXEC) < 0;
    }
    if (all)
        closedir(all);
    if (null >= 0)
        close(null);
    return failed ? -1 : 0;
}

static long leave_mounts(void)
{
    int empty, errnum;
    long r;

    if (shut_folders() < 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || (empty = make_empty()) < 0)
        return -1;
    r = turn_to(empty);
    errnum = errno;
    close(empty);
    errno = errnum;
    return r;
}

/* ---- both ------------------------------------------------------------------------------------ */

static void take(struct qb_confinement *c, enum qb_confine_part part, long failed)
{
    c->errnum[part] = failed ? errno : 0;
    if (!failed)
        c->in_force |= 1u << part;
}

/* The other user could make no namespace any more. */
static void enter_as_another(struct qb_confinement *c)
{
    take(c, QB_CONFINE_MOUNTS, leave_mounts());
    if (c->in_force >> QB_CONFINE_MOUNTS & 1)
        take(c, QB_CONFINE_USER, become_another());
    else
        c->errnum[QB_CONFINE_USER] = c->errnum[QB_CONFINE_MOUNTS];
}

static void enter_by_namespace(struct qb_confinement *c)
{
    take(c, QB_CONFINE_USER, take_namespace_of_users());
    if (c->in_force >> QB_CONFINE_USER & 1)
        take(c, QB_CONFINE_MOUNTS, leave_mounts());
    else
        c->errnum[QB_CONFINE_MOUNTS] = c->errnum[QB_CONFINE_USER];
}

void qb_confine_enter(struct qb_confinement *c)
{
    pid_t parent = getppid();
    int with_parent = 0;

    if (!(qb_confine_built() >> QB_CONFINE_USER & 1))
        return;
    prctl(PR_GET_PDEATHSIG, &with_parent);
    if (unshare(CLONE_THREAD) < 0) { /* only says whether there is one; others would stay outside */
        errno = errno == EINVAL ? EBUSY : errno;
        take(c, QB_CONFINE_USER, -1);
        take(c, QB_CONFINE_MOUNTS, -1);
        return;
    }
    if (may_become_another())
        enter_as_another(c);
    else
        enter_by_namespace(c);
    if (!with_parent)
        return;
    prctl(PR_SET_PDEATHSIG, with_parent); /* another user has none at first */
    if (getppid() != parent)
        raise(with_parent);
}

/* ---- whether it can be ----------------------------------------------------------------------- */

/* In a process of its own, as what is entered is not left again. */
static _Noreturn void try_and_tell(int out)
{
    struct qb_confinement c = {0};

    qb_confine_enter(&c);
    _exit(write(out, &c, sizeof(c)) == (ssize_t)sizeof(c) ? 0 : 1);
}

static ssize_t read_told(int fd, struct qb_confinement *told)
{
    ssize_t n;

    while ((n = read(fd, told, sizeof(*told))) < 0 && errno == EINTR)
        ;
    return n;
}

void qb_confine_try(struct qb_confinement *out)
{
    const unsigned both = 1u << QB_CONFINE_USER | 1u << QB_CONFINE_MOUNTS;
    struct qb_confinement told;
    int ends[2];
    pid_t pid;

    out->in_force |= qb_confine_built() & both;
    if (!(qb_confine_built() & both) || pipe2(ends, O_CLOEXEC) < 0)
        return;
    pid = qb_fork();
    if (pid == 0)
        try_and_tell(ends[1]);
    close(ends[1]);
    if (pid > 0 && read_told(ends[0], &told) == (ssize_t)sizeof(told)) {
        out->in_force &= told.in_force | ~both;
        out->errnum[QB_CONFINE_USER] = told.errnum[QB_CONFINE_USER];
        out->errnum[QB_CONFINE_MOUNTS] = told.errnum[QB_CONFINE_MOUNTS];
    }
    close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
