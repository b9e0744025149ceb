#include "host/heap.h"

#include <malloc.h>

enum {
    KEPT = 8 << 20,       /* a page takes no memory before it is used */
    MAPPED_FROM = 8 << 20 /* what is larger is mapped on its own, and unmapped */
};

/* Setting the one ends glibc's own choice of the other. */
void qb_heap_keep(void)
{
    mallopt(M_TOP_PAD, KEPT);
    mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
}
