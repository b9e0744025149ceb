/* Which shard has which image, and which shard a process is: as functions. */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "shard/shard.h"
#include "unit.h"

enum { IMAGES = 40000 };

static uint64_t hash_of(unsigned i)
{
    char name[60];

    snprintf(name, sizeof(name), "/srv/vm/host-%02u/disk-%05u.qcow2", i % 97, i);
    return qb_shard_hash(name);
}

/* ---- who has it ------------------------------------------------------------------------------ */

/* Hosts with different versions must divide alike, for ever. */
static void the_division_is_the_one_of_all_versions(void)
{
    static const struct {
        const char *name;
        unsigned of, number;
    } known[] = {
        {"a.qcow2", 16, 10},
        {"/srv/vm/web-1.qcow2", 16, 13},
        {"/srv/vm/web-2.qcow2", 16, 6},
        {"/srv/vm/web-2.qcow2", 100, 6},
        {"", 7, 7},
    };

    for (size_t i = 0; i < UNIT_COUNT(known); i++)
        CU_ASSERT_EQUAL(qb_shard_of(qb_shard_hash(known[i].name), known[i].of), known[i].number);
}

static void each_image_has_one_shard(void)
{
    for (unsigned of = 1; of <= 40; of += 3)
        for (unsigned i = 0; i < 500 && !unit_has_enough(); i++) {
            unsigned owners = 0, number = qb_shard_of(hash_of(i), of);

            for (unsigned k = 1; k <= of; k++)
                if (qb_shard_has((struct qb_shard){k, of}, hash_of(i))) {
                    owners++;
                    CU_ASSERT_EQUAL(k, number);
                }
            CU_ASSERT_EQUAL(owners, 1);
        }
}

/* Of n images in k shards, the deviation is that of chance: 5 sigma. */
static void shards_are_of_one_size(void)
{
    static const unsigned ofs[] = {2, 3, 16, 100};

    for (size_t o = 0; o < UNIT_COUNT(ofs); o++) {
        unsigned counts[101] = {0};
        double mean = (double)IMAGES / ofs[o], worst = 0;

        for (unsigned i = 0; i < IMAGES; i++)
            counts[qb_shard_of(hash_of(i), ofs[o])]++;
        for (unsigned k = 1; k <= ofs[o]; k++) {
            double off = counts[k] - mean;

            worst = off * off > worst ? off * off : worst;
        }
        CU_ASSERT(worst <= 25 * mean);
    }
}

/* A shard more takes images from all the others, and nothing moves between these. */
static void one_shard_more_moves_its_share_and_nothing_else(void)
{
    for (unsigned of = 1; of < 100; of = of * 2 + 1) {
        unsigned moved = 0;

        for (unsigned i = 0; i < IMAGES && !unit_has_enough(); i++) {
            unsigned before = qb_shard_of(hash_of(i), of), after = qb_shard_of(hash_of(i), of + 1);

            CU_ASSERT(after == before || after == of + 1);
            moved += after != before;
        }
        CU_ASSERT(moved > 0.9 * IMAGES / (of + 1) && moved < 1.1 * IMAGES / (of + 1));
    }
}

/* ---- bases ----------------------------------------------------------------------------------- */

enum { N = 9 };

/* 0 and 1 are over 2, which is over 3; 4 is alone; 5, 6 and 7 are a loop, and 8 is above it. */
static const size_t chains[N] = {2, 2, 3, QB_SHARD_ALONE, QB_SHARD_ALONE, 6, 7, 5, 6};

