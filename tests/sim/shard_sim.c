/* Many hosts and many images, on a virtual clock: shards are killed at random and started again, as
 * a scheduler does it, and in the end every image must have been amended once, and the joined
 * report must say so.
 *
 * What is real: the division (shard.h), which each start of a shard computes anew from all names,
 * and the joining of reports (joined_shards.h).  What is modelled: time, and a journal that loses
 * what was written since its last sync when its shard is killed.  An image of which the record was
 * lost is looked at again and found as requested.
 *
 *     shard_sim [--hosts N] [--images N] [--kills PERCENT] [--seed N] [--without-bases] */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "job/job.h"
#include "record/joined_shards.h"
#include "shard/shard.h"

enum { SYNCED_EVERY = 128 /* images */, BASE_EVERY = 50, TRIES_MAX = 1000 };

struct image {
    unsigned amended; /* how often */
    bool recorded;    /* in the journal of its shard */
};

struct sim {
    unsigned hosts, kills;
    size_t n;
    uint64_t seed, dice;
    bool without_bases; /* a fault of the division, which must be found */
    struct image *images;
    uint64_t *hashes;
    size_t *base;
    struct qb_batch batch; /* a job for each line of a report */
    QB_VEC(struct qb_joined_line) lines;
    QB_VEC(struct qb_part) parts;
    QB_VEC(struct qb_origin *) origins;
    uint64_t starts, killed;
    double ended; /* seconds of the virtual clock */
};

static uint64_t roll(struct sim *s, uint64_t below)
{
    s->dice ^= s->dice << 13;
    s->dice ^= s->dice >> 7;
    s->dice ^= s->dice << 17;
    return s->dice % below;
}

static void die(const char *what)
{
    fprintf(stderr, "shard_sim: %s\n", what);
    exit(2);
}

static void name_of(const struct sim *s, size_t i, char name[80])
{
    snprintf(name, 80, "/srv/vm/%03zu/disk-%07zu.qcow2", i % s->hosts, i);
}

/* Every 50th image is the base of the 49 that follow it, and of an overlay of one of them. */
static void make_fleet(struct sim *s)
{
    s->images = calloc(s->n, sizeof(*s->images));
    s->hashes = calloc(s->n, sizeof(*s->hashes));
    s->base = calloc(s->n, sizeof(*s->base));
    if (!s->images || !s->hashes || !s->base)
        die("out of memory");
    for (size_t i = 0; i < s->n; i++) {
        char name[80];

        name_of(s, i, name);
        s->hashes[i] = qb_shard_hash(name);
        s->base[i] = i / BASE_EVERY % 2 || i % BASE_EVERY == 0 ? QB_SHARD_ALONE
                     : i % BASE_EVERY == 7                     ? i - 1
                                                               : i - i % BASE_EVERY;
    }
}

static void report(struct sim *s, size_t i, enum qb_status status)
{
    struct qb_request none;
    char name[80];

    qb_request_init(&none);
    name_of(s, i, name);
    if (!qb_batch_add(&s->batch, name, 0, &none) ||
        !qb_vec_push(&s->lines, (struct qb_joined_line){.part = s->parts.n - 1, .status = status}))
        die("out of memory");
    s->batch.jobs[s->batch.n_jobs - 1].dev = 1;
    s->batch.jobs[s->batch.n_jobs - 1].ino = i + 1;
}

static void begin_report(struct sim *s, unsigned number, double at)
{
    struct qb_origin *origin = calloc(1, sizeof(*origin));

    if (!origin || !qb_vec_push(&s->origins, origin))
        die("out of memory");
    origin->shard = (struct qb_shard){number, s->hosts};
    origin->started = 1 + floor(at);
    origin->host = strdup("host");
    if (!qb_vec_push(&s->parts, (struct qb_part){.name = "fleet", .origin = origin}))
        die("out of memory");
}

/* Which images the shard has, as each start of it finds out. */
static bool *divide(const struct sim *s, unsigned number)
{
    size_t *base = malloc(s->n * sizeof(*base));
    bool *mine = malloc(s->n);

    if (!base || !mine)
        die("out of memory");
    for (size_t i = 0; i < s->n; i++)
        base[i] = s->without_bases && number % 2 ? QB_SHARD_ALONE : s->base[i];
    qb_shard_divide((struct qb_shard){number, s->hosts}, s->n, s->hashes, base, mine);
    free(base);
    return mine;
}

/* One start of a shard, which may be killed at some image; what the journal has not synced is lost.
 */
