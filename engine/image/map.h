/* Finds out what an image's active layer shows, as runs of guest bytes.  Holes of the file and
 * empty parts of the L1 table are skipped, so the cost depends on what is allocated, not on the
 * size that the disk claims.  The pieces of the tables that were read last are kept, so that a walk
 * in guest order reads each piece once, and the system reads the tables ahead of it. */
#ifndef QB_IMAGE_MAP_H
#define QB_IMAGE_MAP_H

#include "image/image.h"
#include "qcow2/l2.h"

enum qb_shows {
    QB_SHOWS_BELOW, /* unallocated: the backing file, or zeros where there is none */
    QB_SHOWS_ZERO,  /* zero clusters, and data clusters that are holes of the file */
    QB_SHOWS_DATA,  /* data, a compressed cluster, or (extended L2) a mixture */
    QB_SHOWS_ERROR, /* what no reader takes: QEMU answers with EIO */
};

struct qb_map_run {
    enum qb_shows shows;
    uint64_t end;    /* guest byte at which the run ends; another run of the same kind may follow */
    uint64_t entry;  /* the first L2 entry of the run; 0 without a table */
    uint64_t bitmap; /* of that entry, extended L2: its second word */
    const char *why; /* QB_SHOWS_ERROR, that entry: what is wrong; else NULL */
};

enum { QB_MAP_PIECE = 4096 };

/* Bytes [first, end) of the file. */
struct qb_map_piece {
    uint64_t first, end;
    be64 words[QB_MAP_PIECE / 8];
};

struct qb_map {
    const struct qb_image *img;
    struct qb_map_piece l1, l2;
    uint64_t last;   /* guest byte asked for last */
    uint64_t walked; /* bytes of L2 tables read since the walk last went backwards */
    struct {
        uint64_t entered; /* the table read last, as its number in the L1 table and 1; 0: none */
        uint64_t at;      /* the next ones are asked for where the walk is here */
        uint64_t asked;   /* tables before this one have been asked for */
    } ahead;
};

void qb_map_init(struct qb_map *map, const struct qb_image *img);

/* The run at guest byte `offset` < limit; run->end <= limit.  A run of unallocated clusters is as
 * long as possible, others reach at least to the end of their cluster.  QB_E_CORRUPT where an L1
 * entry points to no L2 table, or where many of them name the same one. */
int qb_map_run(struct qb_io *io, struct qb_map *map, uint64_t offset, uint64_t limit,
               struct qb_map_run *run, struct qb_err *err);

/* The entry for guest byte `offset` < limit, and the end of its cluster, or of a stretch of
 * clusters that all have this entry and no place, or none; run->end <= limit.  run->shows is not
 * set.  Errors as above. */
int qb_map_entry(struct qb_io *io, struct qb_map *map, uint64_t offset, uint64_t limit,
                 struct qb_map_run *run, struct qb_err *err);

#endif
