/* Loops of several threads for one worker, and what a thread needs to read in them. */
#include "io/crew.h"

#include "io/backend.h"
#include "io/budget.h"

void qb_io_set_crew(struct qb_io *io, const struct qb_crew *crew)
{
    io->crew = crew;
}

unsigned qb_io_hands(const struct qb_io *io)
{
    return io->crew ? qb_max(io->crew->hands(io->crew->arg), 1) : 1;
}

unsigned qb_io_readers(const struct qb_io *io)
{
    return io->pace || !io->ops->run_part ? 1 : qb_io_hands(io);
}

void qb_io_each(struct qb_io *io, size_t n, unsigned hands, qb_part_fn *fn, void *arg)
{
    if (io->crew && n > 1 && hands > 1) {
        double helped = io->crew->each(io->crew->arg, n, hands, fn, arg);

        if (io->budget)
            io->budget->used_seconds += helped;
        return;
    }
    for (size_t i = 0; i < n; i++)
        fn(arg, 0, i);
}

struct qb_file qb_file_part(const struct qb_file *file)
{
    struct qb_file part = *file;

    part.stats = (struct qb_io_stats){0};
    return part;
}

void qb_file_add_part(struct qb_file *file, const struct qb_file *part)
{
    file->stats.read_bytes += part->stats.read_bytes;
    file->stats.read_ops += part->stats.read_ops;
}

size_t qb_io_read_part(struct qb_io *io, struct qb_req *reqs, size_t n)
{
    size_t failed = 0;

    for (size_t i = 0; i < n; i++) {
        bool fits = qb_range_ok(reqs[i].offset, reqs[i].len, 1, INT64_MAX);

        reqs[i].error = reqs[i].op == QB_OP_READ && fits ? 0 : ENODATA;
    }
    io->ops->run_part(io, reqs, n);
    for (size_t i = 0; i < n; i++) {
        reqs[i].file->stats.read_ops += !reqs[i].error;
        reqs[i].file->stats.read_bytes += reqs[i].error ? 0 : reqs[i].len;
        failed += reqs[i].error != 0;
    }
    return failed;
}
