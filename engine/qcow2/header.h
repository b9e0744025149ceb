/* Decodes and encodes the header, cluster 0 up to the extensions.  After decoding every value is in
 * the range that the comments give. */
#ifndef QB_QCOW2_HEADER_H
#define QB_QCOW2_HEADER_H

#include "base/err.h"
#include "qcow2/disk.h"
#include "qcow2/geom.h"

/* Of crypt_method.  AES encrypts a cluster by its guest offset, LUKS by its place in the file. */
enum { QB_CRYPT_AES = 1, QB_CRYPT_LUKS = 2 };

struct qb_header {
    unsigned version;        /* 2 or 3 */
    uint64_t backing_offset; /* 0 = no backing file; the name lies within the first cluster */
    uint32_t backing_len;    /* 1..1023 when there is one */
    unsigned cluster_bits;
    uint64_t size; /* virtual size; any number of bytes */
    uint32_t crypt_method;
    uint32_t l1_size; /* entries; enough for `size` */
    uint64_t l1_offset;
    uint64_t reftable_offset;
    uint32_t reftable_clusters; /* >= 1 */
    uint32_t nb_snapshots;
    uint64_t snapshots_offset;
    uint64_t incompatible, compatible, autoclear;
    unsigned refcount_order;
    uint32_t header_length; /* where the extensions start: 72, or >= 104 */
    uint8_t compression_type;
};

/* Decodes the fixed part from the first `len` bytes of an image (104 are enough for any but the
 * compression type).  No I/O.  QB_E_NOT_QCOW2 without the magic, QB_E_UNSUPPORTED for another
 * version or a value beyond QEMU's limits, QB_E_CORRUPT for invalid values; err->offset is the
 * field. */
int qb_header_decode(const void *buf, size_t len, struct qb_header *h, struct qb_err *err);

/* Refuses unknown incompatible features, with their names from the feature name table.  `names` may
 * be NULL. */
int qb_header_check_features(const struct qb_header *h, const void *names, size_t names_len,
                             struct qb_err *err);

/* Writes the fixed fields into `sector` (512 bytes), as version h->version has them; later bytes
 * are left alone.  Version 3 fields past byte 104 are written as far as header_length reaches. */
void qb_header_encode(const struct qb_header *h, uint8_t *sector);

void qb_header_geom(const struct qb_header *h, struct qb_geom *g);

#endif
