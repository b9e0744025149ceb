#include "guest.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static uint64_t number(const struct guest_image *img, uint64_t at, unsigned bytes, bool *ok)
{
    uint64_t n = 0;

    if (at > img->size || img->size - at < bytes) {
        *ok = false;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        n = n << 8 | img->bytes[at + i];
    return n;
}

static bool is_image(const struct guest_image *img)
{
    bool ok = true;
    uint64_t magic = number(img, 0, 4, &ok), version = number(img, 4, 4, &ok);
    uint64_t bits = number(img, 20, 4, &ok), crypt = number(img, 32, 4, &ok);

    if (!ok || magic != 0x514649fb || version < 2 || version > 3 || bits < 9 || bits > 21 || crypt)
        return false;
    /* Data files, zstd and extended L2 entries are beyond this reader. */
    return version == 2 || !(number(img, 72, 8, &ok) & ~3ull);
}

unsigned guest_layers(const struct guest_image *img)
{
    bool ok = true;

    return is_image(img) ? 1 + (unsigned)number(img, 60, 4, &ok) : 0;
}

uint64_t guest_size(const struct guest_image *img)
{
    bool ok = true;

    return number(img, 24, 8, &ok);
}

/* The layer's L1 table. */
static bool find_l1(const struct guest_image *img, unsigned layer, uint64_t *offset, uint64_t *n)
{
    bool ok = true;
    uint64_t at = number(img, 64, 8, &ok);

    *offset = number(img, 40, 8, &ok);
    *n = number(img, 36, 4, &ok);
    for (unsigned i = 1; ok && i <= layer; i++) {
        *offset = number(img, at, 8, &ok);
        *n = number(img, at + 8, 4, &ok);
        at += 40 + number(img, at + 36, 4, &ok) + number(img, at + 12, 2, &ok) +
              number(img, at + 14, 2, &ok);
        at = (at + 7) / 8 * 8;
    }
    return ok;
}

static bool unpack(const struct guest_image *img, uint64_t entry, unsigned bits, uint8_t *cluster)
{
    unsigned x = 70 - bits;
    uint64_t at = entry & ((1ull << x) - 1);
    uint64_t sectors = (entry >> x & ((1ull << (bits - 8)) - 1)) + 1;
    uint64_t len = sectors * 512 - at % 512;
    z_stream z = {.next_out = cluster, .avail_out = 1u << bits};
    int r;

    if (at >= img->size)
        return false;
    z.next_in = (Bytef *)(uintptr_t)(img->bytes + at);
    z.avail_in = (uInt)(len < img->size - at ? len : img->size - at);
    if (inflateInit2(&z, -12) != Z_OK)
        return false;
    r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return z.avail_out == 0 && (r == Z_STREAM_END || r == Z_BUF_ERROR || r == Z_OK);
}

static bool read_cluster(const struct guest_image *img, uint64_t entry, unsigned bits,
                         uint64_t guest, uint8_t *cluster)
{
    uint64_t cs = 1ull << bits, host = entry & 0x00fffffffffffe00ull, have = 0;
    const uint8_t *from = NULL;

    if (entry >> 62 & 1)
        return unpack(img, entry, bits, cluster);
    if (entry & 1) {
        memset(cluster, 0, cs);
        return true;
    }
    if (host && (host % cs || host >= img->size))
        return false;
    if (host) {
        from = img->bytes + host;
        have = img->size - host;
    } else if (img->backing && guest < img->backing_size) {
        from = img->backing + guest;
        have = img->backing_size - guest;
    }
    have = have < cs ? have : cs;
    memset(cluster + have, 0, cs - have);
    if (have)
        memcpy(cluster, from, have);
    return true;
}

static uint64_t entry_of(const struct guest_image *img, uint64_t l1, uint64_t l1_n, unsigned bits,
                         uint64_t guest, bool *ok)
{
    uint64_t l2_n = 1ull << (bits - 3), cluster = guest >> bits, table;

    if (cluster / l2_n >= l1_n)
        return 0;
    table = number(img, l1 + 8 * (cluster / l2_n), 8, ok) & 0x00fffffffffffe00ull;
    if (!table)
        return 0;
    *ok &= (table & ((1ull << bits) - 1)) == 0;
    return number(img, table + 8 * (cluster % l2_n), 8, ok);
}

bool guest_read(const struct guest_image *img, unsigned layer, uint8_t *out)
{
    bool ok = is_image(img);
    unsigned bits = (unsigned)number(img, 20, 4, &ok);
    uint64_t l1, l1_n, cs = 1ull << bits;
    uint8_t *cluster;

    if (!ok || !find_l1(img, layer, &l1, &l1_n))
        return false;
    cluster = malloc(cs);
    for (uint64_t at = 0; ok && at < GUEST_MAX; at += cs) {
        uint64_t n = cs < GUEST_MAX - at ? cs : GUEST_MAX - at;
        uint64_t entry = entry_of(img, l1, l1_n, bits, at, &ok);

        ok = ok && read_cluster(img, entry, bits, at, cluster);
        if (ok)
            memcpy(out + at, cluster, n);
    }
    free(cluster);
    return ok;
}