static bool run_once(struct sim *s, unsigned number, double *at)
{
    bool *mine = divide(s, number);
    size_t owned = 0, dies_at = SIZE_MAX, seen = 0, unsynced[SYNCED_EVERY], n_unsynced = 0;

    for (size_t i = 0; i < s->n; i++)
        owned += mine[i];
    if (roll(s, 100) < s->kills && owned)
        dies_at = roll(s, owned);
    s->starts++;
    begin_report(s, number, *at);
    for (size_t i = 0; i < s->n && seen <= dies_at; i++) {
        struct image *m = &s->images[i];

        if (!mine[i])
            continue;
        if (seen++ == dies_at)
            break;
        *at += m->recorded ? 1e-6 : 0.001 + (double)roll(s, 1000) * 1e-5;
        report(s, i, m->amended ? QB_STATUS_UNCHANGED : QB_STATUS_CHANGED);
        m->amended += m->amended == 0; /* else it is found as requested */
        if (!m->recorded)
            unsynced[n_unsynced++] = i;
        if (n_unsynced == SYNCED_EVERY)
            while (n_unsynced > 0)
                s->images[unsynced[--n_unsynced]].recorded = true;
    }
    free(mine);
    if (dies_at != SIZE_MAX) {
        s->killed++;
        *at += 30 + (double)roll(s, 60); /* until it is queued again */
        return false;
    }
    while (n_unsynced > 0)
        s->images[unsynced[--n_unsynced]].recorded = true;
    s->parts.items[s->parts.n - 1].ended = true;
    return true;
}

static void run_all(struct sim *s)
{
    for (unsigned k = 1; k <= s->hosts; k++) {
        double at = (double)roll(s, 600);
        unsigned tries = 0;

        while (!run_once(s, k, &at))
            if (++tries == TRIES_MAX)
                die("a shard never ends");
        s->ended = at > s->ended ? at : s->ended;
    }
}

static size_t count_joined(const struct sim *s, size_t *changed)
{
    size_t lines = 0;

    *changed = 0;
    qb_vec_each (line, &s->lines) {
        lines += !line->left_out;
        *changed += !line->left_out && line->status == QB_STATUS_CHANGED;
    }
    return lines;
}

static int judge(struct sim *s)
{
    struct qb_joined_shards joined;
    size_t missed = 0, lines, changed;
    bool right;

    if (!qb_joined_shards_find(&joined, &s->batch, s->lines.items, s->lines.n, s->parts.items,
                               s->parts.n))
        die("out of memory");
    for (size_t i = 0; i < s->n; i++)
        missed += s->images[i].amended != 1;
    lines = count_joined(s, &changed);
    right = missed == 0 && lines == s->n && changed == s->n && joined.sentences.n == 0 &&
            joined.of == s->hosts && qb_joined_shards_exit_code(&joined, 0) == 0;
    printf("%u hosts, %zu images, seed %" PRIu64 ": %" PRIu64 " starts, %" PRIu64
           " killed, %zu lines reported, %zu joined, %zu changed, %zu not amended, %.0f s of the "
           "virtual clock: %s\n",
           s->hosts, s->n, s->seed, s->starts, s->killed, s->lines.n, lines, changed, missed,
           s->ended, right ? "right" : "WRONG");
    qb_vec_each (sentence, &joined.sentences)
        printf("  %s\n", *sentence);
    qb_joined_shards_free(&joined);
    return right ? 0 : 1;
}

static void release(struct sim *s)
{
    qb_vec_each (origin, &s->origins) {
        qb_origin_free(*origin);
        free(*origin);
    }
    qb_vec_free(&s->origins);
    qb_vec_free(&s->parts);
    qb_vec_free(&s->lines);
    qb_batch_free(&s->batch);
    free(s->images);
    free(s->hashes);
    free(s->base);
}

int main(int argc, char **argv)
{
    struct sim s = {.hosts = 20, .n = 20000, .kills = 40, .seed = 1};
    int code;

    for (int i = 1; i < argc; i++) {
        unsigned long long n = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;

        if (strcmp(argv[i], "--without-bases") == 0)
            s.without_bases = true;
        else if (n && strcmp(argv[i], "--hosts") == 0)
            s.hosts = (unsigned)n, i++;
        else if (n && strcmp(argv[i], "--images") == 0)
            s.n = (size_t)n, i++;
        else if (n && strcmp(argv[i], "--kills") == 0)
            s.kills = (unsigned)n, i++;
        else if (n && strcmp(argv[i], "--seed") == 0)
            s.seed = n, i++;
        else
            die("--hosts N, --images N, --kills PERCENT, --seed N or --without-bases is expected");
    }
    s.dice = s.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    qb_batch_init(&s.batch);
    make_fleet(&s);
    run_all(&s);
    code = judge(&s);
    release(&s);
    return code;
}
