/* Parses and writes header extensions, the list between the header and the backing file name
 * ("Header extensions"). */
#ifndef QB_QCOW2_EXT_H
#define QB_QCOW2_EXT_H

#include "base/err.h"
#include "base/vec.h"
#include "qcow2/disk.h"

struct qb_ext {
    uint32_t type;
    uint32_t len;        /* bytes of data, without the padding */
    const uint8_t *data; /* points into the buffer that was parsed */
};

typedef QB_VEC(struct qb_ext) qb_ext_list;

/* Classes of extensions by what an amend may do with them. */
enum qb_ext_class {
    QB_EXT_CLASS_FEATURES, /* the feature name table: may be dropped */
    QB_EXT_CLASS_BITMAPS,  /* dropped together with the bitmaps */
    QB_EXT_CLASS_OTHER,    /* never dropped */
    QB_EXT_CLASSES,
};
enum qb_ext_class qb_ext_class(uint32_t type);

/* One bit for each type whose data is read from an open image; 0 for others. */
unsigned qb_ext_reader(uint32_t type);

/* Parses the list from cluster[first, end).  Returns 0; 1 when the list continues at or past
 * `have`, the number of valid bytes of `cluster` (read more and call again); -1 with QB_E_CORRUPT
 * where QEMU would refuse the image: a length, the end marker's included, that crosses `end`, or
 * less than 8 bytes before it.  *out is emptied first and filled on 0; free it with qb_vec_free.
 * *list_end is the first byte past the end marker's 8 bytes (its length, which should be 0, is not
 * counted), or 0 where the list ends at `end` without a marker. */
int qb_ext_parse(const uint8_t *cluster, uint64_t have, uint64_t first, uint64_t end,
                 qb_ext_list *out, uint64_t *list_end, struct qb_err *err);

/* The extension of this type (the last one, as QEMU reads them), or NULL. */
const struct qb_ext *qb_ext_find(const qb_ext_list *list, uint32_t type);

/* Bytes that an extension takes on disk. */
static inline uint64_t qb_ext_space(uint32_t len)
{
    return sizeof(struct qb_disk_ext) + ((uint64_t)len + 7) / 8 * 8;
}

/* Writes one extension at `at` (padding zeroed), which must have qb_ext_space(len) bytes. */
void qb_ext_put(uint8_t *at, uint32_t type, const void *data, uint32_t len);

#endif
