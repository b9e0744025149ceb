#include "scene/limit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "scene/image.h"
#include "qcow2/disk.h"

enum { DEEP = 32 }; /* reads in flight of scattered tables */

int bench_limit_complain(const char *what)
{
    fprintf(stderr, "qbatch-bench: limit: %s: %s\n", what, strerror(errno));
    return -1;
}

/* ---- reads and writes ------------------------------------------------------------------------ */

static int read_range(int fd, uint64_t at, uint64_t bytes, void *buf)
{
    while (bytes) {
        ssize_t n = pread(fd, buf, QB_MIN(bytes, BENCH_LIMIT_PIECE), (off_t)at);

        if (n <= 0)
            return n == 0 ? 0 : bench_limit_complain("read");
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

/* Tables that hold little: the start of each. */
static int read_starts(const struct bench_limit *l, int fd, void *buf)
{
    int r = 0;

    for (uint64_t t = 0; r == 0 && t < l->tables; t++)
        r = read_range(fd, l->tables_at + t * l->tables_step, l->table_used, buf);
    return r;
}

static int write_range(int fd, uint64_t at, uint64_t bytes, const void *buf)
{
    while (bytes) {
        ssize_t n = pwrite(fd, buf, QB_MIN(bytes, BENCH_LIMIT_PIECE), (off_t)at);

        if (n <= 0)
            return bench_limit_complain("write");
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

/* ---- scattered tables: many reads in flight ---------------------------------------------------
 */

struct reader {
    const struct bench_limit *limit;
    int fd;
    uint64_t first;
    int result;
};

static void *read_share(void *arg)
{
    struct reader *r = arg;
    void *buf = malloc(r->limit->table_size);

    for (uint64_t t = r->first; buf && t < r->limit->tables && r->result == 0; t += DEEP)
        r->result = read_range(r->fd, r->limit->tables_at + t * r->limit->tables_step,
                               r->limit->table_size, buf);
    if (!buf)
        r->result = bench_limit_complain("memory");
    free(buf);
    return NULL;
}

static int read_scattered(const struct bench_limit *l, int fd)
{
    pthread_t threads[DEEP];
    struct reader readers[DEEP];
    unsigned n = 0;
    int r = 0;

    for (; n < DEEP; n++) {
        readers[n] = (struct reader){l, fd, n, 0};
        if (pthread_create(&threads[n], NULL, read_share, &readers[n])) {
            r = bench_limit_complain("thread");
            break;
        }
    }
    while (n--) {
        pthread_join(threads[n], NULL);
        r |= readers[n].result;
    }
    return r;
}

static int read_tables(const struct bench_limit *l, int fd, void *buf)
{
    if (l->tables && l->tables_step != l->table_size)
        return read_scattered(l, fd);
    if (l->table_used < l->table_size)
        return read_starts(l, fd, buf);
    return read_range(fd, l->tables_at, l->tables * l->table_size, buf);
}

static int write_tables(const struct bench_limit *l, int fd, const void *buf)
{
    int r = 0;

    if (l->append_used >= l->table_size)
        return write_range(fd, l->append_at, l->append_size, buf);
    for (uint64_t at = 0; r == 0 && at < l->append_size; at += l->table_size)
        r = write_range(fd, l->append_at + at, l->append_used, buf);
    return r;
}

/* ---- the phases of one file ------------------------------------------------------------------ */

static int zero_tail(const struct bench_limit *l, const char *path, int fd, const void *buf)
{
    uint64_t at = l->append_at + l->append_size;
    int direct, r;

    if (l->zeros == BENCH_LIMIT_HOLE || at >= l->grow_to)
        return ftruncate(fd, (off_t)l->grow_to) < 0 ? bench_limit_complain("truncate") : 0;
    if (l->zeros == BENCH_LIMIT_FALLOC)
        return fallocate(fd, 0, (off_t)at, (off_t)(l->grow_to - at)) < 0
                   ? bench_limit_complain("fallocate")
                   : 0;
    direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
    if (direct < 0)
        direct = open(path, O_WRONLY | O_CLOEXEC);
    if (direct < 0)
        return bench_limit_complain(path);
    r = write_range(direct, at, l->grow_to - at, buf);
    close(direct);
    return r;
}

static int grow_data(const struct bench_limit *l, int fd)
{
    const int mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

    if (ftruncate(fd, (off_t)l->data_grow_to) < 0)
        return bench_limit_complain("truncate");
    if (l->data_zeros && fallocate(fd, mode, (off_t)l->data_zeros_at, (off_t)l->data_zeros) < 0)
        return bench_limit_complain("fallocate");
    return fdatasync(fd) < 0 ? bench_limit_complain("fdatasync") : 0;
}

static int data_file(const struct bench_limit *l, const char *path)
{
    char data[4096 + sizeof(BENCH_DATA_SUFFIX)];
    int fd, r;

    if (!l->data_grow_to)
        return 0;
    snprintf(data, sizeof(data), "%s" BENCH_DATA_SUFFIX, path);
    fd = open(data, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return bench_limit_complain(data);
    r = grow_data(l, fd);
    close(fd);
    return r;
}

int bench_limit_append(const struct bench_limit *l, const char *path, int fd, void *buf)
{
    char head[4096];

    if (pread(fd, head, sizeof(head), 0) < 0)
        return bench_limit_complain("read");
    if (read_tables(l, fd, buf) < 0 || read_range(fd, l->blocks_at, l->blocks_size, buf) < 0)
        return -1;
    if (l->append_size) /* what is written does not matter, only that it is not what was read */
        memset(buf, 0, QB_MIN(l->append_size, BENCH_LIMIT_PIECE));
    if (write_tables(l, fd, buf) < 0 || data_file(l, path) < 0)
        return -1;
    return l->grow_to ? zero_tail(l, path, fd, buf) : 0;
}

/* The sector as it was: what it says does not matter to the disk, and the image stays valid. */
int bench_limit_flip(int fd)
{
    uint8_t sector[QB_SECTOR];

    if (pread(fd, sector, sizeof(sector), 0) != sizeof(sector))
        return bench_limit_complain("read");
    return write_range(fd, 0, sizeof(sector), sector);
}

int bench_limit_punch(const struct bench_limit *l, int fd)
{
    const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

    for (uint64_t i = 0; i < l->punches; i++) {
        uint64_t at = l->punch_at + i * l->punch_step;

        if (fallocate(fd, mode, (off_t)at, (off_t)l->punch_size) < 0)
            return bench_limit_complain("fallocate");
    }
    return 0;
}
