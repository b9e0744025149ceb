/* The backing files of readings, by name. */
#include <stdlib.h>
#include <string.h>

#include "reading.h"

#define SECTOR       512u
#define MAX_BACKINGS 16

struct backing {
    const char *name;
    const uint8_t *bytes;   /* the content, or ... */
    const uint64_t *prints; /* ... a fingerprint a sector */
    uint64_t size;
};

static struct backing backings[MAX_BACKINGS];
static unsigned n_backings;

void reading_backing(const char *name, const uint8_t *bytes, uint64_t size)
{
    if (n_backings == MAX_BACKINGS)
        abort();
    backings[n_backings++] = (struct backing){.name = name, .bytes = bytes, .size = size};
}

void reading_backing_image(const char *name, const struct reading *r)
{
    reading_backing(name, NULL, r->size);
    backings[n_backings - 1].prints = r->layers[0].disk;
}

void reading_forget_backings(void)
{
    n_backings = 0;
}

static const struct backing *find(const char *name)
{
    for (unsigned i = 0; i < n_backings; i++)
        if (strcmp(backings[i].name, name) == 0)
            return &backings[i];
    return NULL;
}

uint64_t reading_backing_size(const char *name)
{
    const struct backing *b = find(name);

    return b ? b->size : name[0] ? UINT64_MAX : 0;
}

uint64_t reading_backing_sector(const char *name, uint64_t sector, uint64_t len)
{
    const struct backing *b = find(name);
    uint8_t buf[SECTOR] = {0};
    uint64_t at = sector * SECTOR;

    if (!name[0])
        return 0;
    len = len < SECTOR ? len : SECTOR;
    if (!b)
        return (reading_print((const uint8_t *)name, strlen(name)) + sector) | 1;
    if (at >= b->size)
        return 0;
    if (b->prints && len >= SECTOR)
        return b->prints[sector];
    if (b->prints)
        abort(); /* a part of a sector has no fingerprint */
    memcpy(buf, b->bytes + at, b->size - at < len ? b->size - at : len);
    return reading_print(buf, SECTOR);
}
