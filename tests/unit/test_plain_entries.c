/* Tables counted run by run: as one would entry by entry, and up to the first odd one. */
#include <string.h>

#include "check/plain_entries.h"
#include "dice.h"
#include "qcow2/header.h"
#include "unit.h"

enum { ENTRIES = 512, ROUNDS = 4000, CLUSTER_BITS = 12, FILE_CLUSTERS = 1500 };

struct subject {
    struct qb_file file;
    struct qb_image img;
    struct qb_l2_table t;
    uint64_t entries[ENTRIES];
    uint8_t table[ENTRIES * 8];
};

/* Runs of clusters with and without flags, with zeros between and in them; near the file's end, and
 * sometimes past it, or with something odd. */
static uint64_t next_entry(struct dice *d, uint64_t last, unsigned mood)
{
    uint64_t place = (uint64_t)roll(d, FILE_CLUSTERS + (mood == 1)) << CLUSTER_BITS;

    switch (roll(d, 12 + (mood == 1 && roll(d, 30) == 0))) {
    case 0:
        return QB_ENTRY_ZERO;
    case 1:
        return 0;
    case 2:
        return place | QB_ENTRY_COPIED;
    case 3:
        return place;
    case 4:
        return place | QB_ENTRY_ZERO | (roll(d, 2) ? QB_ENTRY_COPIED : 0);
    case 5:
        return roll(d, 3) ? last : QB_ENTRY_COMPRESSED | (place + roll(d, 4096));
    case 6:
        return last ^ (roll(d, 8) ? 0 : QB_ENTRY_COPIED);
    case 12:
        return place | 1ull << roll(d, 64);
    default:
        return last > QB_ENTRY_ZERO ? last + (1u << CLUSTER_BITS) : last;
    }
}

/* Two runs that are followed, with zeros between their clusters; of each now and then a cluster is
 * left out.  A weave is mostly of one sort for a while: one run alone, both, or what reads zero. */
struct weave {
    uint64_t run[2];
    unsigned sort, left;
};

static uint64_t next_woven(struct dice *d, struct weave *w)
{
    unsigned which = w->sort < 2 ? w->sort : roll(d, 2);
    uint64_t entry;

    if (w->left-- == 0) {
        w->sort = roll(d, 5);
        w->left = roll(d, 200);
    }
    if (w->sort == 4 || (w->sort == 3 && roll(d, 3) == 0))
        return roll(d, 2);
    entry = w->run[which];
    w->run[which] += (uint64_t)(1 + (roll(d, 150) == 0)) << CLUSTER_BITS;
    return entry;
}

static struct subject roll_subject(struct dice *d)
{
    struct qb_header h = {.version = 3, .cluster_bits = CLUSTER_BITS, .refcount_order = 4};
    struct subject s = {.t = {.offset = 4096, .refs = 1 + roll(d, 2) * roll(d, 300)}};
    unsigned mood = roll(d, 4);
    uint64_t last = (uint64_t)roll(d, FILE_CLUSTERS) << CLUSTER_BITS;
    struct weave weave = {.left = 0};

    for (unsigned i = 0; i < 2; i++)
        weave.run[i] = (uint64_t)(1 + roll(d, FILE_CLUSTERS)) << CLUSTER_BITS |
                       (roll(d, 2) ? QB_ENTRY_COPIED : 0) | (roll(d, 8) ? 0 : QB_ENTRY_ZERO);
    s.file.size = ((uint64_t)FILE_CLUSTERS << CLUSTER_BITS) - roll(d, 2) * 512;
    s.t.active = roll(d, 2);
    qb_header_geom(&h, &s.img.geom);
    for (unsigned i = 0; i < ENTRIES; i++) {
        uint64_t entry = next_entry(d, last, mood);

        if (mood == 2 && i % 128 < 100)
            entry = i / 128 % 2;
        if (mood == 3)
            entry = next_woven(d, &weave);
        if (entry > QB_ENTRY_ZERO)
            last = entry;
        s.entries[i] = entry;
        qb_l2_put(&s.img.geom, s.table, i, entry);
    }
    return s;
}

