/* This machine: asked no more than the work is worth, and workers bound as was chosen. */
#include "host/topo.h"

#include <hwloc.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/num.h"
#include "host/later.h"

enum {
    DISCOVER_FROM = 64, /* images: below, hwloc's discovery costs more than SMT siblings do */
    DISK_SAMPLES = 16,  /* images that are asked where they lie */
    WAITERS_A_CORE = 16,
};

struct qb_topo {
    hwloc_topology_t hwloc; /* NULL: not asked, or it does not know */
    hwloc_bitmap_t allowed; /* the affinity that this process was started with */
    struct qb_topo_options options;
    struct qb_topo_choice choice;
};

static unsigned cpus_of_affinity(void)
{
    cpu_set_t set;
    long online;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return (unsigned)qb_max(CPU_COUNT(&set), 1);
    online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1; /* more than 1,024 CPUs */
}

/* Spread over the batch, for its images may lie on several disks. */
static void find_disks(struct qb_disks *disks, const struct qb_batch *batch)
{
    size_t n = batch ? QB_MIN(batch->n_jobs, DISK_SAMPLES) : 0;

    for (size_t i = 0; i < n; i++)
        qb_disks_add_path(disks, "", batch->jobs[i * (batch->n_jobs / n)].path);
    if (!batch)
        qb_disks_add_path(disks, "", ".");
}

/* Everything that is ours or not, and of the devices only disks: PCI would be looked at one by
 * one. */
