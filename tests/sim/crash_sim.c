/* Power loss at scale: random fleets are amended by the program's own waves on simulated disks, the
 * power is cut at every event, and each state that a disk may then hold is read by the tests' own
 * reader: it is the old image or the amended one, clean, with every guest's bytes, and the amended
 * one once that was reported; and running the amend again ends well.
 *
 *     crash-sim [--states N] [--seed S] [--only K] [--raw] [--without first|second|data]
 *
 * One seed is always the same fleets.  A violation is told with the fleet's number, for --only.
 * --raw: of raw disks that become images alone, which are one of ten else.  --without takes a
 * barrier away, in which case violations are what is expected.  Exit code 1 when there were any, 2
 * for a mistake in the arguments. */
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "fleet.h"
#include "undo_raw.h"

#define EVERY UINT64_MAX

struct arguments {
    uint64_t states, seed, only;
    enum host_lie lie;
    bool raw;
};

struct totals {
    uint64_t states, violations, fleets, images, amends, cuts, full_waves;
};

/* ---- what was amended: so that everybody sees what the figures are about --------------------- */

#define KIND(name, says)                                                                           \
    static bool name(const struct qb_result *r, const struct qb_info *was,                         \
                     const struct qb_info *is)                                                     \
    {                                                                                              \
        (void)r, (void)was, (void)is;                                                              \
        return says;                                                                               \
    }
/* Whether a bitmap got bits of others. */
static bool has_merged(const struct qb_result *r)
{
    for (unsigned i = 0; i < r->n_bitmaps_listed; i++)
        if (r->bitmaps_changed[i].changes & QB_BITMAP_CHANGE_MERGED)
            return true;
    return false;
}

KIND(up, is->version > was->version)
KIND(down, is->version < was->version)
KIND(grown, is->virtual_size > was->virtual_size)
KIND(shrunk, is->virtual_size < was->virtual_size)
KIND(other_width, is->refcount_bits != was->refcount_bits)
KIND(other_backing, strcmp(is->backing_file, was->backing_file) != 0)
KIND(lazy, is->lazy_refcounts != was->lazy_refcounts)
KIND(repaired, r->repaired)
KIND(expanded, r->clusters.expanded > 0)
KIND(without_bitmaps, r->bitmaps_dropped)
KIND(bitmap_verbs, r->n_bitmaps_changed > 0)
KIND(merged_bitmaps, has_merged(r))
KIND(given_back, r->reclaimed_bytes > 0)
KIND(with_snapshots, was->nb_snapshots > 0)
KIND(data_file, was->external_data_file)
KIND(raw_data_file, was->data_file_raw)
KIND(large_clusters, was->cluster_size > 65536)
KIND(raw_disk, r->converted)
KIND(converted, was->extended_l2 != is->extended_l2)

static struct {
    const char *name;
    bool (*is)(const struct qb_result *r, const struct qb_info *was, const struct qb_info *is);
    uint64_t n;
} kinds[] = {
    {"up", up, 0},
    {"down", down, 0},
    {"grown", grown, 0},
    {"shrunk", shrunk, 0},
    {"refcount width", other_width, 0},
    {"backing file", other_backing, 0},
    {"lazy refcounts", lazy, 0},
    {"repaired", repaired, 0},
    {"zero clusters expanded", expanded, 0},
    {"bitmaps dropped", without_bitmaps, 0},
    {"bitmaps changed", bitmap_verbs, 0},
    {"bitmaps merged", merged_bitmaps, 0},
    {"space given back", given_back, 0},
    {"with snapshots", with_snapshots, 0},
    {"with data files", data_file, 0},
    {"with raw ones", raw_data_file, 0},
    {"clusters above 64 KiB", large_clusters, 0},
    {"L2 entries of another size", converted, 0},
    {"raw disks", raw_disk, 0},
};
static uint64_t kept, kept_converted; /* with keep_undo; and these of another size */

static void count_kinds(const struct qb_result *r, const struct qb_request *rq)
{
    kept += rq->keep_undo;
    kept_converted += rq->keep_undo && !r->converted && converted(r, r->before, r->after);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (!r->converted || kinds[i].is == raw_disk)
            kinds[i].n += kinds[i].is(r, r->before, r->after);
}

static void print_kinds(void)
{
    printf("amends:");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        printf("%s %" PRIu64 " %s", i ? "," : "", kinds[i].n, kinds[i].name);
    printf(", %" PRIu64 " kept for an undo, and of these %" PRIu64 " of another size\n", kept,
           kept_converted);
}

/* ---- fleets ---------------------------------------------------------------------------------- */

