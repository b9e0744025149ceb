/* Finds files that are picked twice: two amends of one image would race.  By device and inode, so
 * that no link hides it; a file that is not there is compared by its path. */
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "util/signal.h"
#include "manifest/select.h"

struct id {
    uint64_t dev, ino;
    const char *path; /* NULL when dev and ino say it */
    size_t pick;
};

/* Two picks of one file. */
struct twice {
    size_t later, first;
};

static struct id id_of(struct qb_pick *pick, size_t i)
{
    struct stat st;

    if (stat(pick->path, &st) < 0)
        return (struct id){0, 0, pick->path, i};
    pick->dev = st.st_dev;
    pick->ino = st.st_ino;
    if (S_ISBLK(st.st_mode)) /* every node of a device is the device */
        return (struct id){UINT64_MAX, st.st_rdev, NULL, i};
    return (struct id){st.st_dev, st.st_ino, NULL, i};
}

static int compare_ids(const struct id *x, const struct id *y)
{
    if (!x->path != !y->path)
        return x->path ? 1 : -1;
    if (x->path)
        return strcmp(x->path, y->path);
    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    if (x->ino != y->ino)
        return x->ino < y->ino ? -1 : 1;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const struct id *x = a, *y = b;
    int order = compare_ids(x, y);

    return order ? order : x->pick < y->pick ? -1 : 1;
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
    QB_AUTO(qb_buf) struct id *ids = malloc((n + 1) * sizeof(*ids));
    QB_AUTO(qb_buf) struct twice *twice = malloc((n + 1) * sizeof(*twice));

    if (!ids || !twice)
        return qb_diag_memory(select->diags);
    for (size_t i = 0; i < n && !qb_signal_seen(); i++)
        ids[i] = id_of(&select->picks.items[i], i);
    if (qb_signal_seen())
        return qb_diag_add(select->diags, QB_M_FILE, (struct qb_place){0}, NULL, "interrupted");
    qsort(ids, n, sizeof(*ids), by_id);
    for (size_t i = 1, first = 0; i < n; i++) {
        if (compare_ids(&ids[first], &ids[i]) != 0)
            first = i;
        else
            twice[found++] = (struct twice){ids[i].pick, ids[first].pick};
    }
    qsort(twice, found, sizeof(*twice), by_later);
    for (size_t i = 0, end; i < found; i = end) { /* one mistake for all files of one place */
        for (end = i + 1; end < found && same_place(select, &twice[i], &twice[end]);)
            end++;
        complain(select, &twice[i], end - i - 1);
    }
    return found ? -1 : 0;
}
