/* Resolves a path name by name, and calls back for every directory and link on the way.
 *
 * Each name is looked up from the descriptor (O_PATH) of the directory that was checked, so a
 * directory that is exchanged meanwhile is checked too, or not reached. */
#ifndef QB_FILES_WAY_H
#define QB_FILES_WAY_H

#include <limits.h>
#include <sys/stat.h>

#include "base/err.h"

enum qb_way_answer { QB_WAY_GO_ON = 0, QB_WAY_END = 1 }; /* and -1 with *err */

struct qb_way;

struct qb_way_rules {
    void *arg;
    /* Whether a name may be looked up in the directory way->dir.  NULL: always. */
    int (*directory)(void *arg, const struct qb_way *way, struct qb_err *err);
    /* Whether the link way->fd in way->dir may be followed; QB_WAY_END: the way ends at the link.
     * NULL: always. */
    int (*link)(void *arg, const struct qb_way *way, struct qb_err *err);
    bool may_lack_last; /* the last name need not exist */
};

struct qb_way {
    int dir;                 /* O_PATH: the directory of the last name */
    char name[NAME_MAX + 1]; /* that name */
    int fd;                  /* O_PATH: the file of that name; -1: none exists */
    struct stat st;          /* of fd */
    bool is_last;            /* the name is the last one */
};

/* A relative path begins in the current directory, reached from the root.  Close *out either way.
 * A path that ends in a slash, or is the root, is a directory: QB_E_NOT_QCOW2. */
int qb_way_follow(const char *path, const struct qb_way_rules *rules, struct qb_way *out,
                  struct qb_err *err);
void qb_way_close(struct qb_way *way);

/* open(2), which also finds out, at no cost, whether the path can have symbolic links on it: false
 * where it has none, and true where it has some or the kernel cannot say. */
int qb_way_open(const char *path, int flags, bool *may_have_links);

/* "/proc/self/fd/N", for opening or examining the file of a descriptor again. */
enum { QB_FD_PATH = 32 };
void qb_fd_path(int fd, char out[QB_FD_PATH]);

/* Closes a descriptor, and sets it to -1, which it may be already. */
void qb_fd_close(int *fd);

#endif
