/* One file of a backing chain: for chain.c (opening) and chain_read.c (reading). */
#ifndef QB_QCOW2_CHAIN_PARTS_H
#define QB_QCOW2_CHAIN_PARTS_H

#include "qcow2/chain.h"
#include "qcow2/map.h"

struct qb_link {
    struct qb_file file;
    bool is_qcow2;
    uint64_t size;       /* virtual, bytes */
    struct qb_image img; /* qcow2 only */
    struct qb_map map;   /* qcow2 only */
};

#endif
