/* What mem.c and mem_replay.c share: the content of a disk and the log of its changes. */
#ifndef QB_TESTS_MEM_DISK_H
#define QB_TESTS_MEM_DISK_H

#include <pthread.h>

#include "base/vec.h"
#include "mem/mem.h"

/* Content that grows; bytes behind `size` are not initialised. */
struct qb_mem_bytes {
    unsigned char *bytes;
    uint64_t size;
    uint64_t room;
};

struct qb_mem_disk {
    unsigned number;
    unsigned image, data; /* see qb_mem_image_of and qb_mem_data_of */
    bool reserved, is_device, has_holes;
    struct qb_mem_bytes now;
    struct qb_mem_bytes at_creation;
};

struct qb_mem_log {
    pthread_mutex_t one_at_a_time;
    QB_VEC(struct qb_mem_disk *) disks;
    QB_VEC(struct qb_mem_event) events;
    uint64_t countdown; /* requests that succeed before the fault */
    int fault;          /* 0: none is due */
    bool fault_stays;
};

/* Both give 0 or ENOMEM, and then nothing has changed. */
int qb_mem_bytes_write(struct qb_mem_bytes *c, uint64_t offset, const void *bytes, uint64_t len);

/* What an event or request of this kind does to the content, all of it. */
int qb_mem_bytes_apply(struct qb_mem_bytes *c, enum qb_op op, uint64_t offset, uint64_t len,
                       const void *bytes);

#endif
