#include "images_parts.h"

#include <stdlib.h>
#include <string.h>

#include "must.h"

#define JUNK 0x5a

uint8_t *image_data_cluster(struct image_data *d, uint64_t guest, uint64_t n)
{
    if (guest + n > d->room) {
        d->bytes = must(realloc(d->bytes, guest + n));
        memset(d->bytes + d->room, 0, guest + n - d->room);
        d->room = guest + n;
    }
    return d->bytes + guest;
}

void image_data_begin(const struct image_shape *shape, uint64_t size, struct image_bytes *out)
{
    uint64_t less = shape->data_cut < size ? shape->data_cut : size;
    uint64_t junk = shape->data_junk ? 0 : size - less;

    out->data_size = size - less + shape->data_tail;
    out->data = must(calloc(out->data_size + 1, 1));
    if (shape->data_junk || shape->data_tail_junk)
        memset(out->data + junk, JUNK, out->data_size - junk);
}

void image_data_show(const struct image_data *d, uint64_t guest, uint64_t n, uint32_t subclusters,
                     uint64_t size, struct image_bytes *out)
{
    uint64_t end = size < out->data_size ? size : out->data_size, part = n / 32;

    for (unsigned i = 0; i < 32; i++) {
        uint64_t at = guest + i * part;

        if ((subclusters >> i & 1) && at < end)
            memcpy(out->data + at, d->bytes + at, end - at < part ? end - at : part);
    }
}

struct image_bytes image_bytes_copy(const struct image_bytes *b)
{
    struct image_bytes copy = *b;

    copy.bytes = must(malloc(b->size + 1));
    memcpy(copy.bytes, b->bytes, b->size);
    if (b->data) {
        copy.data = must(malloc(b->data_size + 1));
        memcpy(copy.data, b->data, b->data_size);
    }
    return copy;
}

void image_bytes_free(struct image_bytes *b)
{
    free(b->bytes);
    free(b->data);
    b->bytes = b->data = NULL;
}
