/* Declares what `reclaim` gives back. */
#ifndef QB_PLAN_RECLAIM_SPACE_H
#define QB_PLAN_RECLAIM_SPACE_H

#include <stdbool.h>
#include <stdint.h>

/* What `reclaim` gives back beyond what the amend frees (rule_reclaim.c). */
struct qb_reclaim {
    bool asked;        /* every punch counts, however small; a block device is discarded, too */
    uint64_t bytes;    /* on disk, of clusters that are free in the amended image */
    uint64_t moved;    /* bytes that move, with this commit or, foreseen, with those that follow */
    uint64_t shortest; /* foreseen: the file's length after them; 0: as after this one */
    uint64_t end;      /* length to which the file is cut */
    bool past_end;     /* the file has space past its end, which goes too */
};

#endif