static void an_image_goes_where_its_base_goes(void)
{
    uint64_t hashes[N];
    unsigned owner[N];

    for (unsigned of = 1; of <= 12; of++) {
        for (unsigned i = 0; i < N; i++) {
            hashes[i] = hash_of(of * 1000 + i);
            owner[i] = 0;
        }
        for (unsigned k = 1; k <= of; k++) {
            size_t base[N];
            bool mine[N];

            memcpy(base, chains, sizeof(base));
            qb_shard_divide((struct qb_shard){k, of}, N, hashes, base, mine);
            for (unsigned i = 0; i < N; i++) {
                CU_ASSERT(!mine[i] || owner[i] == 0);
                owner[i] = mine[i] ? k : owner[i];
            }
        }
        CU_ASSERT_EQUAL(owner[3], qb_shard_of(hashes[3], of));
        CU_ASSERT_EQUAL(owner[4], qb_shard_of(hashes[4], of));
        CU_ASSERT(owner[0] == owner[3] && owner[1] == owner[3] && owner[2] == owner[3]);
        CU_ASSERT(owner[5] && owner[5] == owner[6] && owner[6] == owner[7] && owner[7] == owner[8]);
        /* Of a loop the least hash decides, in whatever order a host names its images. */
        CU_ASSERT_EQUAL(owner[5], qb_shard_of(QB_MIN(QB_MIN(hashes[5], hashes[6]), hashes[7]), of));
    }
}

/* ---- "3/16", and the environment ------------------------------------------------------------- */

static const char *const *environment; /* names and values in turn, up to NULL */

static const char *get(const char *name)
{
    for (const char *const *e = environment; *e; e += 2)
        if (strcmp(e[0], name) == 0)
            return e[1];
    return NULL;
}

#define SLURM(id, min, max, step)                                                                  \
    {                                                                                              \
        "SLURM_ARRAY_TASK_ID", id, "SLURM_ARRAY_TASK_MIN", min, "SLURM_ARRAY_TASK_MAX", max,       \
            "SLURM_ARRAY_TASK_STEP", step                                                          \
    }
#define SGE(id, first, last, step)                                                                 \
    {                                                                                              \
        "SGE_TASK_ID", id, "SGE_TASK_FIRST", first, "SGE_TASK_LAST", last, "SGE_TASK_STEPSIZE",    \
            step                                                                                   \
    }

static const struct {
    const char *text;
    const char *environment[12];
    unsigned number, of; /* of = 0: refused ... */
    const char *words;   /* ... with these */
} texts[] = {
    {"3/16", {0}, 3, 16, ""},
    {"1/1", {0}, 1, 1, ""},
    {"65536/65536", {0}, 65536, 65536, ""},
    {"0/4", {0}, 0, 0, "of 4 shards, the number is 1 to 4"},
    {"5/4", {0}, 0, 0, "of 4 shards, the number is 1 to 4"},
    {"1/0", {0}, 0, 0, "1 to 65536 shards"},
    {"1/65537", {0}, 0, 0, "1 to 65536 shards"},
    {"3", {0}, 0, 0, "K/N, such as 3/16"},
    {"/4", {0}, 0, 0, "K/N, such as 3/16"},
    {"3/", {0}, 0, 0, "K/N, such as 3/16"},
    {"3/4/5", {0}, 0, 0, "K/N, such as 3/16"},
    {"-1/4", {0}, 0, 0, "K/N, such as 3/16"},
    {"autos", {0}, 0, 0, "K/N, such as 3/16"},
    {"auto", {0}, 0, 0, "no task of an array"},
    {"auto/16", {0}, 0, 0, "no task of an array"},
    {"auto/0", {"JOB_COMPLETION_INDEX", "0"}, 0, 0, "auto/N"},
    {"auto", SLURM("0", "0", "15", "1"), 1, 16, ""},
    {"auto", SLURM("7", "1", "7", "2"), 4, 4, ""},
    {"auto/4", SLURM("7", "1", "7", "2"), 4, 4, ""},
    {"auto/5", SLURM("7", "1", "7", "2"), 0, 0, "array of Slurm has 4 tasks"},
    {"auto", SLURM("6", "1", "7", "2"), 0, 0, "not one of 1 to 7 in steps of 2"},
    {"auto", SLURM("8", "1", "7", "1"), 0, 0, "not one of"},
    {"auto", SLURM("1", "1", "7", "0"), 0, 0, "not one of"},
    {"auto", SLURM("x", "1", "7", "1"), 0, 0, "SLURM_ARRAY_TASK_ID is not a number"},
    {"auto", {"SLURM_ARRAY_TASK_ID", "1"}, 0, 0, "SLURM_ARRAY_TASK_MIN is not in"},
    {"auto", SGE("10", "10", "30", "10"), 1, 3, ""},
    {"auto", SGE("30", "10", "30", "10"), 3, 3, ""},
    {"auto", SGE("undefined", "undefined", "undefined", "undefined"), 0, 0, "no task of an array"},
    {"auto/16", {"JOB_COMPLETION_INDEX", "0"}, 1, 16, ""},
    {"auto/16", {"JOB_COMPLETION_INDEX", "15"}, 16, 16, ""},
    {"auto/16", {"JOB_COMPLETION_INDEX", "16"}, 0, 0, "JOB_COMPLETION_INDEX: of 16 shards"},
    {"auto", {"JOB_COMPLETION_INDEX", "3"}, 0, 0, "write auto/N"},
    {"auto/16", {"JOB_COMPLETION_INDEX", "3", "SGE_TASK_ID", "1"}, 0, 0, "both"},
};

