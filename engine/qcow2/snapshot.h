/* Decodes and encodes the snapshot table ("Snapshots"). */
#ifndef QB_QCOW2_SNAPSHOT_H
#define QB_QCOW2_SNAPSHOT_H

#include "base/err.h"
#include "base/vec.h"
#include "qcow2/disk.h"

struct qb_snapshot {
    uint64_t l1_offset;
    uint32_t l1_size;       /* entries */
    uint64_t vm_state_size; /* bytes */
    bool has_disk_size;     /* false: the entry has none, and `disk_size` is the header's size */
    uint64_t disk_size;     /* bytes */
    uint32_t extra_len;
    uint16_t id_len, name_len;
    const uint8_t *raw; /* the entry in its on-disk form, in the table's buffer */
};

struct qb_snapshot_table {
    QB_VEC(struct qb_snapshot) list;
    uint8_t *bytes; /* owned */
    uint64_t room;  /* size of `bytes`, as allocated */
    uint64_t len;   /* bytes of the table on disk, without padding after the last entry */
};

void qb_snapshot_table_free(struct qb_snapshot_table *t);

/* Decodes `count` entries from `bytes`, of which `have` are valid; `header_size` is used for a
 * missing disk size.  Takes no ownership.  Returns 0; 1 when more than `have` bytes are needed; -1
 * with QB_E_CORRUPT, err->offset counted from the table's start. */
int qb_snapshot_decode(const uint8_t *bytes, uint64_t have, uint32_t count, uint64_t header_size,
                       struct qb_snapshot_table *out, struct qb_err *err);

/* What an entry says that no amend needs. */
struct qb_snapshot_label {
    const char *id, *name; /* id_len and name_len bytes, without a NUL */
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    bool has_icount;
    uint64_t icount; /* instructions of the guest until then, where they were counted */
};

/* The texts are those of the table. */
struct qb_snapshot_label qb_snapshot_label(const struct qb_snapshot *s);

/* Encodes the table again: l1_offset, l1_size, and, if `with_extra`, at least the 16 bytes of extra
 * data that version 3 requires.  Everything else is copied.  *out is malloc'ed. */
int qb_snapshot_encode(const struct qb_snapshot_table *t, bool with_extra, uint8_t **out,
                       uint64_t *len, struct qb_err *err);

/* Whether two entries are of one snapshot: alike in all but the place and size of the L1 table, and
 * extra data that only one of them has. */
bool qb_snapshot_same(const struct qb_snapshot *a, const struct qb_snapshot *b);

#endif
