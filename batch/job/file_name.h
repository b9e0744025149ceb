/* Decides whether two names lead to one file: by device and inode, so that links are recognised;
 * for block devices by the number of the device.  A file that does not exist is compared by its
 * path. */
#ifndef QB_JOB_FILE_NAME_H
#define QB_JOB_FILE_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct qb_file_name {
    uint64_t dev, ino;
    const char *path; /* not owned; NULL when dev and ino identify the file */
    dev_t file_dev;   /* of the file itself; file_ino is 0 if it does not exist */
    ino_t file_ino;
    size_t n; /* the caller's number for the name */
};

/* Looks up `count` files, path(arg, n) each, by several threads where there are many: each look
 * waits for the file system, which serves several at a time (a disk, or another host that must be
 * asked).  Ends early, with what is left zeroed, once stopped() (NULL: never). */
void qb_file_names_of(struct qb_file_name *names, size_t count,
                      const char *(*path)(const void *arg, size_t n), const void *arg,
                      bool (*stopped)(void));

bool qb_file_names_are_one(const struct qb_file_name *a, const struct qb_file_name *b);

/* Sorts the names so that those of one file are adjacent, in the order of their numbers. */
void qb_file_names_sort(struct qb_file_name *names, size_t count);

#endif
