/* Compares readings, and changes one to what an amend is to make of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "must.h"
#include "reading.h"

#define SECTOR 512u

static uint64_t sectors(uint64_t bytes)
{
    return (bytes + SECTOR - 1) / SECTOR;
}

void reading_resize(struct reading *r, uint64_t size)
{
    struct reading_layer *l = &r->layers[0];
    uint64_t old = sectors(l->disk_size), now = sectors(size);

    l->disk = must(realloc(l->disk, (now + 2) * sizeof(*l->disk)));
    if (now > old)
        memset(l->disk + old, 0, (now - old) * sizeof(*l->disk));
    l->disk_size = r->size = size;
}

void reading_delete(struct reading *r, unsigned i)
{
    free(r->layers[i].disk);
    free(r->layers[i].vm);
    r->n_layers--;
    memmove(&r->layers[i], &r->layers[i + 1], (r->n_layers - i) * sizeof(r->layers[0]));
}

static const char *layer_differs(const struct reading_layer *a, const struct reading_layer *b,
                                 unsigned layer, char *text, size_t room)
{
    const char *what = "";
    uint64_t at = 0;

    if (a->disk_size != b->disk_size || a->vm_size != b->vm_size) {
        what = "has other sizes";
    } else if (a->label != b->label) {
        what = "has another name or date";
    } else {
        for (at = 0; at < sectors(a->vm_size); at++)
            if (a->vm[at] != b->vm[at]) {
                what = "has another VM state";
                break;
            }
        for (at = 0; !what[0] && at < sectors(a->disk_size); at++)
            if (a->disk[at] != b->disk[at]) {
                what = "reads differently";
                break;
            }
    }
    if (what[0])
        snprintf(text, room, "layer %u %s, sector %llu", layer, what, (unsigned long long)at);
    return what[0] ? text : "";
}

const char *reading_differs(const struct reading *a, const struct reading *b)
{
    static char text[120];

    if (a->wrong[0] || b->wrong[0])
        return a->wrong[0] ? a->wrong : b->wrong;
    if (a->size != b->size || a->n_layers != b->n_layers)
        return "another size or number of snapshots";
    for (unsigned i = 0; i < a->n_layers; i++) {
        const char *why = layer_differs(&a->layers[i], &b->layers[i], i, text, sizeof(text));

        if (why[0])
            return why;
    }
    return "";
}
