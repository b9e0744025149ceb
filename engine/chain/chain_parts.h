/* Declares a file of a backing chain, for chain.c (opening), chain_read.c (reading) and
 * chain_same.c. */
#ifndef QB_CHAIN_CHAIN_PARTS_H
#define QB_CHAIN_CHAIN_PARTS_H

#include "chain/chain.h"
#include "image/map.h"

struct qb_link {
    struct qb_file file;
    struct qb_file data; /* the external data file, once guest data was read from it: data_open */
    bool data_open;
    bool is_qcow2;
    bool is_remote;      /* not local and not opened: file.path is its name */
    uint64_t size;       /* virtual, bytes */
    struct qb_image img; /* qcow2 only */
    struct qb_map map;   /* qcow2 only */
};

/* Opens the external data file that the link's header names, if it is not open yet. */
int qb_link_open_data(struct qb_io *io, struct qb_chain *chain, struct qb_link *l,
                      struct qb_err *err);

/* QB_E_UNSUPPORTED: guest data of this file is needed, and it is "not local", say. */
int qb_link_refuse(const struct qb_link *l, const char *why, struct qb_err *err);

#endif
