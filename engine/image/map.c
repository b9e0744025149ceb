#include "image/map.h"

#include "io/crew.h"
#include "image/reads.h"

/* A walk in guest order reads a table once; tables that are named many times would make a few
 * megabytes of L1 entries cost terabytes of reads.  The factor allows for file systems that
 * compress. */
#define WALKED_PER_ALLOCATED 64u
#define WALKED_AT_LEAST      (64ull << 20)

void qb_map_init(struct qb_map *map, const struct qb_image *img)
{
    map->img = img;
    map->l1.first = map->l1.end = map->l2.first = map->l2.end = 0;
    map->last = map->walked = 0;
    map->ahead.entered = map->ahead.at = map->ahead.asked = 0;
}

/* Loads the piece of the table [table, end) that holds the byte `at`. */
static int fetch(struct qb_io *io, const struct qb_map *map, struct qb_map_piece *p, uint64_t table,
                 uint64_t end, uint64_t at, const char *what, struct qb_err *err)
{
    uint64_t first = table + (at - table) / QB_MAP_PIECE * QB_MAP_PIECE;
    uint64_t stop = QB_MIN(first + QB_MAP_PIECE, end);

    if (p->first == first && p->end == stop)
        return 0;
    p->first = p->end = 0;
    if (qb_io_read(io, map->img->file, first, p->words, stop - first, what, err) < 0)
        return -1;
    p->first = first;
    p->end = stop;
    return 0;
}

static uint64_t word_at(const struct qb_map_piece *p, uint64_t at)
{
    return be64_get(p->words[(at - p->first) / 8]);
}

/* Whether the data cluster is a hole of the file, so that it reads zero, like most clusters of an
 * image with preallocated metadata.  An encrypted one does not read zero. */
static bool is_hole(const struct qb_map *map, uint64_t entry)
{
    const struct qb_geom *g = &map->img->geom;
    uint64_t offset = entry & QB_ENTRY_OFFSET;

    return map->img->header.crypt_method == 0 && !g->external_data &&
           offset % g->cluster_size == 0 &&
           qb_file_is_hole(map->img->file, offset, g->cluster_size);
}

/* Why QEMU answers a read of what the entry maps, the cluster at guest byte `guest`, with EIO;
 * NULL: it does not.  A host cluster matters even where all of its subclusters read zero. */
static const char *why_unreadable(const struct qb_image *img, uint64_t entry, uint64_t bitmap,
                                  uint64_t guest)
{
    const struct qb_geom *g = &img->geom;
    enum qb_kind kind = qb_l2_kind(g, entry);
    uint64_t offset = entry & QB_ENTRY_OFFSET;

    if (kind == QB_COMPRESSED)
        return g->external_data ? "a compressed cluster cannot lie in a data file" : NULL;
    if (img->header.version == 2 && (kind == QB_ZERO_PLAIN || kind == QB_ZERO_ALLOCATED))
        return "version 2 has no zero clusters";
    if ((kind == QB_DATA || kind == QB_ZERO_ALLOCATED) &&
        (offset % g->cluster_size || (g->external_data && offset != guest)))
        return "its host cluster is misplaced";
    if ((bitmap >> QB_SUBCLUSTERS & bitmap) || (kind != QB_DATA && (uint32_t)bitmap))
        return "its subclusters contradict the entry or each other";
    return NULL;
}

/* What the entry at byte `at` of the file shows, which maps the cluster at guest byte `guest`. */
static enum qb_shows shows_of(const struct qb_map *map, uint64_t at, uint64_t guest)
{
    const struct qb_geom *g = &map->img->geom;
    uint64_t entry = word_at(&map->l2, at);
    uint64_t bitmap = g->l2_entry_size == 16 ? word_at(&map->l2, at + 8) : 0;

    if (why_unreadable(map->img, entry, bitmap, guest))
        return QB_SHOWS_ERROR;
    switch (qb_l2_kind_of(g, entry, bitmap)) {
    case QB_ZERO_PLAIN:
    case QB_ZERO_ALLOCATED:
        return QB_SHOWS_ZERO;
    case QB_DATA:
        return is_hole(map, entry) ? QB_SHOWS_ZERO : QB_SHOWS_DATA;
    case QB_COMPRESSED:
    case QB_PARTIAL:
        return QB_SHOWS_DATA;
    case QB_UNALLOCATED:
    case QB_IDLE:
        break;
    }
    return QB_SHOWS_BELOW;
}

