#include "job/file_name.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/beside.h"
#include "base/num.h"

enum {
    LOOKS_EACH = 256, /* files for which one more thread is worth its start */
    MORE_LOOKERS = 8,
};

struct look {
    struct qb_file_name *names;
    const char *(*path)(const void *arg, size_t n);
    const void *arg;
    bool (*stopped)(void);
};

static struct qb_file_name name_of(const char *path, size_t n)
{
    struct qb_file_name name = {.path = path, .n = n};
    struct stat st;

    if (stat(path, &st) < 0)
        return name;
    name.path = NULL;
    name.file_dev = st.st_dev;
    name.file_ino = st.st_ino;
    name.dev = S_ISBLK(st.st_mode) ? UINT64_MAX : st.st_dev;
    name.ino = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_ino;
    return name;
}

static void look_up(void *arg, size_t n)
{
    const struct look *look = arg;

    look->names[n] = look->stopped && look->stopped() ? (struct qb_file_name){0}
                                                      : name_of(look->path(look->arg, n), n);
}

void qb_file_names_of(struct qb_file_name *names, size_t count,
                      const char *(*path)(const void *arg, size_t n), const void *arg,
                      bool (*stopped)(void))
{
    struct look look = {names, path, arg, stopped};

    qb_beside_each(count, (unsigned)QB_MIN(count / LOOKS_EACH, MORE_LOOKERS), look_up, &look);
}

static int compare(const struct qb_file_name *x, const struct qb_file_name *y)
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

static int in_order(const void *a, const void *b)
{
    const struct qb_file_name *x = a, *y = b;
    int order = compare(x, y);

    return order ? order : x->n < y->n ? -1 : x->n > y->n;
}

bool qb_file_names_are_one(const struct qb_file_name *a, const struct qb_file_name *b)
{
    return compare(a, b) == 0;
}

void qb_file_names_sort(struct qb_file_name *names, size_t count)
{
    qsort(names, count, sizeof(*names), in_order);
}
