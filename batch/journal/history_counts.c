/* Answers what is left of a run, and counts the results of its images. */
#include "journal/history.h"

bool qb_history_is_unfinished(const struct qb_history *h)
{
    return !h->superseded && (!h->ended || h->left > 0 || h->to_finish > 0);
}

bool qb_trace_is_left(const struct qb_trace *t)
{
    bool not_meant = t->status == QB_STATUS_SKIPPED &&
                     (t->code == QB_E_WHEN || t->code == QB_E_UNDONE || t->code == QB_E_BY_HAND);

    if (!t->ended || qb_trace_is_taken_back(t))
        return !t->undone;
    return t->status != QB_STATUS_CHANGED && t->status != QB_STATUS_UNCHANGED && !not_meant;
}

bool qb_trace_has_failed(const struct qb_trace *t)
{
    return t->ended && !qb_trace_is_taken_back(t) &&
           (t->status == QB_STATUS_FAILED ||
            (t->status == QB_STATUS_SKIPPED && t->code == QB_E_LOCKED));
}

bool qb_trace_is_changed(const struct qb_trace *t)
{
    return t->committed && !t->undone;
}

uint64_t qb_history_to_finish(const struct qb_history *h)
{
    uint64_t done = 0;

    if (h->ended)
        return h->to_finish;
    for (size_t i = 0; i < h->traces.n; i++)
        done += !qb_trace_is_left(&h->traces.items[i]);
    return h->images > done ? h->images - done : 0;
}

size_t qb_history_count_failed(const struct qb_history *h)
{
    size_t n = 0;

    for (size_t i = 0; i < h->traces.n; i++)
        n += qb_trace_has_failed(&h->traces.items[i]);
    return n;
}

size_t qb_history_count_undone(const struct qb_history *h)
{
    size_t n = 0;

    for (size_t i = 0; i < h->traces.n; i++)
        n += qb_trace_is_taken_back(&h->traces.items[i]);
    return n;
}

size_t qb_history_count(const struct qb_history *h, enum qb_status status)
{
    size_t n = 0;

    for (size_t i = 0; i < h->traces.n; i++)
        n += h->traces.items[i].ended && h->traces.items[i].status == status &&
             !qb_trace_is_taken_back(&h->traces.items[i]);
    return n;
}

bool qb_history_holds_undo(const struct qb_history *h)
{
    for (size_t i = 0; i < h->traces.n; i++)
        if (qb_trace_holds_undo(&h->traces.items[i]))
            return true;
    return false;
}
