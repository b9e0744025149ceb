#include "qcow2/ext.h"

#include <string.h>

#include "base/num.h"

int qb_ext_parse(const uint8_t *cluster, uint64_t have, uint64_t first, uint64_t end,
                 qb_ext_list *out, uint64_t *list_end, struct qb_err *err)
{
    uint64_t at = first;

    out->n = 0;
    while (at < end) {
        struct qb_disk_ext head;
        struct qb_ext e;

        if (end - at < sizeof(head))
            return qb_fail(err, QB_E_CORRUPT, at,
                           "the header extensions end inside an extension's first 8 bytes");
        if (at + sizeof(head) > have)
            return 1;
        memcpy(&head, cluster + at, sizeof(head));
        e.type = be32_get(head.type);
        e.len = be32_get(head.length);
        if (e.len >
            end - at - sizeof(head)) /* QEMU checks the end marker's length like this, too */
            return qb_fail(err, QB_E_CORRUPT, at,
                           "header extension 0x%08x of %u bytes is too large", e.type, e.len);
        if (e.type == QB_EXT_END) {
            *list_end = at + sizeof(head);
            return 0;
        }
        e.data = cluster + at + sizeof(head);
        if (at + sizeof(head) + e.len > have)
            return 1;
        if (!qb_vec_push(out, e))
            return qb_fail_memory(err);
        at += qb_ext_space(e.len);
    }
    *list_end = 0;
    return 0;
}

enum qb_ext_class qb_ext_class(uint32_t type)
{
    switch (type) {
    case QB_EXT_FEATURE_NAMES:
        return QB_EXT_CLASS_FEATURES;
    case QB_EXT_BITMAPS:
        return QB_EXT_CLASS_BITMAPS;
    default:
        return QB_EXT_CLASS_OTHER;
    }
}

unsigned qb_ext_reader(uint32_t type)
{
    switch (type) {
    case QB_EXT_BITMAPS:
        return 1;
    case QB_EXT_LUKS:
        return 2;
    case QB_EXT_DATA_FILE:
        return 4;
    default:
        return 0;
    }
}

const struct qb_ext *qb_ext_find(const qb_ext_list *list, uint32_t type)
{
    for (size_t i = list->n; i-- > 0;)
        if (list->items[i].type == type)
            return &list->items[i];
    return NULL;
}

void qb_ext_put(uint8_t *at, uint32_t type, const void *data, uint32_t len)
{
    struct qb_disk_ext head = {be32_of(type), be32_of(len)};

    memset(at, 0, qb_ext_space(len));
    memcpy(at, &head, sizeof(head));
    if (len)
        memcpy(at + sizeof(head), data, len);
}
