/* Writes clusters of data at the places to which they move: they are read into the writer's buffer,
 * so that what lies in one piece on either side is one read and one write. */
#include "amend/append_parts.h"

#define ASK_EVERY 64u /* clusters */

int qb_append_moved(struct qb_writer *w, struct qb_plan *plan, const struct qb_step *step,
                    struct qb_err *err)
{
    const struct qb_moved_extent *e = &plan->moves.extents.items[step->index];
    uint64_t cs = plan->geom.cluster_size;

    for (uint64_t i = 0; i < e->n; i++) {
        if (i % ASK_EVERY == 0 && qb_io_go_on(w->io, err) < 0)
            return -1;
        if (qb_writer_read(w, plan->in.img->file, qb_moves_from(&plan->moves, e->index + i) * cs,
                           cs, err) < 0)
            return -1;
    }
    return 0;
}
