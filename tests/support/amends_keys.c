/* Keys of random requests that came later than the rest: each is drawn of other dice, so that the
 * rest of a subject stays what it was without. */
#include "amends_keys.h"

#include <stdio.h>

#include "base/num.h"

void amends_random_snapshots(uint64_t seed, struct qb_request *rq)
{
    struct dice d = dice_of(seed + 0x534e4150);

    if (roll(&d, 4))
        return;
    rq->set |= QB_KEY_SNAPSHOTS;
    if (roll(&d, 2))
        rq->snapshots_delete = roll(&d, 2) ? amends_even_names : amends_every_name;
    if (roll(&d, 3) == 0)
        rq->snapshots_older_than = 1 + roll(&d, 6);
    if (roll(&d, 3) == 0 || (!rq->snapshots_delete.n && !rq->snapshots_older_than))
        rq->snapshots_keep_newest = 1 + roll(&d, 3);
    rq->now = 1700000006;
}

static const struct qb_bitmap_rename new_names[] = {{FIRST, "first"}, {SECOND, "second"}};
static const struct qb_bitmap_add added[] = {
    {"coarse", 8192, false}, {"fine", 512, true}, {"coarsest", 1 << 20, true}};
static const char *const first_two[] = {FIRST, SECOND}, *const a_second[] = {SECOND},
                         *const a_coarse[] = {"coarse"},
                         *const of_three[] = {"*1", "co*", "[!f]*2"};
static const struct qb_bitmap_merge merges[] = {{{first_two, 2}, "coarse"},
                                                {{a_second, 1}, "coarsest"},
                                                {{a_coarse, 1}, "fine"},
                                                {{a_coarse, 1}, "coarsest"}};

void amends_random_bitmaps(uint64_t seed, unsigned n, struct qb_request *rq)
{
    struct dice d = dice_of(seed + 0x42495453);
    unsigned kind = roll(&d, 8);

    if (kind >= 4)
        return;
    rq->set |= QB_KEY_BITMAPS;
    if (kind == 0)
        rq->bitmaps_rename = (struct qb_bitmap_renames){new_names, qb_min(n, 1 + roll(&d, 2))};
    else if (kind < 3)
        rq->bitmaps_add = (struct qb_bitmap_adds){added, 3};
    if (kind == 2 && n > 1)
        rq->bitmaps_merge = (struct qb_bitmap_merges){merges, 1 + roll(&d, 4)};
    if (kind == 3 && roll(&d, 2))
        rq->bitmaps_remove = (struct qb_name_list){of_three, 1};
    if (roll(&d, 4) == 0)
        rq->bitmaps_clear = (struct qb_name_list){of_three, 1 + roll(&d, 3)};
    if (roll(&d, 4) == 0)
        rq->bitmaps_enable = (struct qb_name_list){of_three + 1, 2};
    if (roll(&d, 4) == 0)
        rq->bitmaps_disable = (struct qb_name_list){of_three, 2};
}

void amends_random_preallocation(uint64_t seed, struct qb_request *rq, uint64_t size)
{
    static const char *const modes[] = {"metadata", "falloc", "full"};
    struct dice d = dice_of(seed + 0x414c4c4f);
    const char *mode = rq->zero_method == QB_ZEROED_HOLE ? "metadata" : modes[roll(&d, 3)];

    if (roll(&d, 3) || (rq->zero_clusters != QB_ZERO_ALLOCATE && roll(&d, 8)))
        return;
    rq->set |= QB_KEY_PREALLOCATION;
    rq->preallocation = roll(&d, 10) ? mode : "full";
    amends_fill_small_only(rq, size);
}

void amends_random_data_request(struct dice *d, struct qb_request *rq)
{
    if (rq->compat == 2 && roll(d, 12))
        rq->set &= ~(unsigned)QB_KEY_COMPAT;
    if (roll(d, 12))
        rq->set &= ~(unsigned)QB_KEY_PREALLOCATION;
    if (roll(d, 4) == 0) {
        rq->set |= QB_KEY_DATA_FILE;
        rq->data_file = roll(d, 4) ? "/nowhere/random.raw" : DATA_NAME;
    }
    if (roll(d, 4) == 0) {
        rq->set |= QB_KEY_DATA_FILE_RAW;
        rq->data_file_raw = roll(d, 2);
    }
    if (roll(d, 3) == 0) {
        rq->set |= QB_KEY_EXTENDED_L2;
        rq->extended_l2 = roll(d, 2);
    }
}

void amends_random_reclaim(uint64_t seed, struct qb_request *rq)
{
    struct dice d = dice_of(~seed * 3);

    if (roll(&d, 4))
        return;
    rq->set |= QB_KEY_RECLAIM;
    rq->reclaim_zeros = !(rq->set & QB_KEY_PREALLOCATION) && roll(&d, 2);
    rq->reclaim_free = !rq->reclaim_zeros || roll(&d, 2);
    rq->reclaim_compact = !rq->keep_undo && roll(&d, 2);
    rq->reclaim_reserved = roll(&d, 2);
}

void amends_random_extended(uint64_t seed, struct image_shape *s)
{
    struct dice d = dice_of(seed + 0x45585444);
    unsigned more = s->cluster_bits < 14 ? 14 - s->cluster_bits : 0;

    if (s->version != 3 || s->cluster_bits > 14 || roll(&d, 5))
        return;
    s->cluster_bits += more;
    s->size = (s->size & ~UINT64_C(511)) << more | (s->size & 511);
    if (roll(&d, 4) == 0) /* VM state moves by more than its own reach */
        s->size += roll(&d, 3) * (UINT64_C(17) << 20);
    s->extended_l2 = roll(&d, 2);
}

void amends_random_mixtures(uint64_t seed, char *script)
{
    struct dice d = dice_of(seed + 0x4d495854);
    bool any = roll(&d, 2);

    for (char *at = script; *at && any; at++) {
        if (at > script && at[-1] == 'V')
            continue;
        if (*at == 'Z' && roll(&d, 2))
            *at = 'i';
        else if (*at == 'z' && roll(&d, 4) == 0)
            *at = 'p';
    }
}

void amends_random_subclusters(uint64_t seed, struct image_shape *s)
{
    struct dice d = dice_of(seed + 0x53554243);

    if (s->cluster_bits > 15 || roll(&d, 4))
        return;
    s->cluster_bits = 14 + roll(&d, 2);
    s->size = 512ull * (1 + roll(&d, 500)) + (s->size & 511);
    s->data_cut %= (uint32_t)s->size;
    s->extended_l2 = true;
}

void amends_random_end(uint64_t seed, const struct image_shape *s, char *script, size_t room)
{
    struct dice d = dice_of(seed + 0x454e4453);
    unsigned last = (unsigned)(s->size >> s->cluster_bits);

    if (s->size % (1u << s->cluster_bits) && roll(&d, 4))
        snprintf(script, room, " @%u%c", last, roll(&d, 4) ? 'p' : 'i');
}

void amends_random_kept(uint64_t seed, const struct image_shape *s, struct qb_request *rq)
{
    struct dice d = dice_of(seed + 0x4b455054);

    if (s->cluster_bits == 14 && roll(&d, 2)) {
        rq->set |= QB_KEY_EXTENDED_L2;
        rq->extended_l2 = !s->extended_l2;
        if (rq->extended_l2 && rq->compat == 2)
            rq->set &= ~(unsigned)QB_KEY_COMPAT;
    }
    rq->keep_undo = roll(&d, 3) == 0;
}
