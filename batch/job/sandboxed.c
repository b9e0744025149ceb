#include "job/sandboxed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *const qb_sandbox_names[] = {"auto", "off", "strict"};

static void add(char *out, const char *before, const char *text)
{
    size_t used = strlen(out);

    snprintf(out + used, QB_SANDBOX_TEXT - used, "%s%s", before, text);
}

const char *qb_sandbox_text(const struct qb_sandboxed *s, char out[QB_SANDBOX_TEXT])
{
    unsigned in_force = s->applies ? s->got.in_force : 0;
    char version[32];

    out[0] = '\0';
    for (unsigned i = 0; i < QB_CONFINE_PARTS; i++)
        if (in_force >> i & 1)
            add(out, out[0] ? ", " : "", qb_confine_words[i]);
    if (in_force >> QB_CONFINE_LANDLOCK & 1) {
        snprintf(version, sizeof(version), " (Landlock's version %u)", s->got.landlock_version);
        add(out, "", version);
    }
    if (!out[0])
        add(out, "nothing", "");
    if (s->why_not) {
        add(out, ": ", s->why_not);
    }
    return out;
}

static const char *why(int errnum)
{
    switch (errnum) {
    case ENOSYS:
    case EINVAL:
        return "this kernel has none";
    case EOPNOTSUPP:
        return "it was not enabled when this kernel started";
    default:
        return strerror(errnum);
    }
}

static const char *why_no_namespace(int errnum)
{
    switch (errnum) {
    case EPERM:
    case EACCES:
        return "this host or container lets the caller make no such namespace";
    case ENOSPC:
        return "user.max_user_namespaces or user.max_mnt_namespaces permits no more";
    case EINVAL:
        return "the root directory is not a mount point, as in a chroot";
    default:
        return why(errnum);
    }
}

const char *qb_sandbox_lack(const struct qb_confinement *got, enum qb_sandbox policy,
                            char out[QB_SANDBOX_TEXT])
{
    unsigned lacking = qb_confine_wanted(policy == QB_SANDBOX_STRICT) & ~got->in_force;

    out[0] = '\0';
    for (unsigned i = 0; i < QB_CONFINE_PARTS; i++) {
        if (!(lacking >> i & 1))
            continue;
        add(out, out[0] ? "; without " : "without ", qb_confine_words[i]);
        add(out, ": ",
            i == QB_CONFINE_USER || i == QB_CONFINE_MOUNTS ? why_no_namespace(got->errnum[i])
                                                           : why(got->errnum[i]));
    }
    return out[0] ? out : NULL;
}
