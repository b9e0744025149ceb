#include "amend/trim.h"

#include <stdio.h>

#include "check/census.h"

/* The first byte past the image's end, or UINT64_MAX when that is uncertain. */
static uint64_t end_of_image(struct qb_io *io, struct qb_file *file, uint64_t memory_limit)
{
    uint64_t end = UINT64_MAX;
    struct qb_err err;
    struct qb_image img;
    struct qb_census c;

    if (qb_image_open(io, file, &img, &err) < 0)
        return end;
    if (qb_image_read_snapshots(io, &img, &err) == 0) {
        if (qb_census_take(io, &img, memory_limit, NULL, NULL, &c, &err) == 0 &&
            qb_census_corruptions(&c) == 0)
            end = qb_round_up(c.end, img.geom.cluster_size);
        qb_census_free(&c);
    }
    qb_image_close(&img);
    return end;
}

uint64_t qb_trim_tail(struct qb_io *io, struct qb_file *file, uint64_t floor, uint64_t memory_limit)
{
    uint64_t before = file->size, keep = floor;
    struct qb_req cut = {.file = file, .op = QB_OP_SET_SIZE};

    if (file->is_block_device || before <= floor)
        return 0;
    keep = qb_max(end_of_image(io, file, memory_limit), floor);
    if (keep >= before)
        return 0;
    cut.offset = keep;
    file->guard = (struct qb_guard){.phase = QB_PHASE_SETTLE, .min_size = keep};
    qb_io_run(io, &cut, 1);
    file->guard = (struct qb_guard){.phase = QB_PHASE_READ};
    return before - file->size;
}

void qb_trim_note(const struct qb_file *file, uint64_t length, struct qb_err *err)
{
    char text[sizeof(err->text)];

    if (file->is_block_device || file->size <= length)
        return;
    snprintf(text, sizeof(text), "%s", err->text);
    snprintf(err->text, sizeof(err->text),
             "%.160s; the file could not be cut to its old length of %llu bytes, which a later run "
             "does",
             text, (unsigned long long)length);
}
