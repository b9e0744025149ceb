/* Subjects that are amended in the room inside the image: files, and block devices. */
#include <stdlib.h>

#include "amends.h"
#include "dice.h"
#include "must.h"

static void fill_junk(struct dice *d, uint8_t *at, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        at[i] = (uint8_t)(1 + roll(d, 255));
}

/* A device ends where the image does, or a little later; old bytes lie there. */
static void make_device(struct dice *d, struct image_bytes *image, uint64_t cluster_size)
{
    static const unsigned most[] = {1, 4, 20, 200};
    uint64_t size = (image->size + 511) / 512 * 512, old = image->size;

    size += roll(d, most[roll(d, 4)]) * cluster_size + 512ull * roll(d, 8);
    image->bytes = must(realloc(image->bytes, size));
    fill_junk(d, image->bytes + old, size - old);
    image->size = size;
    image->device = true;
    image->reserved = false;
}

void subject_into_room(struct subject *s, uint64_t seed)
{
    struct dice d = dice_of(seed + 0x524f4f4d);
    struct reading r;

    reading_take_image(&s->image, NULL, &r);
    for (uint64_t i = 0; i < r.n_clusters; i++)
        if (r.free[i])
            fill_junk(&d, s->image.bytes + i * r.cluster_size, r.cluster_size);
    if (roll(&d, 2) && r.n_clusters && !s->image.data)
        make_device(&d, &s->image, r.cluster_size);
    else
        s->rq.room_first = true;
    reading_free(&r);
}
