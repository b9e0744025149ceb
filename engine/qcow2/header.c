#include "qcow2/header.h"

#include <stdio.h>
#include <string.h>

#define AT(field) offsetof(struct qb_disk_header, field)

static int decode_v3(const struct qb_disk_header *d, size_t len, struct qb_header *h,
                     struct qb_err *err)
{
    if (len < QB_V3_HEADER_LENGTH_MIN)
        return qb_fail(err, QB_E_CORRUPT, len, "the file ends inside the version 3 header");
    h->incompatible = be64_get(d->incompatible);
    h->compatible = be64_get(d->compatible);
    h->autoclear = be64_get(d->autoclear);
    h->refcount_order = be32_get(d->refcount_order);
    h->header_length = be32_get(d->header_length);
    if (h->refcount_order > 6)
        return qb_fail(err, QB_E_UNSUPPORTED, AT(refcount_order),
                       "refcount order %u is above 6 (64 bits)", h->refcount_order);
    if (h->header_length < QB_V3_HEADER_LENGTH_MIN)
        return qb_fail(err, QB_E_CORRUPT, AT(header_length),
                       "header length %u is below the 104 bytes of version 3", h->header_length);
    if (h->header_length > 1u << h->cluster_bits)
        return qb_fail(err, QB_E_CORRUPT, AT(header_length),
                       "header length %u is longer than a cluster", h->header_length);
    if (h->header_length > QB_HEADER_COMPRESSION_TYPE_AT && len > QB_HEADER_COMPRESSION_TYPE_AT)
        h->compression_type = d->compression_type;
    if ((h->compression_type != 0) != !!(h->incompatible & QB_INCOMPAT_COMPRESSION))
        return qb_fail(err, QB_E_CORRUPT, AT(compression_type),
                       "compression type %u and its incompatible feature bit disagree",
                       h->compression_type);
    if (h->compression_type > 1)
        return qb_fail(err, QB_E_UNSUPPORTED, AT(compression_type), "unknown compression type %u",
                       h->compression_type);
    return 0;
}

static int check_backing(const struct qb_header *h, struct qb_err *err)
{
    uint64_t cluster = 1ull << h->cluster_bits;

    if (h->backing_offset == 0)
        return 0;
    if (h->backing_len > QB_MAX_BACKING_NAME ||
        !qb_range_ok(h->backing_offset, h->backing_len, 1, cluster))
        return qb_fail(
            err, QB_E_CORRUPT, AT(backing_file_offset),
            "the backing file name (%u bytes at 0x%llx) is too long or outside the first "
            "cluster",
            h->backing_len, (unsigned long long)h->backing_offset);
    if (h->backing_offset < h->header_length)
        return qb_fail(err, QB_E_CORRUPT, AT(backing_file_offset),
                       "the backing file name lies inside the header");
    return 0;
}

static int check_l1(const struct qb_header *h, const struct qb_geom *g, struct qb_err *err)
{
    if (h->l1_size > QB_MAX_L1_BYTES / 8)
        return qb_fail(err, QB_E_UNSUPPORTED, AT(l1_size),
                       "the active L1 table of %u entries is too large", h->l1_size);
    if (h->l1_offset % g->cluster_size)
        return qb_fail(err, QB_E_CORRUPT, AT(l1_table_offset),
                       "the active L1 table's offset 0x%llx is not cluster aligned",
                       (unsigned long long)h->l1_offset);
    if (h->l1_size < qb_geom_l1_needed(g, h->size))
        return qb_fail(err, QB_E_CORRUPT, AT(l1_size),
                       "the active L1 table has %u entries, too few for a disk of %llu bytes",
                       h->l1_size, (unsigned long long)h->size);
    if (h->l1_size && h->l1_offset == 0)
        return qb_fail(err, QB_E_CORRUPT, AT(l1_table_offset),
                       "the active L1 table overlaps the header");
    return 0;
}