/* Guest byte `offset` advanced to entry `n` of a table whose first entry maps `base`. */
static uint64_t guest_at(uint64_t base, uint64_t n, uint64_t bytes, uint64_t limit)
{
    return n > (limit - base) / bytes ? limit : QB_MIN(base + n * bytes, limit);
}

static int note_walked(struct qb_map *map, struct qb_err *err)
{
    const struct qb_file *file = map->img->file;
    uint64_t held = file->mem ? file->size : file->allocated_at_open;

    map->walked += QB_MAP_PIECE;
    if (map->walked / WALKED_PER_ALLOCATED <= held + WALKED_AT_LEAST)
        return 0;
    return qb_fail(err, QB_E_CORRUPT, map->l2.first,
                   "L2 tables of %s are used for many parts of the disk", file->path);
}

/* How far runs reach: over all that shows the same, or over one entry, or equal ones that name no
 * place. */
enum reach { OVER_ALIKE, OVER_ENTRY };

static bool is_equal(const struct qb_map *map, uint64_t at, const struct qb_map_run *run)
{
    return word_at(&map->l2, at) == run->entry &&
           (map->img->geom.l2_entry_size == 8 || word_at(&map->l2, at + 8) == run->bitmap);
}

static bool goes_on(const struct qb_map *map, uint64_t at, uint64_t guest,
                    const struct qb_map_run *run, enum reach reach)
{
    if (reach == OVER_ALIKE)
        return shows_of(map, at, guest) == run->shows;
    return !(run->entry & ~QB_ENTRY_ZERO) && (run->bitmap == 0 || run->bitmap == QB_ALL_ZERO) &&
           is_equal(map, at, run);
}

/* The run at `offset` within the L2 table. */
static int run_in_table(struct qb_io *io, struct qb_map *map, uint64_t table, uint64_t offset,
                        uint64_t limit, enum reach reach, struct qb_map_run *run,
                        struct qb_err *err)
{
    const struct qb_geom *g = &map->img->geom;
    uint64_t base = offset - offset % g->l1_span, end = table + g->cluster_size, before, guest;
    uint64_t at = table + offset % g->l1_span / g->cluster_size * g->l2_entry_size;
    uint64_t data = qb_file_next_data(map->img->file, at);

    *run = (struct qb_map_run){.shows = QB_SHOWS_BELOW};
    if (data >= at + g->l2_entry_size) { /* these entries lie in a hole */
        data = QB_MIN(data, end);
        run->end = guest_at(base, (data - table) / g->l2_entry_size, g->cluster_size, limit);
        return 0;
    }
    before = map->l2.first;
    if (fetch(io, map, &map->l2, table, end, at, "an L2 table", err) < 0 ||
        (map->l2.first != before && note_walked(map, err) < 0))
        return -1;
    guest = offset - offset % g->cluster_size;
    if (reach == OVER_ALIKE)
        run->shows = shows_of(map, at, guest);
    run->entry = word_at(&map->l2, at);
    run->bitmap = g->l2_entry_size == 16 ? word_at(&map->l2, at + 8) : 0;
    run->why = why_unreadable(map->img, run->entry, run->bitmap, guest);
    do {
        at += g->l2_entry_size;
        guest += g->cluster_size;
    } while (at < map->l2.end && goes_on(map, at, guest, run, reach));
    run->end = guest_at(base, (at - table) / g->l2_entry_size, g->cluster_size, limit);
    return 0;
}

/* ---- read ahead ------------------------------------------------------------------------------ */

/* Tables that the piece of the L1 table names, from `first` of the L1 table on. */
struct coming {
    const struct qb_map *map;
    uint64_t first;
};

/* A qb_place_fn; 0 also where the entry does not lead to a table. */
static uint64_t place_of_table(const void *list, size_t i)
{
    const struct coming *c = list;
    const struct qb_image *img = c->map->img;
    uint64_t at = img->header.l1_offset + 8 * (c->first + i);
    uint64_t table = word_at(&c->map->l1, at) & QB_ENTRY_OFFSET, cs = img->geom.cluster_size;

    return table % cs == 0 && qb_range_ok(table, cs, 1, img->file->size) ? table : 0;
}

/* Asks for as many as are worth it, and for the next ones where the walk is in the middle of these.
 */
static void ask_for(struct qb_map *map, uint64_t first, uint64_t end)
{
    const struct qb_image *img = map->img;
    struct coming coming = {map, first};
    size_t most = QB_MAX(QB_READ_AHEAD / img->geom.cluster_size, 2), n = 0, i = 0;
    struct qb_file part;

    map->ahead.at = end;
    for (; i < end - first && n < most; i++)
        if (place_of_table(&coming, i) && ++n == most / 2)
            map->ahead.at = first + i;
    map->ahead.asked = first + i;
    if (n == 0)
        return;
    part = qb_file_part(img->file); /* what it remembers of holes is not ahead */
    qb_reads_ahead(&part, img->geom.cluster_size, place_of_table, &coming, 0, i);
    qb_file_add_part(img->file, &part);
}

