#include "content/moves.h"

static size_t run_of(const struct qb_moves *m, uint64_t cluster)
{
    size_t low = 0, high = m->runs.n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (m->runs.items[mid].end <= cluster)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

uint64_t qb_moves_index(const struct qb_moves *m, uint64_t cluster)
{
    size_t i = run_of(m, cluster);
    const struct qb_moved_run *r = i < m->runs.n ? &m->runs.items[i] : NULL;

    return r && r->first <= cluster ? r->index + (cluster - r->first) : UINT64_MAX;
}

uint64_t qb_moves_from(const struct qb_moves *m, uint64_t index)
{
    size_t low = 0, high = m->runs.n;

    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;

        if (m->runs.items[mid].index <= index)
            low = mid;
        else
            high = mid;
    }
    return m->runs.items[low].first + (index - m->runs.items[low].index);
}

uint64_t qb_moves_to(const struct qb_moves *m, uint64_t cluster)
{
    uint64_t index = qb_moves_index(m, cluster);
    size_t low = 0, high = m->extents.n;

    if (index == UINT64_MAX || high == 0)
        return cluster;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;

        if (m->extents.items[mid].index <= index)
            low = mid;
        else
            high = mid;
    }
    return m->extents.items[low].to + (index - m->extents.items[low].index);
}

const struct qb_moved_piece *qb_moves_piece(const struct qb_moves *m, uint64_t offset,
                                            uint64_t available)
{
    size_t low = 0, high = m->pieces.n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct qb_moved_piece *p = &m->pieces.items[mid];

        if (p->offset < offset || (p->offset == offset && p->available < available))
            low = mid + 1;
        else
            high = mid;
    }
    if (low == m->pieces.n || m->pieces.items[low].offset != offset ||
        m->pieces.items[low].available != available)
        return NULL;
    return &m->pieces.items[low];
}