static void each_text_is_a_shard_or_refused_with_the_reason(void)
{
    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        struct qb_shard shard = {0};
        struct qb_why why = {0};
        bool ok;

        environment = texts[i].environment;
        ok = qb_shard_read(texts[i].text, get, &shard, &why);
        CU_ASSERT_EQUAL(ok, texts[i].of != 0);
        CU_ASSERT(shard.number == texts[i].number && shard.of == texts[i].of);
        CU_ASSERT(ok || strstr(why.text, texts[i].words));
        if (!ok && !strstr(why.text, texts[i].words))
            fprintf(stderr, "%s: %s\n", texts[i].text, why.text);
    }
}

/* sbatch --array=0,3,15: shards 2, 3, 5 ... would have no task. */
static void an_array_of_slurm_with_gaps_is_refused(void)
{
    static const char *const gaps[] = {"SLURM_ARRAY_TASK_ID",
                                       "3",
                                       "SLURM_ARRAY_TASK_MIN",
                                       "0",
                                       "SLURM_ARRAY_TASK_MAX",
                                       "15",
                                       "SLURM_ARRAY_TASK_STEP",
                                       "1",
                                       "SLURM_ARRAY_TASK_COUNT",
                                       "3",
                                       NULL};
    static const char *const whole[] = {"SLURM_ARRAY_TASK_ID",
                                        "3",
                                        "SLURM_ARRAY_TASK_MIN",
                                        "0",
                                        "SLURM_ARRAY_TASK_MAX",
                                        "15",
                                        "SLURM_ARRAY_TASK_STEP",
                                        "1",
                                        "SLURM_ARRAY_TASK_COUNT",
                                        "16",
                                        NULL};
    struct qb_shard shard = {0};
    struct qb_why why = {0};

    environment = gaps;
    CU_ASSERT_FALSE(qb_shard_read("auto", get, &shard, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "3 tasks for 16 numbers"));
    environment = whole;
    CU_ASSERT(qb_shard_read("auto", get, &shard, &why));
    CU_ASSERT(shard.number == 4 && shard.of == 16);
}

static void shards_of_one_division_have_nothing_in_common(void)
{
    const struct qb_shard all = {0}, a = {1, 4}, b = {2, 4}, c = {1, 5};

    CU_ASSERT(qb_shards_overlap(all, a) && qb_shards_overlap(a, all) && qb_shards_overlap(a, a));
    CU_ASSERT(qb_shards_overlap(a, c) && !qb_shards_overlap(a, b));
    CU_ASSERT(qb_shard_covers(all, a) && qb_shard_covers(a, a));
    CU_ASSERT(!qb_shard_covers(a, all) && !qb_shard_covers(a, b) && !qb_shard_covers(a, c));
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(the_division_is_the_one_of_all_versions),
        UNIT(each_image_has_one_shard),
        UNIT(shards_are_of_one_size),
        UNIT(one_shard_more_moves_its_share_and_nothing_else),
        UNIT(an_image_goes_where_its_base_goes),
        UNIT(each_text_is_a_shard_or_refused_with_the_reason),
        UNIT(an_array_of_slurm_with_gaps_is_refused),
        UNIT(shards_of_one_division_have_nothing_in_common),
    };

    return unit_main("shard", tests, UNIT_COUNT(tests));
}
