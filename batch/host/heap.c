#include "host/heap.h"

#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>

enum { PIECE = 64 << 10 /* below what is mapped on its own */, PIECES = 192 };
enum {
    KEPT = 4 << 20,
    MAPPED_FROM = 2 << 20 /* what is larger is mapped on its own, and unmapped */
};

/* Setting the one ends glibc's own choice of the other. */
void qb_heap_keep(void)
{
    mallopt(M_TRIM_THRESHOLD, KEPT);
    mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
}

void qb_heap_stretch(void)
{
    void *pieces[PIECES];

    for (size_t i = 0; i < PIECES; i++)
        pieces[i] = malloc(PIECE);
    for (size_t i = PIECES; i-- > 0;)
        free(pieces[i]);
}