static int check_pointers(const struct qb_header *h, struct qb_err *err)
{
    struct qb_geom g;

    qb_header_geom(h, &g);
    if (h->size > INT64_MAX)
        return qb_fail(err, QB_E_CORRUPT, AT(size), "the virtual size is above 2^63");
    if (check_l1(h, &g, err) < 0)
        return -1;
    if (h->reftable_clusters == 0 || h->reftable_clusters > QB_MAX_REFTABLE_BYTES / g.cluster_size)
        return qb_fail(err, QB_E_CORRUPT, AT(refcount_table_clusters),
                       "a refcount table of %u clusters is %s", h->reftable_clusters,
                       h->reftable_clusters ? "too large" : "no table");
    if (h->reftable_offset == 0 || h->reftable_offset % g.cluster_size)
        return qb_fail(err, QB_E_CORRUPT, AT(refcount_table_offset),
                       "the refcount table's offset 0x%llx is %s",
                       (unsigned long long)h->reftable_offset,
                       h->reftable_offset ? "not cluster aligned" : "that of the header");
    if (h->nb_snapshots > QB_MAX_SNAPSHOTS)
        return qb_fail(err, QB_E_UNSUPPORTED, AT(nb_snapshots), "%u snapshots are too many",
                       h->nb_snapshots);
    if (h->nb_snapshots && (h->snapshots_offset == 0 || h->snapshots_offset % g.cluster_size))
        return qb_fail(err, QB_E_CORRUPT, AT(snapshots_offset),
                       "the snapshot table's offset 0x%llx is %s",
                       (unsigned long long)h->snapshots_offset,
                       h->snapshots_offset ? "not cluster aligned" : "that of the header");
    return 0;
}

int qb_header_decode(const void *buf, size_t len, struct qb_header *out, struct qb_err *err)
{
    struct qb_disk_header d = {0};
    struct qb_header h = {0};

    memcpy(&d, buf, QB_MIN(len, sizeof(d)));
    if (len < 4 || be32_get(d.magic) != QB_MAGIC)
        return qb_fail(err, QB_E_NOT_QCOW2, 0, "not a qcow2 image");
    if (len < QB_V2_HEADER_LENGTH)
        return qb_fail(err, QB_E_CORRUPT, len, "the file ends inside the header");
    h.version = be32_get(d.version);
    if (h.version != 2 && h.version != 3)
        return qb_fail(err, QB_E_UNSUPPORTED, AT(version), "qcow2 version %u is unknown",
                       h.version);
    h.backing_offset = be64_get(d.backing_file_offset);
    h.backing_len = be32_get(d.backing_file_size);
    h.cluster_bits = be32_get(d.cluster_bits);
    h.size = be64_get(d.size);
    h.crypt_method = be32_get(d.crypt_method);
    h.l1_size = be32_get(d.l1_size);
    h.l1_offset = be64_get(d.l1_table_offset);
    h.reftable_offset = be64_get(d.refcount_table_offset);
    h.reftable_clusters = be32_get(d.refcount_table_clusters);
    h.nb_snapshots = be32_get(d.nb_snapshots);
    h.snapshots_offset = be64_get(d.snapshots_offset);
    h.refcount_order = 4;
    h.header_length = QB_V2_HEADER_LENGTH;
    if (h.cluster_bits < 9 || h.cluster_bits > 21)
        return qb_fail(err, QB_E_UNSUPPORTED, AT(cluster_bits),
                       "clusters of 2^%u bytes are unsupported", h.cluster_bits);
    if (h.crypt_method > 2)
        return qb_fail(err, QB_E_UNSUPPORTED, AT(crypt_method), "unknown encryption method %u",
                       h.crypt_method);
    if (h.version == 3 && decode_v3(&d, len, &h, err) < 0)
        return -1;
    if ((h.incompatible & QB_INCOMPAT_EXTENDED_L2) && h.cluster_bits < QB_EXTENDED_L2_CLUSTER_BITS)
        return qb_fail(err, QB_E_CORRUPT, AT(cluster_bits),
                       "extended L2 entries need clusters of 16 KiB or more");
    if (check_backing(&h, err) < 0 || check_pointers(&h, err) < 0)
        return -1;
    *out = h;
    return 0;
}

