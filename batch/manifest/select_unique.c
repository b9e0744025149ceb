/* Finds files that are picked twice: two amends of one image would race.  Files are compared by
 * device and inode, so that links are recognised; a file that does not exist is compared by its
 * path.
 *
 * Of several names of one file the one with the fewest links on its way is the file's.  Another one
 * is left out if it is a name that was found, or has a link of another user on its way: whoever
 * owns a folder can make both. */
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "files/way.h"
#include "job/file_name.h"
#include "util/signal.h"
#include "manifest/select.h"

/* Two picks of one file. */
struct twice {
    size_t later, first;
};

/* Those of all files: each in one of the two lists, which both have room for all. */
struct found {
    struct twice *twice, *left_out;
    size_t n_twice, n_left_out;
};

/* The way to a file. */
struct way {
    unsigned links;
    bool foreign; /* one of them is neither root's nor the caller's */
    dev_t dev;    /* of the folder that has its name; with ino 0 that is not known */
    ino_t ino;
    char last[NAME_MAX + 1]; /* the name in it */
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

static int note(struct qb_select *select, const struct twice *t, size_t more)
{
    const struct qb_pick *picks = select->picks.items;
    char more_text[64] = "";

    if (more)
        snprintf(more_text, sizeof(more_text), "; and %zu more like it", more);
    qb_diag_add(select->diags, QB_M_SAME_FILE, picks[t->later].at, NULL,
                "\"%s\" is left out, it is the file of \"%s\"%s", picks[t->later].path,
                picks[t->first].path, more_text);
    qb_diag_is_note(select->diags);
    return 0;
}

static bool same_place(const struct qb_select *select, const struct twice *a, const struct twice *b)
{
    const struct qb_place *p = &select->picks.items[a->later].at;
    const struct qb_place *q = &select->picks.items[b->later].at;

    return p->line == q->line && p->column == q->column;
}

/* ---- other names ----------------------------------------------------------------------------- */

static int count_link(void *arg, const struct qb_way *at, struct qb_err *err)
{
    struct way *way = arg;

    (void)err;
    way->links++;
    way->foreign |= at->st.st_uid != 0 && at->st.st_uid != geteuid();
    return QB_WAY_GO_ON;
}

static struct way way_of(const struct qb_select *select, size_t name)
{
    struct way way = {.links = 0};
    const struct qb_way_rules rules = {.arg = &way, .link = count_link};
    QB_AUTO(qb_way_close) struct qb_way at = {.dir = -1, .fd = -1};
    struct stat st;

    if (qb_way_follow(path_of(select, name), &rules, &at, NULL) == 0 && fstat(at.dir, &st) == 0) {
        way.dev = st.st_dev;
        way.ino = st.st_ino;
        memcpy(way.last, at.name, sizeof(way.last));
    }
    return way;
}

/* Whether a name is left out for the best one, which has as few links or fewer. */
static bool gives_way(const struct qb_select *select, size_t name, const struct way *best)
{
    struct way way = way_of(select, name);
    bool one_entry =
        way.dev == best->dev && way.ino == best->ino && strcmp(way.last, best->last) == 0;

    if (way.ino == 0 || best->ino == 0 || (one_entry && way.links == best->links))
        return false;
    return select->picks.items[name].found || way.foreign;
}

static size_t best_of(const struct qb_select *select, const struct qb_file_name *names, size_t n,
                      struct way *way)
{
    size_t best = names[0].n;

    *way = way_of(select, best);
    for (size_t i = 1; i < n && way->links > 0; i++) {
        struct way other = way_of(select, names[i].n);

        if (other.links < way->links) {
            *way = other;
            best = names[i].n;
        }
    }
    return best;
}

/* The names of one file, in the order of their numbers. */
static void settle(struct qb_select *select, const struct qb_file_name *names, size_t n,
                   struct found *found)
{
    struct way way;
    size_t best = best_of(select, names, n, &way), first = SIZE_MAX;

    for (size_t i = 0; i < n; i++) {
        if (names[i].n != best && gives_way(select, names[i].n, &way)) {
            select->picks.items[names[i].n].left_out = true;
            found->left_out[found->n_left_out++] = (struct twice){names[i].n, best};
        } else if (first == SIZE_MAX) {
            first = names[i].n;
        } else {
            found->twice[found->n_twice++] = (struct twice){names[i].n, first};
        }
    }
}

/* One mistake, or note, for all files of one place. */
static void tell(struct qb_select *select, struct twice *list, size_t n,
                 int (*about)(struct qb_select *, const struct twice *, size_t more))
{
    qsort(list, n, sizeof(*list), by_later);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && same_place(select, &list[i], &list[end]);)
            end++;
        about(select, &list[i], end - i - 1);
    }
}

int qb_select_check_distinct(struct qb_select *select)
{
    size_t n = select->picks.n;
    QB_AUTO(qb_buf) struct qb_file_name *names = malloc((n + 1) * sizeof(*names));
    QB_AUTO(qb_buf) struct twice *room = malloc(2 * (n + 1) * sizeof(*room));
    struct found found = {.twice = room, .left_out = room ? room + n + 1 : NULL};

    if (!names || !room)
        return qb_diag_memory(select->diags);
    qb_file_names_of(names, n, path_of, select, qb_signal_seen);
    if (qb_signal_seen())
        return qb_diag_add(select->diags, QB_M_FILE, (struct qb_place){0}, NULL, "interrupted");
    for (size_t i = 0; i < n; i++) {
        select->picks.items[i].dev = names[i].file_dev;
        select->picks.items[i].ino = names[i].file_ino;
    }
    qb_file_names_sort(names, n);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && qb_file_names_are_one(&names[i], &names[end]);)
            end++;
        if (end > i + 1)
            settle(select, &names[i], end - i, &found);
    }
    tell(select, found.twice, found.n_twice, complain);
    tell(select, found.left_out, found.n_left_out, note);
    return found.n_twice ? -1 : 0;
}
