/* The content of a simulated disk. */
#include "mem/mem_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int resize(struct qb_mem_bytes *c, uint64_t size)
{
    if (size > c->room) {
        uint64_t room = QB_MAX(size, c->room + c->room / 2);
        unsigned char *bytes = realloc(c->bytes, room);

        if (!bytes)
            return ENOMEM;
        c->bytes = bytes;
        c->room = room;
    }
    if (size > c->size)
        memset(c->bytes + c->size, 0, size - c->size);
    c->size = size;
    return 0;
}

int qb_mem_bytes_write(struct qb_mem_bytes *c, uint64_t offset, const void *bytes, uint64_t len)
{
    if (offset + len > c->size && resize(c, offset + len))
        return ENOMEM;
    if (len)
        memcpy(c->bytes + offset, bytes, len);
    return 0;
}

static int zero(struct qb_mem_bytes *c, uint64_t offset, uint64_t len, bool may_grow)
{
    if (may_grow && offset + len > c->size && resize(c, offset + len))
        return ENOMEM;
    if (offset < c->size)
        memset(c->bytes + offset, 0, QB_MIN(len, c->size - offset));
    return 0;
}

int qb_mem_bytes_apply(struct qb_mem_bytes *c, enum qb_op op, uint64_t offset, uint64_t len,
                       const void *bytes)
{
    switch (op) {
    case QB_OP_WRITE:
        return qb_mem_bytes_write(c, offset, bytes, len);
    case QB_OP_FILL:
    case QB_OP_ZERO:
        return zero(c, offset, len, true);
    case QB_OP_PUNCH:
        return zero(c, offset, len, false);
    case QB_OP_SET_SIZE:
        return resize(c, offset);
    default:
        return 0;
    }
}
