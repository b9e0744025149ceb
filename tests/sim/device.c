#include "device.h"

#include <stdlib.h>

#include "dice.h"

#define SECTOR     512u
#define PIECES_MAX 64u /* of a stretch that is zeroed, which may be very long */

struct device *devices_of(const struct qb_mem_log *log, size_t n)
{
    struct device *devices = calloc(n + 1, sizeof(*devices));
    const struct qb_mem_event *events;
    size_t n_events = qb_mem_events(log, &events);

    if (!devices)
        abort();
    for (size_t i = 0; i < n_events; i++)
        devices[qb_mem_image_of(log, events[i].disk)].n++;
    for (size_t i = 0; i < n; i++) {
        devices[i].image = (unsigned)i;
        devices[i].events = calloc(devices[i].n + 1, sizeof(*devices[i].events));
        devices[i].when = calloc(devices[i].n + 1, sizeof(*devices[i].when));
        if (!devices[i].events || !devices[i].when)
            abort();
        devices[i].n = 0;
    }
    for (size_t i = 0; i < n_events; i++) {
        struct device *d = &devices[qb_mem_image_of(log, events[i].disk)];

        d->events[d->n] = &events[i];
        d->when[d->n++] = i;
    }
    return devices;
}

void devices_free(struct device *devices, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(devices[i].events);
        free(devices[i].when);
    }
    free(devices);
}

unsigned device_side(const struct device *d, const struct qb_mem_event *e)
{
    return e->disk == d->image ? DEVICE_IMAGE : DEVICE_DATA;
}

size_t device_flip(const struct device *d)
{
    size_t i = 0;

    while (i < d->n && (d->events[i]->op != QB_OP_WRITE || d->events[i]->offset != 0 ||
                        device_side(d, d->events[i]) != DEVICE_IMAGE))
        i++;
    return i;
}

/* ---- pieces: what reaches the disk whole or not at all ----------------------------------------
 */

static uint64_t piece_bytes(const struct qb_mem_event *e)
{
    if (e->op == QB_OP_WRITE)
        return SECTOR;
    return qb_round_up(QB_MAX(e->len / PIECES_MAX, SECTOR), SECTOR);
}

static uint64_t pieces_of(const struct qb_mem_event *e)
{
    uint64_t size = piece_bytes(e);

    if (e->op == QB_OP_SET_SIZE)
        return 1;
    if (e->op == QB_OP_SYNC || e->len == 0)
        return 0;
    return (e->offset + e->len - 1) / size - e->offset / size + 1;
}

static void keep_event(const struct qb_mem_event *e, struct qb_mem_bytes *disk)
{
    if (qb_mem_bytes_apply(disk, e->op, e->offset, e->len, e->bytes))
        abort();
}

static void keep_piece(const struct qb_mem_event *e, uint64_t i, struct qb_mem_bytes *disk)
{
    uint64_t size = piece_bytes(e), first = (e->offset / size + i) * size, end = first + size;

    if (e->op == QB_OP_SET_SIZE) {
        keep_event(e, disk);
        return;
    }
    first = QB_MAX(first, e->offset);
    end = QB_MIN(end, e->offset + e->len);
    if (qb_mem_bytes_apply(disk, e->op, first, end - first,
                           e->bytes ? e->bytes + (first - e->offset) : NULL))
        abort();
}

void device_keep(const struct device *d, unsigned side, size_t first, size_t end,
                 struct qb_mem_bytes *disk)
{
    for (size_t i = first; i < end; i++)
        if (device_side(d, d->events[i]) == side)
            keep_event(d->events[i], disk);
}

/* ---- tearing --------------------------------------------------------------------------------- */

enum manner {
    COINS,        /* every piece by itself */
    MOSTLY,       /* likewise, but seven of eight reach the disk */
    HARDLY,       /* ... or one of eight */
    WHOLE_EVENTS, /* requests are not torn, only lost */
    ALL_BUT_ONE,  /* one piece is lost */
    ONE_ALONE,    /* one piece is all that reached the disk */
    MANNERS
};

static bool drawn(enum manner how, struct dice *dice)
{
    if (how == MOSTLY)
        return roll(dice, 8) != 0;
    if (how == HARDLY)
        return roll(dice, 8) == 0;
    return roll(dice, 2);
}

void device_tear(const struct device *d, unsigned side, size_t first, size_t end, uint64_t seed,
                 struct qb_mem_bytes *disk)
{
    struct dice dice = dice_of(seed);
    enum manner how = (enum manner)roll(&dice, MANNERS);
    uint64_t all = 0, number = 0, chosen;

    for (size_t i = first; i < end; i++)
        all += device_side(d, d->events[i]) == side ? pieces_of(d->events[i]) : 0;
    chosen = all ? roll(&dice, (unsigned)QB_MIN(all, UINT32_MAX)) : 0;
    for (size_t i = first; i < end; i++) {
        uint64_t n = device_side(d, d->events[i]) == side ? pieces_of(d->events[i]) : 0;
        bool keeps = how == WHOLE_EVENTS && drawn(how, &dice);

        for (uint64_t k = 0; k < n; k++, number++) {
            if (how == ALL_BUT_ONE || how == ONE_ALONE)
                keeps = (number == chosen) == (how == ONE_ALONE);
            else if (how != WHOLE_EVENTS)
                keeps = drawn(how, &dice);
            if (keeps)
                keep_piece(d->events[i], k, disk);
        }
    }
}