/* What the entry names is no fault, or nothing. */
static bool is_plain(const struct subject *s, uint64_t entry)
{
    uint64_t offset = entry & QB_ENTRY_OFFSET;
    struct qb_compressed z = qb_l2_compressed(&s->img.geom, entry);

    if (entry <= QB_ENTRY_ZERO)
        return true;
    if (entry & QB_ENTRY_COMPRESSED)
        return !(entry & QB_ENTRY_COPIED) && z.offset < s->file.size &&
               (z.offset + z.available - 1) >> CLUSTER_BITS <= FILE_CLUSTERS;
    return !(entry & QB_L2_RESERVED) && offset && offset % (1u << CLUSTER_BITS) == 0 &&
           offset < s->file.size;
}

static void count_one(const struct subject *s, uint64_t entry, struct qb_counts *counts,
                      struct qb_table_note *note)
{
    uint64_t first = (entry & QB_ENTRY_OFFSET) >> CLUSTER_BITS, n = 1;
    unsigned marks = entry & QB_ENTRY_COPIED ? QB_MARK_COPIED : QB_MARK_PLAIN;

    if (entry & QB_ENTRY_COMPRESSED) {
        struct qb_compressed z = qb_l2_compressed(&s->img.geom, entry);

        first = z.offset >> CLUSTER_BITS;
        n = ((z.offset + z.available - 1) >> CLUSTER_BITS) - first + 1;
    }
    note->compressed += entry >> 62 & 1;
    note->zero_plain += entry == QB_ENTRY_ZERO;
    if (entry <= QB_ENTRY_ZERO)
        return;
    if (!(entry & QB_ENTRY_COMPRESSED))
        ++*(entry & QB_ENTRY_ZERO ? &note->zero_allocated : &note->data);
    if (entry & QB_ENTRY_COMPRESSED || !s->t.active)
        marks = 0;
    CU_ASSERT_EQUAL(qb_counts_add_data(counts, first, n, s->t.refs, marks, NULL), 0);
}

static void compare_counts(struct qb_counts *a, struct qb_counts *b)
{
    for (uint64_t i = 0; i < FILE_CLUSTERS + 10; i++)
        if (qb_counts_get(a, i) != qb_counts_get(b, i) ||
            qb_counts_marks(a, i) != qb_counts_marks(b, i)) {
            CU_FAIL("another count, or other marks");
            return;
        }
    CU_ASSERT_EQUAL(qb_counts_end(a), qb_counts_end(b));
}

static void tables_are_counted_as_entry_by_entry(void)
{
    struct dice d = dice_of(16);
    unsigned n_stopped = 0, n_compressed = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        struct subject s = roll_subject(&d);
        struct qb_counts by_run = {0}, by_entry = {0};
        struct qb_table_note note = {0}, wanted = {0};
        struct qb_plain_entries p = {&s.img, &by_run, {0}};
        uint64_t stop = 0, i = 0, first = 0;

        s.img.file = &s.file;
        for (; i < ENTRIES && is_plain(&s, s.entries[i]); i++) {
            if (s.entries[i] & QB_ENTRY_COMPRESSED && !first)
                first = s.t.offset + 8 * i;
            count_one(&s, s.entries[i], &by_entry, &wanted);
        }
        CU_ASSERT_EQUAL(qb_plain_count(&p, &s.t, s.table, 0, &note, &stop, NULL), 0);
        CU_ASSERT_EQUAL(stop, i);
        CU_ASSERT_EQUAL(memcmp(&note, &wanted, sizeof(note)), 0);
        CU_ASSERT_EQUAL(p.first_compressed.at, first);
        compare_counts(&by_run, &by_entry);
        n_stopped += i < ENTRIES;
        n_compressed += first != 0;
        qb_counts_free(&by_run);
        qb_counts_free(&by_entry);
    }
    CU_ASSERT(n_stopped > ROUNDS / 20 && n_stopped < ROUNDS / 20 * 19);
    CU_ASSERT(n_compressed > ROUNDS / 20);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(tables_are_counted_as_entry_by_entry),
    };

    return unit_main("plain_entries", tests, UNIT_COUNT(tests));
}
