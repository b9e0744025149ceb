/* The power cut: what a disk may hold after it, drawn from the log. */
#include <errno.h>
#include <stdlib.h>

#include "mem/mem_disk.h"

#define SECTOR 512

/* The next drawn bit; a state of 0 always says "kept". */
static bool kept(uint64_t *state)
{
    uint64_t x = *state;

    if (x == 0)
        return true;
    /* A 64-bit xorshift: never comes to 0 from anything else. */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x >> 63;
}

/* Draws for every sector of a write and, where c is not NULL, applies those that are kept. */
static int replay_torn(struct qb_mem_bytes *c, const struct qb_mem_event *e, uint64_t *state)
{
    uint64_t at = e->offset, end = e->offset + e->len;

    while (at < end) {
        uint64_t next = QB_MIN(end, (at / SECTOR + 1) * SECTOR);
        const unsigned char *bytes = e->bytes ? e->bytes + (at - e->offset) : NULL;

        if (kept(state) && c && qb_mem_bytes_apply(c, e->op, at, next - at, bytes))
            return ENOMEM;
        at = next;
    }
    return 0;
}

/* Other disks' events draw too, so that one seed tells one story of the whole machine. */
static int replay_event(struct qb_mem_bytes *c, const struct qb_mem_event *e, bool sure,
                        uint64_t *state)
{
    if (e->op == QB_OP_SYNC)
        return 0;
    if (!sure && (e->op == QB_OP_WRITE || e->op == QB_OP_FILL))
        return replay_torn(c, e, state);
    if ((!sure && !kept(state)) || !c)
        return 0;
    return qb_mem_bytes_apply(c, e->op, e->offset, e->len, e->bytes);
}

int qb_mem_replay(const struct qb_mem_log *log, unsigned disk, size_t sure, size_t upto,
                  uint64_t seed, unsigned char **out, uint64_t *size)
{
    const struct qb_mem_bytes *old = &log->disks.items[disk]->at_creation;
    struct qb_mem_bytes c = {0};
    uint64_t state = seed;
    int errnum = qb_mem_bytes_write(&c, 0, old->bytes, old->size);

    for (int i = 0; i < 8; i++) /* small seeds are all alike in their first bits */
        kept(&state);
    for (size_t i = 0; i < upto && i < log->events.n && !errnum; i++) {
        const struct qb_mem_event *e = &log->events.items[i];

        errnum = replay_event(e->disk == disk ? &c : NULL, e, i < sure, &state);
    }
    if (errnum) {
        free(c.bytes);
        return -1;
    }
    *out = c.bytes;
    *size = c.size;
    return 0;
}
