/* The choice, made from a topology and from nothing else: no thread is bound here and no file read.
 */
#include "host/topo.h"

#include <hwloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"

enum { WORKERS_MAX = 1024, WAITING_A_CORE = 4, WAITING_MOST = 16 };

/* What the choice is made from, while it is made. */
struct survey {
    hwloc_topology_t t;
    hwloc_obj_type_t unit;  /* what a worker gets: a core, or a CPU where cores are not known */
    hwloc_bitmap_t allowed; /* CPUs */
    hwloc_bitmap_t near;    /* the NUMA nodes of the disks */
    hwloc_obj_t at[QB_DISKS_MAX]; /* what of the machine each disk is attached to */
    size_t n_at;
};

/* A core that a worker may have. */
struct seat {
    hwloc_obj_t core;
    int nearness; /* depth of what it has in common with a disk */
};

/* ---- what is there --------------------------------------------------------------------------- */

static bool open_survey(hwloc_topology_t t, const char *allowed, struct survey *s)
{
    *s = (struct survey){.t = t, .allowed = hwloc_bitmap_alloc(), .near = hwloc_bitmap_alloc()};
    if (!s->allowed || !s->near)
        return false;
    s->unit = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    if (!allowed || hwloc_bitmap_list_sscanf(s->allowed, allowed) < 0)
        hwloc_bitmap_fill(s->allowed);
    hwloc_bitmap_and(s->allowed, s->allowed, hwloc_topology_get_allowed_cpuset(t));
    hwloc_bitmap_and(s->allowed, s->allowed, hwloc_topology_get_topology_cpuset(t));
    return true;
}

static void close_survey(struct survey *s)
{
    hwloc_bitmap_free(s->allowed);
    hwloc_bitmap_free(s->near);
}

static unsigned count(hwloc_topology_t t, hwloc_obj_type_t type)
{
    int n = hwloc_get_nbobjs_by_type(t, type); /* -1: at several depths */

    return (unsigned)QB_MAX(n, 0);
}

static hwloc_obj_t find_disk(hwloc_topology_t t, const char *name)
{
    hwloc_obj_t o = NULL;

    while ((o = hwloc_get_next_osdev(t, o)) != NULL)
        if (o->attr->osdev.type == HWLOC_OBJ_OSDEV_BLOCK && o->name && strcmp(o->name, name) == 0)
            return hwloc_get_non_io_ancestor_obj(t, o);
    return NULL;
}

/* A disk that hangs on the whole of a machine with several nodes is near to none of them. */
static void find_disks(struct survey *s, const struct qb_disks *disks)
{
    for (size_t i = 0; i < disks->n; i++) {
        hwloc_obj_t at = find_disk(s->t, disks->names[i]);

        if (!at || !at->nodeset ||
            (count(s->t, HWLOC_OBJ_NUMANODE) > 1 &&
             hwloc_bitmap_isequal(at->nodeset, hwloc_get_root_obj(s->t)->nodeset)))
            continue;
        hwloc_bitmap_or(s->near, s->near, at->nodeset);
        s->at[s->n_at++] = at;
    }
}

static void count_caches(hwloc_topology_t t, struct qb_topo_choice *out)
{
    for (unsigned level = 1; level <= 5; level++) {
        hwloc_obj_type_t type = (hwloc_obj_type_t)(HWLOC_OBJ_L1CACHE + (level - 1));
        struct qb_topo_cache cache = {.level = level, .count = count(t, type)};

        for (unsigned i = 0; i < cache.count; i++) {
            uint64_t bytes = hwloc_get_obj_by_type(t, type, i)->attr->cache.size;

            cache.bytes = QB_MAX(cache.bytes, bytes);
        }
        if (cache.count > 0)
            out->caches[out->n_caches++] = cache;
    }
}

static int list_of(hwloc_const_bitmap_t set, char **out)
{
    return hwloc_bitmap_list_asprintf(out, set) < 0 ? -1 : 0;
}

static int describe(const struct survey *s, struct qb_topo_choice *out)
{
    out->packages = count(s->t, HWLOC_OBJ_PACKAGE);
    out->nodes = count(s->t, HWLOC_OBJ_NUMANODE);
    out->cores = count(s->t, s->unit);
    out->cpus = count(s->t, HWLOC_OBJ_PU);
    out->cpus_allowed = (unsigned)hwloc_bitmap_weight(s->allowed);
    count_caches(s->t, out);
    if (s->n_at > 0 && list_of(s->near, &out->disk_nodes) < 0)
        return -1;
    return list_of(s->allowed, &out->allowed);
}

/* ---- seats ----------------------------------------------------------------------------------- */

/* The smaller the part of the machine that a core shares with a disk, the nearer it is. */
static int nearness(const struct survey *s, hwloc_obj_t core)
{
    int deepest = -1;

    for (size_t i = 0; i < s->n_at; i++) {
        int depth = hwloc_get_common_ancestor_obj(s->t, core, s->at[i])->depth;

        deepest = QB_MAX(deepest, depth);
    }
    return deepest;
}

static int nearest_first(const void *a, const void *b)
{
    const struct seat *x = a, *y = b;

    if (x->nearness != y->nearness)
        return x->nearness > y->nearness ? -1 : 1;
    return x->core->logical_index < y->core->logical_index ? -1 : 1;
}

/* The cores with at least one CPU of ours; their number, or -1 when memory is short. */
static int find_seats(const struct survey *s, struct seat **out)
{
    unsigned n = count(s->t, s->unit);
    int seats = 0;

    *out = calloc(QB_MAX(n, 1), sizeof(**out));
    for (unsigned i = 0; *out && i < n; i++) {
        hwloc_obj_t core = hwloc_get_obj_by_type(s->t, s->unit, i);

        if (hwloc_bitmap_intersects(core->cpuset, s->allowed))
            (*out)[seats++] = (struct seat){core, nearness(s, core)};
    }
    if (!*out)
        return -1;
    qsort(*out, (size_t)seats, sizeof(**out), nearest_first);
    return seats;
}

