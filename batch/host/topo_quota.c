/* CPU quotas of control groups.  A limit binds at every level above us, so the least of them
 * counts.  In a container the path in /proc may be the host's, which is not there: then the root of
 * the hierarchy, which is the container's own group, is what still answers. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "host/topo.h"

/* One number or two of a small file; how many there were. */
static int read_numbers(const char *folder, const char *name, long long *a, long long *b)
{
    char path[2 * PATH_MAX];
    int n = 0;
    FILE *f;

    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return 0;
    f = fopen(path, "re");
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

static uint32_t quota_v2(const char *folder)
{
    long long quota, period;

    return read_numbers(folder, "cpu.max", &quota, &period) == 2 ? milli(quota, period)
                                                                 : QB_TOPO_NO_QUOTA;
}

static uint32_t quota_v1(const char *folder)
{
    long long quota, period;

    return read_numbers(folder, "cpu.cfs_quota_us", &quota, NULL) == 1 &&
                   read_numbers(folder, "cpu.cfs_period_us", &period, NULL) == 1
               ? milli(quota, period)
               : QB_TOPO_NO_QUOTA;
}

/* The least of a group ("/a/b") and those above it, where its hierarchy is mounted at `mount`. */
static uint32_t least(const char *mount, const char *group, uint32_t (*quota)(const char *folder))
{
    char folder[2 * PATH_MAX];
    size_t base = strlen(mount);
    uint32_t r;
    char *slash;

    if (snprintf(folder, sizeof(folder), "%s%s", mount, group) >= (int)sizeof(folder))
        return quota(mount);
    r = quota(folder);
    while ((slash = strrchr(folder + base, '/')) != NULL) {
        *slash = '\0';
        r = QB_MIN(r, quota(folder));
    }
    return r;
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
    char mount[PATH_MAX], *controllers = strchr(line, ':'), *group;
    uint32_t r;

    line[strcspn(line, "\n")] = '\0';
    if (!controllers || !(group = strchr(++controllers, ':')))
        return QB_TOPO_NO_QUOTA;
    *group++ = '\0';
    snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup", root);
    if (!*controllers)
        return least(mount, group, quota_v2);
    if (!has_cpu(controllers))
        return QB_TOPO_NO_QUOTA;
    snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/%s", root, controllers);
    r = least(mount, group, quota_v1);
    snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/cpu", root);
    return QB_MIN(r, least(mount, group, quota_v1));
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
