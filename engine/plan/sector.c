#include "plan/sector.h"

#include <string.h>

/* The combinations of optional parts that are tried, best first. */
struct layout {
    uint32_t header_length;
    bool feature_names;
    bool name_inside; /* the backing name lies in the sector too */
};

struct composer {
    const struct qb_image *img;
    struct qb_target *t;
    bool drop_bitmaps; /* the extension as the image has it */
    bool name_stays;   /* it lies at or after byte 512 already, and does not change */
};

static bool keeps(const struct composer *c, const struct layout *l, const struct qb_ext *e)
{
    switch (e->type) {
    case QB_EXT_END:
    case QB_EXT_BACKING_FORMAT: /* written first, apart */
        return false;
    case QB_EXT_FEATURE_NAMES:
        return l->feature_names && c->t->header.version == 3;
    case QB_EXT_BITMAPS:
        return !c->drop_bitmaps;
    case QB_EXT_DATA_FILE:
        return !c->t->data_name_changes;
    default:
        return true;
    }
}

static bool writes_bitmaps(const struct composer *c)
{
    return c->t->bitmaps_change && c->t->bitmaps.n;
}

static uint64_t ext_space(const struct composer *c, const struct layout *l)
{
    uint64_t n = sizeof(struct qb_disk_ext); /* the end marker */

    if (c->t->backing_fmt[0])
        n += qb_ext_space((uint32_t)strlen(c->t->backing_fmt));
    if (writes_bitmaps(c))
        n += qb_ext_space(sizeof(struct qb_disk_bitmaps_ext));
    if (c->t->data_name_changes)
        n += qb_ext_space((uint32_t)strlen(c->t->data_name));
    for (size_t i = 0; i < c->img->exts.n; i++)
        if (keeps(c, l, &c->img->exts.items[i]))
            n += qb_ext_space(c->img->exts.items[i].len);
    return n;
}

/* Whether extensions that must be moved exceed a sector, so that the open image has not kept them.
 */
static bool lacks_some(const struct composer *c, const struct layout *l)
{
    const bool *left_out = c->img->exts_left_out;

    return left_out[QB_EXT_CLASS_OTHER] || (left_out[QB_EXT_CLASS_BITMAPS] && !c->drop_bitmaps) ||
           (left_out[QB_EXT_CLASS_FEATURES] && l->feature_names && c->t->header.version == 3);
}

static void put_exts(const struct composer *c, const struct layout *l, uint8_t *at)
{
    size_t fmt_len = strlen(c->t->backing_fmt);

    /* The backing format goes first: older libvirt finds only the first extension. */
    if (fmt_len) {
        qb_ext_put(at, QB_EXT_BACKING_FORMAT, c->t->backing_fmt, (uint32_t)fmt_len);
        at += qb_ext_space((uint32_t)fmt_len);
    }
    if (c->t->data_name_changes) {
        uint32_t len = (uint32_t)strlen(c->t->data_name);

        qb_ext_put(at, QB_EXT_DATA_FILE, c->t->data_name, len);
        at += qb_ext_space(len);
    }
    for (size_t i = 0; i < c->img->exts.n; i++) {
        const struct qb_ext *e = &c->img->exts.items[i];

        if (keeps(c, l, e)) {
            qb_ext_put(at, e->type, e->data, e->len);
            at += qb_ext_space(e->len);
        }
    }
    if (writes_bitmaps(c)) {
        const struct qb_disk_bitmaps_ext ext = {
            .nb_bitmaps = be32_of(c->t->bitmaps.n),
            .directory_size = be64_of(c->t->bitmaps.directory_size),
            .directory_offset = be64_of(c->t->bitmaps.directory_offset),
        };

        qb_ext_put(at, QB_EXT_BITMAPS, &ext, sizeof(ext));
        at += qb_ext_space(sizeof(ext));
    }
    qb_ext_put(at, QB_EXT_END, NULL, 0);
}

/* Offset in the header cluster, past sector 0, of `len` bytes that the old image does not use; 0 if
 * there are none. */
static uint64_t free_past_sector(const struct qb_image *img, uint64_t len)
{
    uint64_t used = qb_round_up(img->head_used, 8);

    return qb_range_ok(used, len, 1, img->geom.cluster_size) ? used : 0;
}

/* Places a name that fits in neither of the two parts of a small header cluster across the end of
 * the sector: its beginning is committed with the sector, the rest is written before, in bytes that
 * the old image does not use. */
static bool straddle(const struct composer *c, uint64_t ext_end, uint64_t len,
                     struct qb_sector *out)
{
    uint64_t inside = ext_end < QB_SECTOR ? QB_SECTOR - ext_end : 0;

    if (!inside || len <= inside || c->img->head_used > QB_SECTOR ||
        !qb_range_ok(ext_end, len, 1, c->img->geom.cluster_size))
        return false;
    c->t->header.backing_offset = ext_end;
    memcpy(out->bytes + ext_end, c->t->backing_name, inside);
    out->name_at = QB_SECTOR;
    out->name_len = len - inside;
    out->name = c->t->backing_name + inside;
    return true;
}

/* Leaves a name that does not change where it is, across the end of the sector. */
static bool stay(const struct composer *c, uint64_t ext_end, struct qb_sector *out)
{
    uint64_t at = c->img->header.backing_offset;

    if (c->t->name_changes || at < ext_end || at >= QB_SECTOR)
        return false;
    c->t->header.backing_offset = at;
    memcpy(out->bytes + at, c->img->head + at, QB_SECTOR - at);
    return true;
}

