/* Defines the bytes of a qcow2 file, and nothing else: layout, magic numbers, masks.  Names and
 * sections are those of the specification (QEMU, docs/interop/qcow2). */
#ifndef QB_QCOW2_DISK_H
#define QB_QCOW2_DISK_H

#include <assert.h>
#include <stddef.h>

#include "base/be.h"

#define QB_SECTOR 512u
#define QB_MAGIC  0x514649fbu

/* "Header" */
struct qb_disk_header {
    be32 magic;
    be32 version;
    be64 backing_file_offset; /* bytes; 0 = none */
    be32 backing_file_size;   /* bytes, no NUL */
    be32 cluster_bits;
    be64 size; /* virtual size, bytes */
    be32 crypt_method;
    be32 l1_size; /* entries */
    be64 l1_table_offset;
    be64 refcount_table_offset;
    be32 refcount_table_clusters;
    be32 nb_snapshots;
    be64 snapshots_offset;
    /* version 3 only from here */
    be64 incompatible;
    be64 compatible;
    be64 autoclear;
    be32 refcount_order;
    be32 header_length;
    uint8_t compression_type; /* present if header_length > 104 */
    uint8_t padding[7];
};
static_assert(offsetof(struct qb_disk_header, size) == 24, "virtual size");
static_assert(offsetof(struct qb_disk_header, refcount_table_offset) == 48, "refcount table");
static_assert(offsetof(struct qb_disk_header, incompatible) == 72, "v3 starts here");
static_assert(sizeof(struct qb_disk_header) == 112, "what QEMU writes");

enum {
    QB_V2_HEADER_LENGTH = 72,
    QB_V3_HEADER_LENGTH_MIN = 104,
    QB_V3_HEADER_LENGTH = 112,
    QB_HEADER_COMPRESSION_TYPE_AT = 104,
    QB_EXTENDED_L2_CLUSTER_BITS = 14, /* the least */
};

#define QB_INCOMPAT_DIRTY          (1ull << 0)
#define QB_INCOMPAT_CORRUPT        (1ull << 1)
#define QB_INCOMPAT_DATA_FILE      (1ull << 2)
#define QB_INCOMPAT_COMPRESSION    (1ull << 3)
#define QB_INCOMPAT_EXTENDED_L2    (1ull << 4)
#define QB_INCOMPAT_KNOWN          0x1full
#define QB_COMPAT_LAZY_REFCOUNTS   (1ull << 0)
#define QB_AUTOCLEAR_BITMAPS       (1ull << 0)
#define QB_AUTOCLEAR_DATA_FILE_RAW (1ull << 1)
#define QB_AUTOCLEAR_KNOWN         0x3ull

/* "Header extensions" */
struct qb_disk_ext {
    be32 type;
    be32 length; /* bytes of data; the next extension starts at a multiple of 8 */
};

#define QB_EXT_END            0x00000000u
#define QB_EXT_BACKING_FORMAT 0xe2792acau
#define QB_EXT_DATA_FILE      0x44415441u
#define QB_EXT_LUKS           0x0537be77u
#define QB_EXT_FEATURE_NAMES  0x6803f857u
#define QB_EXT_BITMAPS        0x23852875u

struct qb_disk_luks_ext {
    be64 offset;
    be64 length;
};
static_assert(sizeof(struct qb_disk_luks_ext) == 16, "full disk encryption header pointer");

struct qb_disk_bitmaps_ext {
    be32 nb_bitmaps;
    be32 reserved;
    be64 directory_size;
    be64 directory_offset;
};
static_assert(sizeof(struct qb_disk_bitmaps_ext) == 24, "bitmaps extension");

struct qb_disk_feature_name {
    uint8_t type; /* 0 incompatible, 1 compatible, 2 autoclear */
    uint8_t bit;
    char name[46];
};
static_assert(sizeof(struct qb_disk_feature_name) == 48, "feature name table entry");

/* "Bitmap directory" */
struct qb_disk_bitmap {
    be64 table_offset;
    be32 table_size; /* entries */
    be32 flags;
    uint8_t type;
    uint8_t granularity_bits;
    be16 name_size;
    be32 extra_data_size;
};
static_assert(sizeof(struct qb_disk_bitmap) == 24, "bitmap directory entry");

#define QB_BITMAP_IN_USE           1u /* its writer went away: inconsistent */
#define QB_BITMAP_AUTO             2u /* enabled: QEMU records writes */
#define QB_BITMAP_EXTRA_COMPATIBLE 4u
#define QB_BITMAP_FLAGS            7u
#define QB_BITMAP_DIRTY_TRACKING   1u /* the only type */
#define QB_BITMAP_GRANULARITY_MIN  9u
#define QB_BITMAP_GRANULARITY_MAX  31u

/* "Snapshot table", the fixed part of an entry and the extra data this code knows */
struct qb_disk_snapshot {
    be64 l1_table_offset;
    be32 l1_size;
    be16 id_size;
    be16 name_size;
    be32 date_sec;
    be32 date_nsec;
    be64 vm_clock_nsec;
    be32 vm_state_size;
    be32 extra_data_size;
};
static_assert(sizeof(struct qb_disk_snapshot) == 40, "snapshot table entry");

struct qb_disk_snapshot_extra {
    be64 vm_state_size_large;
    be64 disk_size;
};
static_assert(sizeof(struct qb_disk_snapshot_extra) == 16, "snapshot extra data");

enum { QB_SNAPSHOT_ICOUNT_AT = 16 }; /* in the extra data of newer entries: 8 bytes, ~0 for none */

/* "Cluster mapping": L1 and L2 entries */
#define QB_ENTRY_COPIED          (1ull << 63)
#define QB_ENTRY_COMPRESSED      (1ull << 62)
#define QB_ENTRY_ZERO            (1ull << 0)
#define QB_ENTRY_OFFSET          0x00fffffffffffe00ull
#define QB_L1_RESERVED           0x7f000000000001ffull
#define QB_L2_RESERVED           0x3f000000000001feull
#define QB_BITMAP_TABLE_RESERVED 0xff000000000001feull
#define QB_REFTABLE_OFFSET       0xfffffffffffffe00ull
#define QB_REFTABLE_RESERVED     0x1ffull

/* Limits, the same as QEMU's. */
#define QB_MAX_L1_BYTES         (32ull << 20)
#define QB_MAX_REFTABLE_BYTES   (8ull << 20)
#define QB_MAX_SNAPSHOTS        65536u
#define QB_MAX_SNAPSHOT_TABLE   (64ull << 20)
#define QB_MAX_SNAPSHOT_EXTRA   1024u
#define QB_MAX_BITMAPS          65535u
#define QB_MAX_BITMAP_DIRECTORY (64ull << 20)
#define QB_MAX_BITMAP_BYTES     (512ull << 20) /* of one bitmap's data */
#define QB_BITMAP_NAME_MAX      1023u
#define QB_MAX_BACKING_NAME     1023u
#define QB_MAX_BACKING_FMT      15u
/* Two more limits.  Bytes kept of an extension that no sector can hold: */
#define QB_MAX_EXT_READ 4096u
/* Bytes.  A LUKS header with all its key material takes a few MiB. */
#define QB_MAX_LUKS_HEADER (1ull << 30)

#endif