/* ---- the choice ------------------------------------------------------------------------------ */

unsigned qb_topo_cpus_of(uint32_t milli)
{
    return (unsigned)qb_max(qb_div_up(milli, 1000), 1);
}

static unsigned workers_for(const struct qb_topo_options *o, unsigned cores)
{
    unsigned most = (unsigned)QB_MIN(QB_MAX(o->jobs, 1), WORKERS_MAX), n;

    if (o->wanted > 0)
        return QB_MIN(o->wanted, most);
    n = qb_max(qb_min(cores, qb_topo_cpus_of(o->quota_milli)), 1);
    if (o->waits)
        n = QB_MAX(n, QB_MIN(n * WAITING_A_CORE, (unsigned)WAITING_MOST));
    return QB_MIN(n, most);
}

static int seat_workers(const struct qb_topo_options *o, struct qb_topo_choice *out)
{
    unsigned n = workers_for(o, out->cores_allowed);

    out->workers = calloc(n, sizeof(out->workers[0]));
    if (!out->workers)
        return -1;
    out->n_workers = n;
    for (unsigned i = 0; i < n; i++)
        out->workers[i] = (struct qb_topo_worker){.core = -1, .package = -1, .node = -1};
    return 0;
}

/* A worker stays on its core only if every core is ours: two runs that each bound a few workers
 * would meet on the same cores while others idle, and so would the groups that share a host. */
static enum qb_topo_bind binding(const struct qb_topo_options *o, const struct qb_topo_choice *c)
{
    if (c->n_workers < QB_TOPO_BIND_FROM || c->n_workers > c->cores_allowed)
        return QB_TOPO_FREE;
    if (c->n_workers == c->cores_allowed && o->quota_milli / 1000 >= c->cores_allowed)
        return QB_TOPO_TO_CORE;
    return c->nodes > 1 && c->disk_nodes ? QB_TOPO_TO_NODE : QB_TOPO_FREE;
}

static int seat_worker(const struct survey *s, hwloc_obj_t core, enum qb_topo_bind bind,
                       struct qb_topo_worker *w)
{
    hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(s->t, HWLOC_OBJ_PACKAGE, core);
    hwloc_obj_t node = NULL, home;
    hwloc_bitmap_t set;
    int os_node = core->nodeset ? hwloc_bitmap_first(core->nodeset) : -1, r;

    if (os_node >= 0)
        node = hwloc_get_numanode_obj_by_os_index(s->t, (unsigned)os_node);
    w->core = (int)core->logical_index;
    w->package = package ? (int)package->logical_index : -1;
    w->node = os_node;
    w->near = core->nodeset && hwloc_bitmap_intersects(core->nodeset, s->near);
    home = bind == QB_TOPO_TO_NODE && node ? node : core;
    if (bind == QB_TOPO_FREE)
        return 0;
    if (!(set = hwloc_bitmap_alloc()))
        return -1;
    hwloc_bitmap_and(set, home->cpuset, s->allowed);
    r = list_of(set, &w->cpus);
    hwloc_bitmap_free(set);
    return r;
}

static int choose_seats(struct survey *s, const struct qb_topo_options *o,
                        struct qb_topo_choice *out)
{
    QB_AUTO(qb_buf) struct seat *seats = NULL;
    int n, r = 0;

    find_disks(s, &o->disks);
    n = find_seats(s, &seats);
    if (n < 0 || describe(s, out) < 0)
        return -1;
    out->cores_allowed = (unsigned)n;
    if (seat_workers(o, out) < 0)
        return -1;
    out->bind = binding(o, out);
    for (unsigned i = 0; r == 0 && i < out->n_workers; i++) /* more than cores: round again */
        r = seat_worker(s, seats[i % (unsigned)n].core, out->bind, &out->workers[i]);
    return r;
}

/* A quarter of what each core has of the last cache: source, result and counts are in it too. */
static uint64_t window(const struct qb_topo_choice *c)
{
    const struct qb_topo_cache *last = c->n_caches ? &c->caches[c->n_caches - 1] : NULL;
    uint64_t share = last ? last->bytes * last->count / QB_MAX(c->cores, 1) / 4 : QB_WINDOW_BYTES;
    uint64_t bytes = QB_WINDOW_LEAST;

    while (bytes * 2 <= share && bytes < QB_WINDOW_BYTES)
        bytes *= 2;
    return bytes;
}

int qb_topo_choose(struct hwloc_topology *t, const struct qb_topo_options *o,
                   struct qb_topo_choice *out)
{
    struct survey s = {0};
    int r = -1;

    *out = (struct qb_topo_choice){0};
    if (t && open_survey(t, o->allowed, &s) && hwloc_bitmap_iszero(s.allowed))
        t = NULL; /* it cannot be this machine that it shows */
    if (t && s.allowed && s.near) {
        r = choose_seats(&s, o, out);
    } else if (!t) {
        out->cores = out->cpus = out->cores_allowed = out->cpus_allowed = QB_MAX(o->cpus, 1);
        r = seat_workers(o, out);
    }
    close_survey(&s);
    out->window_bytes = window(out);
    return r;
}

void qb_topo_choice_free(struct qb_topo_choice *c)
{
    for (unsigned i = 0; c->workers && i < c->n_workers; i++)
        free(c->workers[i].cpus);
    free(c->workers);
    free(c->allowed);
    free(c->disk_nodes);
    *c = (struct qb_topo_choice){0};
}