/* Places the backing name for an extension area that ends at `ext_end`: false when it cannot. */
static bool place_name(const struct composer *c, uint64_t ext_end, bool inside,
                       struct qb_sector *out)
{
    struct qb_header *h = &c->t->header;
    uint64_t len = strlen(c->t->backing_name);

    h->backing_len = (uint32_t)len;
    h->backing_offset = 0;
    out->name_at = 0;
    if (len == 0)
        return inside;
    if (inside && ext_end + len > QB_SECTOR)
        return false;
    if (inside) {
        h->backing_offset = ext_end;
        memcpy(out->bytes + ext_end, c->t->backing_name, len);
        return true;
    }
    if (c->name_stays) {
        h->backing_offset = c->img->header.backing_offset;
        return true;
    }
    out->name_at = h->backing_offset = free_past_sector(c->img, len);
    out->name_len = len;
    out->name = c->t->backing_name;
    return out->name_at != 0 || straddle(c, ext_end, len, out) || stay(c, ext_end, out);
}

static bool try_layout(const struct composer *c, const struct layout *l, struct qb_sector *out)
{
    uint64_t end = l->header_length + ext_space(c, l);

    if (end > QB_SECTOR || lacks_some(c, l))
        return false;
    memset(out->bytes, 0, QB_SECTOR);
    if (c->t->header.version == 3 && c->img->header.version == 3)
        memcpy(out->bytes, c->img->head, QB_MIN(l->header_length, c->img->header.header_length));
    if (!place_name(c, end, l->name_inside, out))
        return false;
    c->t->header.header_length = l->header_length;
    put_exts(c, l, out->bytes + l->header_length);
    qb_header_encode(&c->t->header, out->bytes);
    return true;
}

/* Copies the sector with other header fields, when neither the extension area nor the name changes.
 */
static void patch(const struct composer *c, struct qb_sector *out)
{
    memcpy(out->bytes, c->img->head, QB_SECTOR);
    out->name_at = 0;
    qb_header_encode(&c->t->header, out->bytes);
}

/* An end marker may have a length; QEMU ignores it, but requires it to end before the backing name:
 * if the name moves, the length becomes 0.  False if the marker is not in the sector. */
static bool clear_end_length(const struct qb_image *img, uint8_t *sector)
{
    const struct qb_disk_ext none = {{{0}}, {{0}}};
    uint64_t at = img->ext_end - sizeof(none);

    if (img->ext_end_len == 0)
        return true;
    if (img->ext_end > QB_SECTOR)
        return false;
    memcpy(sector + at, &none, sizeof(none));
    return true;
}

/* Only the name changes, and the extensions end in an end marker inside the sector or past it. */
static bool rename_only(const struct composer *c, struct qb_sector *out)
{
    uint64_t end = c->img->ext_end, len = strlen(c->t->backing_name);

    memcpy(out->bytes, c->img->head, QB_SECTOR);
    if (end == 0 || !clear_end_length(c->img, out->bytes))
        return false;
    if (end <= QB_SECTOR && end + len <= QB_SECTOR)
        memset(out->bytes + end, 0, QB_SECTOR - end);
    if (!place_name(c, end, len == 0 || end + len <= QB_SECTOR, out))
        return false;
    qb_header_encode(&c->t->header, out->bytes);
    return true;
}

static int rebuild(struct composer *c, struct qb_sector *out, struct qb_err *err)
{
    const struct qb_header *old = &c->img->header;
    bool typed = c->t->header.compression_type; /* a field that 104 bytes do not have */
    uint32_t full = c->t->header.version == 2 ? QB_V2_HEADER_LENGTH
                    : old->version == 2       ? QB_V3_HEADER_LENGTH
                    : old->header_length % 8  ? QB_V3_HEADER_LENGTH
                    : typed                   ? QB_MAX(old->header_length, QB_V3_HEADER_LENGTH)
                                              : old->header_length;
    uint32_t least =
        old->version == 2 && !typed && c->t->header.version == 3 ? QB_V3_HEADER_LENGTH_MIN : full;
    const struct layout layouts[] = {
        {full, true, true},   {full, false, true},  {full, true, false},
        {full, false, false}, {least, false, true}, {least, false, false},
    };

    for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)
        if (try_layout(c, &layouts[i], out))
            return 0;
    return qb_fail(
        err, QB_E_HEADER_FULL, QB_SECTOR,
        "the header has no room for the names of backing and data file and the extensions: what "
        "changes has to fit in its first sector, or past what it uses now");
}

int qb_sector_compose(const struct qb_image *img, struct qb_target *t, bool drop_stale_bitmaps,
                      struct qb_sector *out, struct qb_err *err)
{
    const struct qb_ext *bitmaps = qb_ext_find(&img->exts, QB_EXT_BITMAPS);
    bool goes_down =
        t->header.version == 2 && img->header.version != 2; /* QEMU warns of it there */
    bool stale = bitmaps && !(img->header.autoclear & QB_AUTOCLEAR_BITMAPS) &&
                 (drop_stale_bitmaps || goes_down);
    struct composer c = {
        .img = img,
        .t = t,
        .drop_bitmaps = t->bitmaps_change || stale,
        .name_stays = !t->name_changes && img->header.backing_offset >= QB_SECTOR,
    };

    *out = (struct qb_sector){.name_at = 0};
    if (t->exts_change || c.drop_bitmaps)
        return rebuild(&c, out, err);
    if (t->name_changes && !rename_only(&c, out))
        return rebuild(&c, out, err);
    if (!t->name_changes)
        patch(&c, out);
    return 0;
}
