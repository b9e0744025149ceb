#include "opener/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

const char *const qb_confine_names[QB_CONFINE_PARTS] = {
    "no_new_privs", "no_capabilities", "landlock", "seccomp",
    "no_core_file", "not_dumpable",    "own_user", "empty_root"};

const char *const qb_confine_words[QB_CONFINE_PARTS] = {"no new privileges",
                                                        "no capabilities",
                                                        "Landlock without any path",
                                                        "a filter of system calls",
                                                        "no core file",
                                                        "not to be traced",
                                                        "a user of its own",
                                                        "an empty mount namespace"};

#define ALL           (unsigned)((1 << QB_CONFINE_PARTS) - 1)
#define FOR_DEBUGGERS (1u << QB_CONFINE_CORE | 1u << QB_CONFINE_DUMPABLE)
#define FOR_THE_BLIND (1u << QB_CONFINE_USER | 1u << QB_CONFINE_MOUNTS)

unsigned qb_confine_built(void)
{
#ifdef SANITIZED
    return 0;
#elif defined(NDEBUG) || defined(__OPTIMIZE__)
    return ALL;
#else
    return ALL & ~FOR_DEBUGGERS;
#endif
}

unsigned qb_confine_wanted(bool blind)
{
    return qb_confine_built() & (blind ? ALL : ALL & ~FOR_THE_BLIND);
}

static void take(struct qb_confinement *c, enum qb_confine_part part, long failed)
{
    c->errnum[part] = failed ? errno : 0;
    if (failed)
        c->in_force &= ~(1u << part);
    else
        c->in_force |= 1u << part;
}

static bool is_built(enum qb_confine_part part)
{
    return qb_confine_built() >> part & 1;
}

/* ---- Landlock ---------------------------------------------------------------------------------
 * The rights and the struct by their numbers in the kernel's interface: older headers lack the
 * later ones.  All that a version knows is denied, for there is no rule that allows any of it. */

struct rights {
    uint64_t fs, net, scoped;
};

static unsigned landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return version > 0 ? (unsigned)version : 0;
}

static struct rights rights_of(unsigned version, size_t *size)
{
    unsigned fs_bits = version >= 5 ? 16 : version >= 3 ? 15 : version == 2 ? 14 : 13;
    struct rights rights = {.fs = (UINT64_C(1) << fs_bits) - 1};

    *size = sizeof(rights.fs);
    if (version >= 4) { /* bind and connect of TCP */
        rights.net = 3;
        *size += sizeof(rights.net);
    }
    if (version >= 6) { /* abstract sockets of others, signals to others */
        rights.scoped = 3;
        *size += sizeof(rights.scoped);
    }
    return rights;
}

static int restrict_paths(unsigned version)
{
    size_t size;
    struct rights rights = rights_of(version, &size);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &rights, size, 0), failed, errnum;

    if (fd < 0)
        return -1;
    failed = (int)syscall(SYS_landlock_restrict_self, fd, 0);
    errnum = errno;
    close(fd);
    errno = errnum;
    return failed;
}

/* ---- capabilities ---------------------------------------------------------------------------- */

static long drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return syscall(SYS_capset, &header, none);
}

/* ---- all ------------------------------------------------------------------------------------- */

void qb_confine_thread(struct qb_confinement *c)
{
    if (is_built(QB_CONFINE_PRIVILEGES))
        take(c, QB_CONFINE_PRIVILEGES, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    if (is_built(QB_CONFINE_LANDLOCK)) {
        c->landlock_version = landlock_version();
        take(c, QB_CONFINE_LANDLOCK, restrict_paths(c->landlock_version));
    }
    if (is_built(QB_CONFINE_CAPABILITIES))
        take(c, QB_CONFINE_CAPABILITIES, drop_capabilities());
}

void qb_confine_output(void)
{
    int null = is_built(QB_CONFINE_CORE) ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;

    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    if (null > STDERR_FILENO)
        close(null);
}

void qb_confine_process(struct qb_confinement *c, bool blind)
{
    const struct rlimit none = {0, 0};

    if (is_built(QB_CONFINE_CORE))
        take(c, QB_CONFINE_CORE, setrlimit(RLIMIT_CORE, &none));
    if (is_built(QB_CONFINE_DUMPABLE))
        take(c, QB_CONFINE_DUMPABLE, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    if (!is_built(QB_CONFINE_SECCOMP))
        return;
    errno = qb_confine_filter(blind);
    take(c, QB_CONFINE_SECCOMP, errno);
}

static long filter_is_offered(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;

    if (qb_confine_filter_is_known())
        return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
    errno = ENOSYS;
    return -1;
}

void qb_confine_find(struct qb_confinement *c)
{
    *c = (struct qb_confinement){.in_force = qb_confine_wanted(false),
                                 .landlock_version = landlock_version()};
    if (is_built(QB_CONFINE_LANDLOCK)) {
        errno = ENOSYS;
        take(c, QB_CONFINE_LANDLOCK, c->landlock_version == 0);
    }
    if (is_built(QB_CONFINE_SECCOMP))
        take(c, QB_CONFINE_SECCOMP, filter_is_offered());
}
