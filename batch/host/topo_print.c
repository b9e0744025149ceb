/* What --topology prints.  Two blocks of aligned lines and a table; scripts may rely on the words
 * in the first column. */
#include "util/text.h"
#include "host/topo.h"

static void label(FILE *f, const char *word)
{
    fprintf(f, "  %-15s", word);
}

/* 0 is what is not known. */
static void print_known(FILE *f, const char *word, unsigned n)
{
    label(f, word);
    if (n > 0)
        fprintf(f, "%u\n", n);
    else
        fputs("unknown\n", f);
}

static void print_allowed(FILE *f, const char *word, unsigned n, unsigned allowed)
{
    label(f, word);
    fprintf(f, "%u", n);
    if (allowed < n)
        fprintf(f, ", of which %u allowed", allowed);
    fputc('\n', f);
}

static void print_caches(FILE *f, const struct qb_topo_choice *c)
{
    char size[QB_TEXT_NUMBER];

    label(f, "caches");
    for (unsigned i = 0; i < c->n_caches; i++)
        fprintf(f, "%sL%u %s x %u", i ? ", " : "", c->caches[i].level,
                qb_text_size(c->caches[i].bytes, size), c->caches[i].count);
    fputs(c->n_caches ? "\n" : "unknown\n", f);
}

static void print_quota(FILE *f, uint32_t milli)
{
    label(f, "CPU quota");
    if (milli == QB_TOPO_NO_QUOTA)
        fputs("none\n", f);
    else if (milli % 1000 == 0)
        fprintf(f, "%u CPU%s\n", milli / 1000, milli == 1000 ? "" : "s");
    else
        fprintf(f, "%u.%03u CPUs\n", milli / 1000, milli % 1000);
}

static void print_disks(FILE *f, const struct qb_disks *disks)
{
    label(f, "disks");
    for (size_t i = 0; i < disks->n; i++) {
        fputs(i ? ", " : "", f);
        qb_text_safe(f, disks->names[i]);
    }
    fputs(disks->n ? "\n" : "unknown\n", f);
}

static void print_found(FILE *f, const struct qb_topo_options *o, const struct qb_topo_choice *c)
{
    fputs("Found\n", f);
    print_known(f, "packages", c->packages);
    print_known(f, "NUMA nodes", c->nodes);
    print_allowed(f, "cores", c->cores, c->cores_allowed);
    print_allowed(f, "CPUs", c->cpus, c->cpus_allowed);
    label(f, "CPUs allowed");
    fprintf(f, "%s\n", c->allowed ? c->allowed : "unknown");
    print_caches(f, c);
    print_quota(f, o->quota_milli);
    print_disks(f, &o->disks);
    label(f, "disks on node");
    fprintf(f, "%s\n", c->disk_nodes ? c->disk_nodes : "unknown");
}

static void print_worker(FILE *f, unsigned i, const struct qb_topo_worker *w)
{
    const int numbers[] = {w->core, w->package, w->node};

    fprintf(f, "  %6u", i);
    for (int k = 0; k < 3; k++)
        if (numbers[k] < 0)
            fprintf(f, "  %7s", "-");
        else
            fprintf(f, "  %7d", numbers[k]);
    fprintf(f, "  %-9s  %s\n", w->near ? "yes" : "no", w->cpus ? w->cpus : "any allowed");
}

void qb_topo_print(FILE *f, const struct qb_topo_options *o, const struct qb_topo_choice *c)
{
    static const char *const binds[] = {
        [QB_TOPO_FREE] = "no, the kernel places them",
        [QB_TOPO_TO_NODE] = "each to its NUMA node",
        [QB_TOPO_TO_CORE] = "each to its core",
    };
    char size[QB_TEXT_NUMBER];

    print_found(f, o, c);
    fputs("\nChosen\n", f);
    label(f, "workers");
    fprintf(f, "%u", c->n_workers);
    if (o->jobs != SIZE_MAX)
        fprintf(f, " for %zu image%s", o->jobs, o->jobs == 1 ? "" : "s");
    fprintf(f, "%s\n", o->wanted ? ", as wanted" : "");
    label(f, "window");
    fprintf(f, "%s each\n", qb_text_size(c->window_bytes, size));
    label(f, "bound");
    fprintf(f, "%s\n\n", binds[c->bind]);
    fprintf(f, "  %6s  %7s  %7s  %7s  %-9s  %s\n", "worker", "core", "package", "node", "near disk",
            "CPUs");
    for (unsigned i = 0; i < c->n_workers; i++)
        print_worker(f, i, &c->workers[i]);
}
