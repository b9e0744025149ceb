/* Shared by the parts of the append epoch: append.c (what there is to write), append_writer.c
 * (the window), append_tables.c (L2 tables), append_copies.c (copied data), append_packed.c
 * (compressed data), append_moved.c (moved data), append_compare.c (compares instead of writing).
 */
#ifndef QB_AMEND_APPEND_PARTS_H
#define QB_AMEND_APPEND_PARTS_H

#include "plan/plan.h"

enum { QB_WRITER_PARTS = 256, QB_WRITER_READS = 128 };

/* Bytes of the buffer from `at` on, to the next part, go to the file at `offset`. */
struct qb_writer_part {
    uint64_t at, offset;
};

/* A buffer that goes to the file when it is full. */
struct qb_writer {
    struct qb_io *io;
    struct qb_file *file;
    uint8_t *buf;
    uint64_t used, size;      /* bytes */
    uint64_t sparse_from;     /* from this byte on the file reads zero, and long runs of zeros are
                                 left out */
    struct qb_hasher *hasher; /* of all bytes that are put in; NULL without keep_undo */
    bool compares;            /* nothing is written: see qb_plan_compare_tail */
    struct qb_writer_part parts[QB_WRITER_PARTS];
    unsigned n_parts;
    struct qb_range unstarted; /* bytes of the file that hold what the disk was not told to write */
    uint64_t n_unstarted;      /* how much that is */
    struct qb_req reads[QB_WRITER_READS]; /* into the buffer, done before it is written */
    unsigned n_reads;
};

/* Compares these bytes with the file's at `offset`, as far as that reaches: each sector must be the
 * same, or zeros. */
int qb_writer_compare(const struct qb_writer *w, uint64_t offset, const uint8_t *bytes,
                      uint64_t len, struct qb_err *err);

/* Has all steps put into the writer, from the first to the last. */
int qb_append_stretch(struct qb_io *io, struct qb_plan *plan, struct qb_writer *w,
                      struct qb_err *err);

/* What is put in next goes to this place in the file, to which it must be taken before the first
 * byte is put in. */
int qb_writer_seek(struct qb_writer *w, uint64_t offset, struct qb_err *err);

/* Space in the buffer for the next `len` bytes (at most a cluster); NULL after a failure. */
uint8_t *qb_writer_slot(struct qb_writer *w, uint64_t len, struct qb_err *err);

/* A cluster that is read from `offset` of the file, where what the file lacks of it and holes are
 * zeros.  The read may be done later, straight into the buffer. */
int qb_writer_read(struct qb_writer *w, struct qb_file *file, uint64_t offset, uint64_t cluster,
                   struct qb_err *err);

/* Bytes of any length, padded with zeros to whole clusters. */
int qb_writer_put(struct qb_writer *w, const uint8_t *bytes, uint64_t len, uint64_t cluster,
                  struct qb_err *err);

/* Writes what is in the buffer. */
int qb_writer_flush(struct qb_writer *w, struct qb_err *err);

/* Writes the steps [first, end), which are all of them L2 tables. */
int qb_append_tables(struct qb_writer *w, struct qb_plan *plan, size_t first, size_t end,
                     struct qb_err *err);

/* Where the table is that a new one is made from, bytes of the file; 0: it need not be read. */
uint64_t qb_append_source(const struct qb_plan *plan, size_t table);

/* Writes the step, which is clusters of data that move. */
int qb_append_moved(struct qb_writer *w, struct qb_plan *plan, const struct qb_step *step,
                    struct qb_err *err);

/* Writes the step, which is pieces of compressed data that move. */
int qb_append_pieces(struct qb_writer *w, struct qb_plan *plan, const struct qb_step *step,
                     struct qb_err *err);

/* Writes the steps [first, end), which are all of them clusters that are compressed anew. */
int qb_append_packed(struct qb_writer *w, struct qb_plan *plan, size_t first, size_t end,
                     struct qb_err *err);

/* Writes the steps [first, end), which are all of them copied data. */
int qb_append_copies(struct qb_writer *w, struct qb_plan *plan, size_t first, size_t end,
                     struct qb_err *err);

#endif
