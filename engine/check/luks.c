#include "check/luks.h"

#include <string.h>

/* "LUKS On-Disk Format Specification", version 1: the partition header. */
struct disk_slot {
    be32 active, iterations;
    uint8_t salt[32];
    be32 key_material_offset; /* sectors, from the LUKS header's beginning */
    be32 stripes;
};

struct disk_luks {
    uint8_t magic[6], version[2];
    char cipher_name[32], cipher_mode[32], hash_spec[32];
    be32 payload_offset, key_bytes;
    uint8_t mk_digest[20], mk_digest_salt[32];
    be32 mk_digest_iterations;
    char uuid[40];
    struct disk_slot slots[8];
};
static_assert(sizeof(struct disk_luks) == 592, "LUKS partition header");

static bool is_luks(const struct disk_luks *d)
{
    static const uint8_t mark[] = {'L', 'U', 'K', 'S', 0xba, 0xbe, 0, 1};

    return memcmp(d, mark, sizeof(mark)) == 0;
}

/* Bytes that the header has with the key material of all slots, used or not. */
static uint64_t length_of(const struct disk_luks *d)
{
    uint64_t length = sizeof(*d);

    for (size_t i = 0; i < sizeof(d->slots) / sizeof(d->slots[0]); i++) {
        const struct disk_slot *s = &d->slots[i];
        uint64_t material = (uint64_t)be32_get(d->key_bytes) * be32_get(s->stripes);

        /* The product of two such numbers fits, and the sum might not. */
        material = QB_MIN(material, UINT64_MAX / 2);
        length = qb_max(length, QB_SECTOR * (uint64_t)be32_get(s->key_material_offset) + material);
    }
    return length;
}

int qb_luks_check(struct qb_census *c, uint64_t offset, uint64_t len, struct qb_err *err)
{
    struct disk_luks d = {0};
    uint64_t length, there = c->img->file->size - offset; /* however short the pointer says it is */

    if (qb_io_read(c->io, c->img->file, offset, &d, QB_MIN(there, sizeof(d)), "the LUKS header",
                   err) < 0)
        return -1;
    length = length_of(&d);
    if (!is_luks(&d))
        qb_census_note(c, QB_DEFECT_LUKS_HEADER_INVALID, offset,
                       "the bytes that the pointer to the LUKS header names are not a LUKS header");
    else if (length > qb_round_up(len, c->img->geom.cluster_size))
        qb_census_note(
            c, QB_DEFECT_LUKS_HEADER_INVALID, offset,
            "the LUKS header has %llu bytes with its key material, and the pointer to it says %llu",
            (unsigned long long)length, (unsigned long long)len);
    return 0;
}
