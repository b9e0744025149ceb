/* Selects the images of a list, `from_file:` of an entry. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "util/slow_input.h"
#include "manifest/select.h"
#include "util/text.h"

enum {
    READ_AT_ONCE = 64 << 10,
    PATHS_MAX = 4000000, /* in one list; more means an endless input */
    NAMED_MAX = 3,       /* missing files that a mistake names */
};

struct list {
    struct qb_select *select;
    const char *name;
    char end; /* after each path */
    struct qb_place at;
    const struct qb_excludes *excludes;
    size_t entry;
    size_t lines, paths;
    char line[PATH_MAX + 1]; /* the one that is read */
    size_t len;
};

static int complain(struct list *l, enum qb_mistake code, const char *text)
{
    return qb_diag_add(l->select->diags, code, l->at, NULL, "%s:%zu: %s", l->name, l->lines, text);
}

/* A line is whole. */
static int take_line(struct list *l)
{
    size_t before;
    char *path;

    l->line[l->len] = '\0';
    if (strlen(l->line) != l->len)
        return complain(l, QB_M_BAD_VALUE, "a NUL in a path (is this a list for from_file0?)");
    if (l->len == 0 || (l->end == '\n' && l->line[0] == '#'))
        return 0;
    if (++l->paths > PATHS_MAX)
        return complain(l, QB_M_TOO_BIG, "a list of more than 4 million paths");
    path = qb_select_path(l->select, l->line);
    l->select->is_relative = l->line[0] != '/';
    before = l->select->picks.n;
    if (qb_select_pick(l->select, path, l->at, l->excludes, l->entry) < 0)
        return -1;
    if (l->select->picks.n > before)
        l->select->picks.items[before].found = true;
    return 0;
}

static int take_byte(struct list *l, char c)
{
    int r;

    if (c != l->end) {
        if (l->len == PATH_MAX)
            return complain(l, QB_M_TOO_BIG, "longer than a path can be (4096 bytes)");
        l->line[l->len++] = c;
        return 0;
    }
    r = take_line(l);
    l->len = 0;
    l->lines++;
    return r;
}

static int cannot_read(struct list *l, int errnum)
{
    const char *why = errnum == EISDIR    ? "it is a directory"
                      : errnum == ENOTSUP ? "it is a device"
                      : errnum == EINTR   ? "interrupted"
                                          : strerror(errnum);

    return qb_diag_add(l->select->diags, QB_M_FILE, l->at, NULL, "cannot read the list \"%s\": %s",
                       l->name, why);
}

static int read_lines(struct list *l, int fd)
{
    QB_AUTO(qb_buf) char *buf = malloc(READ_AT_ONCE);
    ssize_t n;

    if (!buf)
        return qb_diag_memory(l->select->diags);
    while ((n = qb_incoming_read(fd, buf, READ_AT_ONCE)) > 0)
        for (ssize_t i = 0; i < n; i++)
            if (take_byte(l, buf[i]) < 0)
                return -1;
    if (n < 0)
        return cannot_read(l, errno);
    return l->len ? take_line(l) : 0;
}

/* A list of which no file exists is one mistake, not one failure for each of its lines. */
static int check_any_is_there(struct list *l, size_t first)
{
    size_t n = l->select->picks.n - first, used = 0;
    const struct qb_pick *picks = n ? &l->select->picks.items[first] : NULL;
    char count[QB_TEXT_NUMBER], names[NAMED_MAX * 100 + 1] = "";
    struct stat st;

    for (size_t i = 0; i < n; i++)
        if (stat(picks[i].path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR))
            return 0;
    if (n <= NAMED_MAX) /* each of them fails by itself */
        return 0;
    for (size_t i = 0; i < NAMED_MAX; i++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s\"%.90s\"", i ? ", " : "",
                                 picks[i].path);
    return qb_diag_add(l->select->diags, QB_M_NO_MATCH, l->at, NULL,
                       "none of the %s files that the list \"%s\" names exists: %s, ...",
                       qb_text_count(n, count), l->name, names);
}

/* The files of a wrong list are not examined. */
static void drop(struct qb_select *select, size_t first)
{
    while (select->picks.n > first)
        free(select->picks.items[--select->picks.n].path);
}

static int open_list(struct list *l)
{
    bool is_stdin = strcmp(l->name, "-") == 0;
    QB_AUTO(qb_buf) char *path = NULL;
    int fd;

    if (is_stdin && l->select->stdin_taken) {
        qb_diag_add(l->select->diags, QB_M_BAD_VALUE, l->at, NULL,
                    "standard input has been read already");
        return -1;
    }
    l->select->stdin_taken |= is_stdin;
    path = is_stdin ? strdup("-") : qb_select_path(l->select, l->name);
    fd = path ? qb_incoming_open(path) : (errno = ENOMEM, -1);
    if (fd < 0)
        cannot_read(l, errno);
    return fd;
}

int qb_select_add_list(struct qb_select *select, const char *name, char end, struct qb_place at,
                       const struct qb_excludes *excludes, size_t entry)
{
    size_t picked = select->picks.n;
    QB_AUTO(qb_buf) struct list *l = malloc(sizeof(*l));
    int fd, r;

    if (!l)
        return qb_diag_memory(select->diags);
    *l = (struct list){select, name, end, at, excludes, entry, .lines = 1};
    fd = open_list(l);
    if (fd < 0)
        return -1;
    r = read_lines(l, fd);
    qb_incoming_close(fd);
    if (r == 0 && select->picks.n == picked)
        return qb_diag_add(select->diags, QB_M_NO_MATCH, at, NULL, "the list \"%s\" names no image",
                           name);
    r = r == 0 ? check_any_is_there(l, picked) : r;
    if (r < 0)
        drop(select, picked);
    return r;
}