int qb_header_check_features(const struct qb_header *h, const void *names, size_t names_len,
                             struct qb_err *err)
{
    uint64_t unknown = h->incompatible & ~QB_INCOMPAT_KNOWN;
    const struct qb_disk_feature_name *row = names;
    size_t rows = names ? names_len / sizeof(*row) : 0;
    char list[300] = "";

    if (!unknown)
        return 0;
    for (unsigned bit = 0; bit < 64; bit++) {
        size_t used = strlen(list);
        const char *name = NULL;

        if (!(unknown >> bit & 1))
            continue;
        for (size_t i = 0; i < rows; i++)
            if (row[i].type == 0 && row[i].bit == bit && row[i].name[0])
                name = row[i].name;
        if (name)
            snprintf(list + used, sizeof(list) - used, "%s%.46s", used ? ", " : "", name);
        else
            snprintf(list + used, sizeof(list) - used, "%sbit %u", used ? ", " : "", bit);
    }
    return qb_fail(err, QB_E_UNSUPPORTED, AT(incompatible), "unknown incompatible feature: %s",
                   list);
}

static void encode_v3(const struct qb_header *h, uint8_t *sector)
{
    struct qb_disk_header d;

    memcpy(&d, sector, sizeof(d));
    d.incompatible = be64_of(h->incompatible);
    d.compatible = be64_of(h->compatible);
    d.autoclear = be64_of(h->autoclear);
    d.refcount_order = be32_of(h->refcount_order);
    d.header_length = be32_of(h->header_length);
    memcpy(sector, &d, QB_V3_HEADER_LENGTH_MIN);
    if (h->header_length > QB_HEADER_COMPRESSION_TYPE_AT)
        sector[QB_HEADER_COMPRESSION_TYPE_AT] = h->compression_type;
}

void qb_header_encode(const struct qb_header *h, uint8_t *sector)
{
    struct qb_disk_header d = {
        .magic = be32_of(QB_MAGIC),
        .version = be32_of(h->version),
        .backing_file_offset = be64_of(h->backing_offset),
        .backing_file_size = be32_of(h->backing_len),
        .cluster_bits = be32_of(h->cluster_bits),
        .size = be64_of(h->size),
        .crypt_method = be32_of(h->crypt_method),
        .l1_size = be32_of(h->l1_size),
        .l1_table_offset = be64_of(h->l1_offset),
        .refcount_table_offset = be64_of(h->reftable_offset),
        .refcount_table_clusters = be32_of(h->reftable_clusters),
        .nb_snapshots = be32_of(h->nb_snapshots),
        .snapshots_offset = be64_of(h->snapshots_offset),
    };

    memcpy(sector, &d, QB_V2_HEADER_LENGTH);
    if (h->version == 3)
        encode_v3(h, sector);
}

void qb_header_geom(const struct qb_header *h, struct qb_geom *g)
{
    bool extended = h->incompatible & QB_INCOMPAT_EXTENDED_L2;

    *g = (struct qb_geom){
        .cluster_bits = h->cluster_bits,
        .refcount_order = h->refcount_order,
        .cluster_size = 1ull << h->cluster_bits,
        .l2_entry_size = extended ? 16 : 8,
        .external_data = h->incompatible & QB_INCOMPAT_DATA_FILE,
    };
    g->l2_entries = g->cluster_size / g->l2_entry_size;
    g->l1_span = g->cluster_size * g->l2_entries;
    g->block_entries = qb_geom_block_entries(g, h->refcount_order);
}
