/* Finds files that are picked twice: two amends of one image would race.  Files are compared by
 * device and inode, so that links are recognised; a file that does not exist is compared by its
 * path. */
#include <string.h>

#include "base/own.h"
#include "job/file_name.h"
#include "util/signal.h"
#include "manifest/select.h"

/* Two picks of one file. */
struct twice {
    size_t later, first;
};

static const char *path_of(const void *select, size_t i)
{
    return ((const struct qb_select *)select)->picks.items[i].path;
}

static int by_later(const void *a, const void *b)
{
    const struct twice *x = a, *y = b;

    return x->later < y->later ? -1 : x->later > y->later;
}

static int complain(struct qb_select *select, const struct twice *t, size_t more)
{
    const struct qb_pick *later = &select->picks.items[t->later];
    const struct qb_pick *first = &select->picks.items[t->first];
    bool same_path = strcmp(later->path, first->path) == 0;
    char more_text[64] = "";

    if (more)
        snprintf(more_text, sizeof(more_text), "; and %zu more like it", more);
    if (same_path)
        return qb_diag_add(select->diags, QB_M_SAME_FILE, later->at, NULL,
                           "\"%s\" is reached twice, first in line %u%s", later->path,
                           first->at.line, more_text);
    return qb_diag_add(select->diags, QB_M_SAME_FILE, later->at, NULL,
                       "\"%s\" is reached twice, first as \"%s\" in line %u%s", later->path,
                       first->path, first->at.line, more_text);
}

static bool same_place(const struct qb_select *select, const struct twice *a, const struct twice *b)
{
    const struct qb_place *p = &select->picks.items[a->later].at;
    const struct qb_place *q = &select->picks.items[b->later].at;

    return p->line == q->line && p->column == q->column;
}

int qb_select_check_distinct(struct qb_select *select)
{
    size_t n = select->picks.n, found = 0;
    QB_AUTO(qb_buf) struct qb_file_name *names = malloc((n + 1) * sizeof(*names));
    QB_AUTO(qb_buf) struct twice *twice = malloc((n + 1) * sizeof(*twice));

    if (!names || !twice)
        return qb_diag_memory(select->diags);
    qb_file_names_of(names, n, path_of, select, qb_signal_seen);
    if (qb_signal_seen())
        return qb_diag_add(select->diags, QB_M_FILE, (struct qb_place){0}, NULL, "interrupted");
    for (size_t i = 0; i < n; i++) {
        select->picks.items[i].dev = names[i].file_dev;
        select->picks.items[i].ino = names[i].file_ino;
    }
    qb_file_names_sort(names, n);
    for (size_t i = 1, first = 0; i < n; i++) {
        if (!qb_file_names_are_one(&names[first], &names[i]))
            first = i;
        else
            twice[found++] = (struct twice){names[i].n, names[first].n};
    }
    qsort(twice, found, sizeof(*twice), by_later);
    for (size_t i = 0, end; i < found; i = end) { /* one mistake for all files of one place */
        for (end = i + 1; end < found && same_place(select, &twice[i], &twice[end]);)
            end++;
        complain(select, &twice[i], end - i - 1);
    }
    return found ? -1 : 0;
}
