/* Makes the temporary directory of a bench in a directory of the user's choice, locks it while in
 * use, and removes it with its content.  Directories of earlier benches that were killed are
 * removed too. */
#ifndef QB_SCENE_WORKDIR_H
#define QB_SCENE_WORKDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct bench_workdir {
    char path[3072]; /* absolute; "" when there is none */
    int fd;          /* of the folder; holds the lock, and serves for syncfs */
    int device;      /* of an image that is on one; -1: none */
};

int bench_workdir_open(const char *in, struct bench_workdir *dir, struct qb_err *err);
void bench_workdir_close(struct bench_workdir *dir, bool keep);

/* Removes everything inside, and waits until the file system has nothing left to do. */
int bench_workdir_empty(const struct bench_workdir *dir, struct qb_err *err);

/* Bytes that ordinary users may still write there. */
uint64_t bench_workdir_free(const struct bench_workdir *dir);

/* Removes what is at that name inside, if anything. */
void bench_workdir_remove(const struct bench_workdir *dir, const char *name);

/* Has the file system write all it holds back. */
int bench_workdir_settle(const struct bench_workdir *dir, struct qb_err *err);

/* Drops one file's pages; and, where the process may, every unused page and inode of the machine:
 * true if so. */
void bench_cache_drop_file(const char *path);
bool bench_cache_drop_all(void);

#endif
