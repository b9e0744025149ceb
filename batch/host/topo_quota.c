/* CPU quotas of control groups.  A limit binds at every level above us, so the least of them
 * counts.  In a container the path in /proc may be the host's, which is not there: then the root of
 * the hierarchy, which is the container's own group, is what still answers. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "host/topo.h"

/* A folder's name, with space for that of a file in it. */
struct folder {
    char path[PATH_MAX];
    size_t len;
};

/* One number or two of a small file; how many there were. */
static int read_numbers(struct folder *in, const char *name, long long *a, long long *b)
{
    size_t room = sizeof(in->path) - in->len;
    int n = 0;
    FILE *f = NULL;

    if (snprintf(in->path + in->len, room, "/%s", name) < (int)room)
        f = fopen(in->path, "re");
    in->path[in->len] = '\0';
    if (f) {
        n = b ? fscanf(f, "%lld %lld", a, b) : fscanf(f, "%lld", a);
        fclose(f);
    }
    return QB_MAX(n, 0); /* "max 100000" is none, and so is EOF */
}

static uint32_t milli(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return QB_TOPO_NO_QUOTA; /* -1: none */
    if (quota / period >= UINT32_MAX / 1000)
        return QB_TOPO_NO_QUOTA;
    return (uint32_t)(quota / period * 1000 + quota % period * 1000 / period);
}

static uint32_t quota_v2(struct folder *in)
{
    long long quota, period;

    return read_numbers(in, "cpu.max", &quota, &period) == 2 ? milli(quota, period)
                                                             : QB_TOPO_NO_QUOTA;
}

static uint32_t quota_v1(struct folder *in)
{
    long long quota, period;

    return read_numbers(in, "cpu.cfs_quota_us", &quota, NULL) == 1 && quota > 0 &&
                   read_numbers(in, "cpu.cfs_period_us", &period, NULL) == 1
               ? milli(quota, period)
               : QB_TOPO_NO_QUOTA;
}

/* The least of a group ("/a/b") and those above it, where its hierarchy is mounted at
 * root/sys/fs/cgroup, or below it at `controllers`. */
static uint32_t least(const char *root, const char *controllers, const char *group,
                      uint32_t (*quota)(struct folder *in))
{
    struct folder in;
    int base = snprintf(in.path, sizeof(in.path), "%s/sys/fs/cgroup%s%s", root,
                        *controllers ? "/" : "", controllers);
    uint32_t r = QB_TOPO_NO_QUOTA;
    char *slash;

    if (base >= (int)sizeof(in.path))
        return r;
    in.len = (size_t)base;
    if (snprintf(in.path + base, sizeof(in.path) - in.len, "%s", group) <
        (int)(sizeof(in.path) - in.len))
        in.len += strlen(group);
    in.path[in.len] = '\0';
    while ((slash = strrchr(in.path + base, '/')) != NULL) {
        if (slash[1]) /* "/" is the mount itself */
            r = qb_min(r, quota(&in));
        *slash = '\0';
        in.len = (size_t)(slash - in.path);
    }
    return qb_min(r, quota(&in));
}

/* Whether "cpu" stands in "cpu,cpuacct". */
static bool has_cpu(const char *controllers)
{
    for (const char *s = controllers; *s; s += s[strcspn(s, ",")] ? strcspn(s, ",") + 1 : strlen(s))
        if (strncmp(s, "cpu", 3) == 0 && (s[3] == ',' || s[3] == '\0'))
            return true;
    return false;
}

/* One line of /proc/self/cgroup: "number:controllers:/group". */
static uint32_t quota_of_line(const char *root, char *line)
{
    char *controllers = strchr(line, ':'), *group;
    uint32_t r;

    line[strcspn(line, "\n")] = '\0';
    if (!controllers || !(group = strchr(++controllers, ':')))
        return QB_TOPO_NO_QUOTA;
    *group++ = '\0';
    if (!*controllers)
        return least(root, "", group, quota_v2);
    if (!has_cpu(controllers))
        return QB_TOPO_NO_QUOTA;
    r = least(root, controllers, group, quota_v1);
    return strcmp(controllers, "cpu") == 0 ? r : qb_min(r, least(root, "cpu", group, quota_v1));
}

uint32_t qb_topo_quota(const char *root)
{
    QB_AUTO(qb_buf) char *line = NULL;
    char path[PATH_MAX];
    uint32_t r = QB_TOPO_NO_QUOTA;
    size_t cap = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    f = fopen(path, "re");
    while (f && getline(&line, &cap, f) > 0) {
        uint32_t here = quota_of_line(root, line);

        r = QB_MIN(r, here);
    }
    if (f)
        fclose(f);
    return r;
}