/* The walk enters a table: number `index` of the L1 table, whose piece is loaded.  Who reads here
 * and there, or backwards, gets nothing ahead. */
static void enter(struct qb_map *map, uint64_t index)
{
    uint64_t before = map->ahead.entered;
    uint64_t end = (map->l1.end - map->img->header.l1_offset) / 8;

    map->ahead.entered = index + 1;
    if (before == 0 || index + 1 < before)
        map->ahead.at = map->ahead.asked = 0;
    else if (index + 1 > before && index >= map->ahead.at)
        ask_for(map, QB_MAX(map->ahead.asked, index + 1), end);
}

/* The run at `offset` if the L1 table has no L2 table for it; else *table is set. */
static int run_in_l1(struct qb_io *io, struct qb_map *map, uint64_t offset, uint64_t limit,
                     uint64_t *table, struct qb_map_run *run, struct qb_err *err)
{
    const struct qb_image *img = map->img;
    const struct qb_geom *g = &img->geom;
    uint64_t index = offset / g->l1_span, first = img->header.l1_offset, data;
    uint64_t end = first + 8ull * img->header.l1_size, at = first + 8 * index;

    *run = (struct qb_map_run){.shows = QB_SHOWS_BELOW, .end = limit};
    *table = 0;
    if (index >= img->header.l1_size || qb_image_l1_is_past_end(img, first))
        return 0;
    data = qb_min(qb_file_next_data(img->file, at), end);
    if (data < at + 8) {
        if (fetch(io, map, &map->l1, first, end, at, "an L1 table", err) < 0)
            return -1;
        *table = word_at(&map->l1, at) & QB_ENTRY_OFFSET;
        if (*table &&
            (*table % g->cluster_size || !qb_range_ok(*table, g->cluster_size, 1, img->file->size)))
            return qb_fail(err, QB_E_CORRUPT, at, "L1 entry %llu points to no L2 table",
                           (unsigned long long)index);
        if (*table)
            enter(map, index);
        for (data = at; data < map->l1.end && (word_at(&map->l1, data) & QB_ENTRY_OFFSET) == 0;)
            data += 8;
    }
    if (data < end)
        run->end = guest_at(0, (data - first) / 8, g->l1_span, limit);
    return 0;
}

static int run_once(struct qb_io *io, struct qb_map *map, uint64_t offset, uint64_t limit,
                    enum reach reach, struct qb_map_run *run, struct qb_err *err)
{
    uint64_t table;

    if (run_in_l1(io, map, offset, limit, &table, run, err) < 0)
        return -1;
    return table ? run_in_table(io, map, table, offset, limit, reach, run, err) : 0;
}

/* To be called before each run. */
static int begin(struct qb_map *map, uint64_t offset, struct qb_err *err)
{
    const struct qb_image *img = map->img;

    if (!qb_range_ok(img->header.l1_offset, img->header.l1_size, 8, img->file->size) &&
        !qb_image_l1_is_past_end(img, img->header.l1_offset))
        return qb_fail(err, QB_E_CORRUPT, img->header.l1_offset,
                       "the L1 table of %s ends past the end of the file", img->file->path);
    if (offset < map->last)
        map->walked = 0;
    map->last = offset;
    return 0;
}

int qb_map_entry(struct qb_io *io, struct qb_map *map, uint64_t offset, uint64_t limit,
                 struct qb_map_run *run, struct qb_err *err)
{
    if (begin(map, offset, err) < 0)
        return -1;
    return run_once(io, map, offset, limit, OVER_ENTRY, run, err);
}

int qb_map_run(struct qb_io *io, struct qb_map *map, uint64_t offset, uint64_t limit,
               struct qb_map_run *run, struct qb_err *err)
{
    if (begin(map, offset, err) < 0 || run_once(io, map, offset, limit, OVER_ALIKE, run, err) < 0)
        return -1;
    while (run->shows == QB_SHOWS_BELOW && run->end < limit) {
        struct qb_map_run next;

        if (qb_io_go_on(io, err) < 0 ||
            run_once(io, map, run->end, limit, OVER_ALIKE, &next, err) < 0)
            return -1;
        if (next.shows != QB_SHOWS_BELOW)
            break;
        run->end = next.end;
    }
    return 0;
}