static void tell(const struct arguments *a, uint64_t number, unsigned image, const struct judge *j)
{
    static const char *const without[] = {"", " --without first", " --without second",
                                          " --without data"};

    fprintf(stderr,
            "violation: fleet %" PRIu64 ", image %u: %s (%lu in all)\n"
            "  again: scripts/crash-sim --seed %" PRIu64 " --only %" PRIu64 "%s%s\n",
            number, image, j->first, j->violations, a->seed, number, a->raw ? " --raw" : "",
            without[a->lie]);
}

static void try_image(const struct arguments *a, uint64_t number, struct fleet *f,
                      const struct device *devices, unsigned i, struct totals *t)
{
    struct fleet_image *image = &f->images[i];
    unsigned tears = image->subject.heavy || f->n >= 100 ? 1 : f->n >= 20 ? 2 : 6;

    if (image->judge.amends) {
        count_kinds(&image->judge.run.result, &image->subject.rq);
        fleet_judge(f, i, &devices[i], 0, tears);
        undo_raw_judge(image);
    } else if (devices[i].n > 0) {
        judge_blame(&image->judge, "in its fleet", "something was written");
    }
    if (image->judge.violations)
        tell(a, number, i, &image->judge);
    t->images++;
    t->amends += image->judge.amends;
    t->cuts += devices[i].n + 1;
    t->states += image->judge.states;
    t->violations += image->judge.violations;
}

static void try_fleet(const struct arguments *a, uint64_t number, struct totals *t)
{
    struct host host = {.lie = a->lie};
    struct device *devices;
    struct fleet f;
    struct qb_err err;

    if (a->raw)
        fleet_make_raw(&f, a->seed * 1000003 + number);
    else
        fleet_make(&f, a->seed * 1000003 + number, 0);
    if (fleet_run(&f, &host, &err) < 0)
        abort();
    fleet_compare(&f);
    devices = devices_of(f.log, f.n);
    for (unsigned i = 0; i < f.n; i++)
        try_image(a, number, &f, devices, i, t);
    t->fleets++;
    t->full_waves += f.n > f.wave_max / 2 && f.wave_max == 512;
    devices_free(devices, f.n);
    fleet_free(&f);
}

/* ---- arguments ------------------------------------------------------------------------------- */

static bool read_number(const char *text, uint64_t *out)
{
    char *end;

    *out = strtoull(text, &end, 10);
    return end != text && !*end;
}

static bool read_lie(const char *text, enum host_lie *out)
{
    static const struct {
        const char *name;
        enum host_lie lie;
    } lies[] = {{"first", HOST_NO_FIRST_BARRIER},
                {"second", HOST_NO_SECOND_BARRIER},
                {"data", HOST_NO_DATA_BARRIER}};

    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++)
        if (strcmp(text, lies[i].name) == 0) {
            *out = lies[i].lie;
            return true;
        }
    return false;
}

static bool read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"states", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
        {"only", required_argument, NULL, 'k'},   {"without", required_argument, NULL, 'w'},
        {"raw", no_argument, NULL, 'r'},          {NULL, 0, NULL, 0},
    };
    bool ok = true;
    int c;

    while (ok && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'n')
            ok = read_number(optarg, &a->states);
        else if (c == 's')
            ok = read_number(optarg, &a->seed);
        else if (c == 'k')
            ok = read_number(optarg, &a->only);
        else if (c == 'r')
            a->raw = true;
        else
            ok = c == 'w' && read_lie(optarg, &a->lie);
    }
    return ok && optind == argc;
}

int main(int argc, char **argv)
{
    struct arguments a = {.states = 20000, .seed = 1, .only = EVERY};
    struct totals t = {0};
    double from = qb_now();

    if (!read_arguments(argc, argv, &a)) {
        fprintf(stderr, "usage: crash-sim [--states N] [--seed S] [--only FLEET] [--raw] "
                        "[--without first|second|data]\n");
        return 2;
    }
    mallopt(M_TRIM_THRESHOLD, 512 << 20); /* what one state gave back, the next one needs */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    amends_begin();
    if (a.only != EVERY)
        try_fleet(&a, a.only, &t);
    for (uint64_t i = 0; a.only == EVERY && t.states < a.states; i++)
        try_fleet(&a, i, &t);
    amends_end();
    print_kinds();
    printf("crash-sim: %" PRIu64 " states of %" PRIu64 " amends, %" PRIu64 " violations (%" PRIu64
           " images in %" PRIu64 " fleets, %" PRIu64 " of them full waves, cut at %" PRIu64
           " moments; seed %" PRIu64 ", %.1f s)\n",
           t.states, t.amends, t.violations, t.images, t.fleets, t.full_waves, t.cuts, a.seed,
           qb_now() - from);
    return t.violations ? 1 : 0;
}
