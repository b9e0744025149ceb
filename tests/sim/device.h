/* What a disk may hold after a power cut, whatever it made of its cache: of what was not synced,
 * each 512-byte sector of a write, each part of a zeroed stretch and each change of the length
 * reached it or did not. */
#ifndef QB_TESTS_DEVICE_H
#define QB_TESTS_DEVICE_H

#include "mem/mem_disk.h"

/* The events of one image, in order: of its disk, and of the one that is its data file. */
struct device {
    unsigned image; /* the number of its disk */
    const struct qb_mem_event **events;
    size_t *when; /* events of the whole machine before each of these */
    size_t n;
};

/* The two, by what an event is of. */
enum { DEVICE_IMAGE, DEVICE_DATA, DEVICE_SIDES };
unsigned device_side(const struct device *d, const struct qb_mem_event *e);

/* Sorts the log by image: those of the disks [0, n), to be freed with devices_free.  The log must
 * outlive them. */
struct device *devices_of(const struct qb_mem_log *log, size_t n);
void devices_free(struct device *devices, size_t n);

/* Number of the flip among the device's events; n when there is none. */
size_t device_flip(const struct device *d);

/* All of the events [first, end) of this side reaches its disk. */
void device_keep(const struct device *d, unsigned side, size_t first, size_t end,
                 struct qb_mem_bytes *disk);

/* Some of it does, as drawn from the seed. */
void device_tear(const struct device *d, unsigned side, size_t first, size_t end, uint64_t seed,
                 struct qb_mem_bytes *disk);

#endif