static hwloc_topology_t discover(void)
{
    hwloc_topology_t t;

    if (hwloc_topology_init(&t) < 0)
        return NULL;
    hwloc_topology_set_type_filter(t, HWLOC_OBJ_OS_DEVICE, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    hwloc_topology_set_flags(t, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    if (hwloc_topology_load(t) == 0)
        return t;
    hwloc_topology_destroy(t);
    return NULL;
}

/* Discovers and chooses. */
static int survey(struct qb_topo *topo)
{
    char *list = NULL;
    int r;

    topo->hwloc = discover();
    topo->allowed = hwloc_bitmap_alloc();
    if (topo->hwloc && topo->allowed &&
        hwloc_get_cpubind(topo->hwloc, topo->allowed, HWLOC_CPUBIND_THREAD) == 0 &&
        hwloc_bitmap_list_asprintf(&list, topo->allowed) >= 0)
        topo->options.allowed = list;
    r = qb_topo_choose(topo->hwloc, &topo->options, &topo->choice);
    topo->options.allowed = NULL;
    free(list);
    return r;
}

static struct qb_topo *new_topo(unsigned wanted, size_t jobs, bool waits)
{
    struct qb_topo *topo = calloc(1, sizeof(*topo));

    if (topo)
        topo->options = (struct qb_topo_options){.wanted = wanted,
                                                 .jobs = jobs,
                                                 .waits = waits,
                                                 .cpus = cpus_of_affinity(),
                                                 .quota_milli = qb_topo_quota("")};
    return topo;
}

/* Whether cores and nodes can make a difference: `topo` has been chosen for without them. */
static bool pays(const struct qb_topo *topo)
{
    const struct qb_topo_options *o = &topo->options;
    unsigned cpus = QB_MIN(topo->choice.n_workers, o->cpus);

    return cpus >= QB_TOPO_BIND_FROM || (o->wanted == 0 && cpus > 2 && o->jobs >= DISCOVER_FROM);
}

/* For one image no more is asked than what a process without rights cannot be told later. */
static struct qb_topo *topo_of_one(unsigned wanted)
{
    struct qb_topo *topo = calloc(1, sizeof(*topo));

    if (topo) {
        topo->options.quota_milli = wanted ? QB_TOPO_NO_QUOTA : qb_topo_quota("");
        topo->options.jobs = 1;
        topo->options.wanted = wanted;
        topo->choice.n_workers = 1;
        topo->choice.window_bytes = QB_WINDOW_BYTES;
    }
    return topo;
}

static struct qb_topo *open_for(unsigned wanted, const struct qb_batch *batch, bool waits)
{
    struct qb_topo *topo;

    if (batch->n_jobs <= 1)
        return topo_of_one(wanted);
    topo = new_topo(wanted, batch->n_jobs, waits);
    if (topo && qb_topo_choose(NULL, &topo->options, &topo->choice) == 0 && pays(topo)) {
        qb_topo_choice_free(&topo->choice);
        find_disks(&topo->options.disks, batch);
        survey(topo);
    }
    if (!topo || topo->choice.n_workers > 0)
        return topo;
    qb_topo_close(topo);
    return NULL;
}

struct qb_topo *qb_topo_open(unsigned wanted, const struct qb_batch *batch)
{
    return open_for(wanted, batch, false);
}

struct qb_topo *qb_topo_open_waiting(unsigned wanted, const struct qb_batch *batch)
{
    return open_for(wanted, batch, true);
}

void qb_topo_unbind(const struct qb_topo *topo)
{
    if (topo && topo->choice.bind != QB_TOPO_FREE && topo->allowed)
        hwloc_set_cpubind(topo->hwloc, topo->allowed, HWLOC_CPUBIND_THREAD);
}

void qb_topo_close(struct qb_topo *topo)
{
    if (!topo)
        return;
    qb_topo_unbind(topo);
    qb_topo_choice_free(&topo->choice);
    hwloc_bitmap_free(topo->allowed);
    if (topo->hwloc)
        hwloc_topology_destroy(topo->hwloc);
    free(topo);
}

unsigned qb_topo_workers(const struct qb_topo *topo)
{
    return topo ? topo->choice.n_workers : 1;
}

unsigned qb_topo_threads(const struct qb_topo *topo)
{
    unsigned cores;

    if (!topo || topo->options.wanted)
        return topo ? topo->options.wanted : 1;
    cores = topo->choice.cores_allowed ? topo->choice.cores_allowed : cpus_of_affinity();
    return qb_min(cores, qb_topo_cpus_of(topo->options.quota_milli));
}

unsigned qb_topo_waiters(const struct qb_topo *topo)
{
    bool none = topo == NULL || topo->options.wanted > 0 || topo->options.jobs <= 1;

    return none ? 0 : qb_min(WAITERS_A_CORE * qb_topo_threads(topo), (unsigned)QB_LATER_THREADS);
}

uint64_t qb_topo_window(const struct qb_topo *topo)
{
    return topo ? topo->choice.window_bytes : QB_WINDOW_BYTES;
}

void qb_topo_bind(const struct qb_topo *topo, unsigned worker)
{
    const char *cpus = topo && topo->choice.workers && worker < topo->choice.n_workers
                           ? topo->choice.workers[worker].cpus
                           : NULL;
    hwloc_bitmap_t set = cpus ? hwloc_bitmap_alloc() : NULL;

    if (set && hwloc_bitmap_list_sscanf(set, cpus) == 0)
        hwloc_set_cpubind(topo->hwloc, set, HWLOC_CPUBIND_THREAD);
    hwloc_bitmap_free(set);
}

int qb_topo_show(FILE *f, unsigned wanted, const struct qb_batch *batch)
{
    struct qb_topo *topo = new_topo(wanted, batch ? batch->n_jobs : SIZE_MAX, false);
    int r = -1;

    if (topo && qb_topo_choose(NULL, &topo->options, &topo->choice) == 0) {
        /* A run that is too small to ask hwloc keeps the number that it chose without. */
        topo->options.wanted = pays(topo) ? wanted : topo->choice.n_workers;
        qb_topo_choice_free(&topo->choice);
        find_disks(&topo->options.disks, batch);
        r = survey(topo);
        topo->options.wanted = wanted;
    }
    if (r == 0)
        qb_topo_print(f, &topo->options, &topo->choice);
    if (topo)
        topo->choice.bind = QB_TOPO_FREE; /* nothing was bound */
    qb_topo_close(topo);
    return r;
}

unsigned qb_topo_version(void)
{
    return hwloc_get_api_version();
}
