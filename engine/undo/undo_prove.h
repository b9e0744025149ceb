/* Declares what the parts of the proof that an amend may be undone (undo.h) share: undo_prove.c
 * (the bytes that only the amended image refers to), undo_count.c (refcounts), undo_maps.c (what
 * guests see), undo_edge.c (sizes). */
#ifndef QB_UNDO_UNDO_PROVE_H
#define QB_UNDO_UNDO_PROVE_H

#include "plan/proof.h"
#include "check/census.h"

struct qb_proving {
    struct qb_io *io;
    const struct qb_proof *proof;
    uint64_t memory_limit;     /* bytes, for each census */
    uint64_t old_length;       /* of the file before the amend, bytes */
    struct qb_image old, now;  /* the file under the old header, and as it is */
    struct qb_census old_refs; /* the references of each header; those of now_refs include what is
                                  kept for the undo */
    struct qb_census now_refs;
    struct qb_err *err;
};

/* 0 when the file may be undone: it holds nothing that the old header would hide, and everything
 * that the old header needs.  Both images must be open, with their snapshot tables, and the
 * censuses empty; the caller frees them in any case.  Reads only.  -1 with QB_E_CHANGED and what
 * was found, or with the error of a read. */
int qb_undo_prove(struct qb_proving *p);

/* Fails with QB_E_CHANGED: the old image cannot be restored without a loss, because of what is at
 * `offset`. */
int qb_undo_refuse(struct qb_proving *p, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether what the amend appended, but for a backing name, is as it wrote it. */
int qb_undo_same_stretch(struct qb_proving *p);

int qb_undo_count(struct qb_proving *p);        /* undo_count.c */
int qb_undo_compare_maps(struct qb_proving *p); /* undo_maps.c */

/* Reads an L2 table, one cluster; zeros where there is none (offset 0) or the file has a hole. */
int qb_undo_read_table(struct qb_proving *p, uint64_t offset, uint8_t *table);
int qb_undo_look_beyond(struct qb_proving *p); /* undo_edge.c */

#endif
