#include "batch/topo.h"

#include <hwloc.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/own.h"

enum {
    BIND_FROM = 8,      /* workers: below, the scheduler does as well */
    DISCOVER_FROM = 64, /* images: below, hwloc's discovery costs more than SMT siblings do */
};

struct qb_topo {
    hwloc_topology_t hwloc;
};

static unsigned cpus_allowed(void)
{
    cpu_set_t set;
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return (unsigned)QB_MAX(CPU_COUNT(&set), 1);
    return online > 0 ? (unsigned)online : 1; /* more than 1,024 CPUs */
}

/* The group's path behind "0::" in /proc/self/cgroup; "" outside of version 2. */
static void cgroup_path(char *out, size_t size)
{
    QB_AUTO(qb_buf) char *line = NULL;
    size_t cap = 0;
    FILE *f = fopen("/proc/self/cgroup", "re");

    out[0] = '\0';
    while (f && getline(&line, &cap, f) > 0)
        if (strncmp(line, "0::/", 4) == 0)
            snprintf(out, size, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    if (f)
        fclose(f);
}

/* CPUs that one cpu.max file grants, rounded up; UINT32_MAX for no limit. */
static unsigned quota_of(const char *group)
{
    char path[4200];
    unsigned long long quota, period;
    unsigned cpus = UINT32_MAX;
    FILE *f;

    snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group);
    f = fopen(path, "re");
    if (!f)
        return cpus;
    if (fscanf(f, "%llu %llu", &quota, &period) == 2 && period > 0)
        cpus = (unsigned)QB_MIN(QB_MAX(qb_div_up(quota, period), 1), UINT32_MAX);
    fclose(f);
    return cpus;
}

/* A limit binds at every level above us, so the least of them counts. */
static unsigned cpus_of_quota(void)
{
    char group[4096];
    unsigned cpus;
    char *slash;

    cgroup_path(group, sizeof(group));
    cpus = quota_of(group);
    while ((slash = strrchr(group, '/')) != NULL) {
        *slash = '\0';
        cpus = QB_MIN(cpus, quota_of(group));
    }
    return cpus;
}

static hwloc_topology_t discover(void)
{
    hwloc_topology_t t;

    if (hwloc_topology_init(&t) < 0)
        return NULL;
    hwloc_topology_set_all_types_filter(t, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
    hwloc_topology_set_io_types_filter(t, HWLOC_TYPE_FILTER_KEEP_NONE);
    if (hwloc_topology_load(t) == 0)
        return t;
    hwloc_topology_destroy(t);
    return NULL;
}

/* Cores with at least one CPU of ours; 0 when hwloc does not know. */
static unsigned cores_allowed(void)
{
    hwloc_topology_t t = discover();
    hwloc_bitmap_t ours = hwloc_bitmap_alloc();
    unsigned cores = 0;

    if (t && ours && hwloc_get_cpubind(t, ours, HWLOC_CPUBIND_PROCESS) == 0) {
        int n = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE);

        for (int i = 0; i < n; i++)
            cores += hwloc_bitmap_intersects(
                hwloc_get_obj_by_type(t, HWLOC_OBJ_CORE, (unsigned)i)->cpuset, ours);
    }
    hwloc_bitmap_free(ours);
    if (t)
        hwloc_topology_destroy(t);
    return cores;
}

unsigned qb_topo_workers(unsigned wanted, size_t jobs)
{
    unsigned most = (unsigned)QB_MIN(QB_MAX(jobs, 1), 1024), cpus, cores;

    if (wanted > 0 || most == 1)
        return wanted > 0 ? QB_MIN(wanted, most) : 1;
    cpus = QB_MIN(cpus_allowed(), cpus_of_quota());
    if (cpus > 2 && jobs >= DISCOVER_FROM && (cores = cores_allowed()) > 0)
        cpus = QB_MIN(cpus, cores);
    return QB_MIN(cpus, most);
}

struct qb_topo *qb_topo_open(unsigned workers)
{
    struct qb_topo *topo;
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    if (workers < BIND_FROM || online < 0 || cpus_allowed() < (unsigned long)online ||
        cpus_of_quota() < (unsigned long)online)
        return NULL;
    topo = calloc(1, sizeof(*topo));
    if (!topo || !(topo->hwloc = discover()) ||
        hwloc_get_nbobjs_by_type(topo->hwloc, HWLOC_OBJ_CORE) < (int)workers) {
        qb_topo_close(topo);
        return NULL;
    }
    return topo;
}

void qb_topo_close(struct qb_topo *topo)
{
    if (topo && topo->hwloc)
        hwloc_topology_destroy(topo->hwloc);
    free(topo);
}

void qb_topo_bind(const struct qb_topo *topo, unsigned worker)
{
    hwloc_obj_t core = topo ? hwloc_get_obj_by_type(topo->hwloc, HWLOC_OBJ_CORE, worker) : NULL;

    if (core)
        hwloc_set_cpubind(topo->hwloc, core->cpuset, HWLOC_CPUBIND_THREAD);
}
