#include "scene/limit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "scene/image.h"
#include "qcow2/disk.h"

int bench_limit_complain(const char *what)
{
    fprintf(stderr, "qbatch-bench: limit: %s: %s\n", what, strerror(errno));
    return -1;
}

void *bench_limit_buffer(void)
{
    void *buf = NULL;

    if (posix_memalign(&buf, BENCH_LIMIT_ALIGNED, BENCH_LIMIT_PIECE))
        bench_limit_complain("memory");
    return buf;
}

int bench_limit_open(const struct bench_limit *l, const char *path)
{
    int how = (l->flip ? O_RDWR : O_RDONLY) | O_CLOEXEC, fd = open(path, how | O_NOATIME);

    if (fd < 0 && errno == EPERM)
        fd = open(path, how);
    return fd < 0 ? bench_limit_complain(path) : fd;
}

/* ---- reads and writes ------------------------------------------------------------------------ */

int bench_limit_read(int fd, uint64_t at, uint64_t bytes, void *buf)
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

static int read_l1s(const struct bench_limit *l, int fd, void *buf)
{
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < l->l1s; i++)
        r = bench_limit_read(fd, l->l1s_at + i * l->l1s_step, l->l1_size, buf);
    return r;
}

/* Tables that hold little: the start of each. */
static int read_starts(const struct bench_limit *l, int fd, void *buf)
{
    int r = 0;

    for (uint64_t t = 0; r == 0 && t < l->tables; t++)
        r = bench_limit_read(fd, l->tables_at + t * l->tables_step, l->table_used, buf);
    return r;
}

int bench_limit_write(int fd, uint64_t at, uint64_t bytes, const void *buf)
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

/* Stretches of data, as they are. */
static int copy_data(const struct bench_limit *l, int fd, void *buf)
{
    for (uint64_t i = 0; i < l->copies; i++)
        for (uint64_t at = 0, n; at < l->copy_size; at += n) {
            uint64_t from = i * l->copy_step + at;

            n = QB_MIN(l->copy_size - at, BENCH_LIMIT_PIECE);
            if (bench_limit_read(fd, l->copy_at + from, n, buf) < 0 ||
                bench_limit_write(fd, l->copy_to + from, n, buf) < 0)
                return -1;
        }
    return 0;
}

static bool shared(const struct bench_limit *l)
{
    return l->method == BENCH_LIMIT_SHARED;
}

static int read_all(const struct bench_limit *l, int fd, uint64_t at, uint64_t bytes, void *buf)
{
    return shared(l) ? bench_limit_share(l, fd, at, bytes, false)
                     : bench_limit_read(fd, at, bytes, buf);
}

static int read_tables(const struct bench_limit *l, int fd, void *buf)
{
    if (l->tables && l->tables_step != l->table_size)
        return bench_limit_read_scattered(l, fd);
    if (l->table_used < l->table_size)
        return read_starts(l, fd, buf);
    return read_all(l, fd, l->tables_at, l->tables * l->table_size, buf);
}

/* Past the page cache where the file system can. */
static int write_direct(const struct bench_limit *l, const char *path, int fd, const void *buf)
{
    int direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC), r;

    if (direct < 0)
        return bench_limit_write(fd, l->append_at, l->append_size, buf);
    r = bench_limit_write(direct, l->append_at, l->append_size, buf);
    close(direct);
    return r;
}

/* Each piece is on its way to the disk before the next one is there. */
static int write_early(const struct bench_limit *l, int fd, const void *buf)
{
    int r = 0;

    for (uint64_t done = 0, n; r == 0 && done < l->append_size; done += n) {
        n = QB_MIN(l->append_size - done, BENCH_LIMIT_PIECE);
        r = bench_limit_write(fd, l->append_at + done, n, buf);
        if (r == 0 &&
            sync_file_range(fd, (off_t)(l->append_at + done), (off_t)n, SYNC_FILE_RANGE_WRITE) < 0)
            r = bench_limit_complain("sync_file_range");
    }
    return r;
}

static int write_tables(const struct bench_limit *l, const char *path, int fd, const void *buf)
{
    int r = 0;

    for (uint64_t at = 0; r == 0 && l->append_used < l->table_size && at < l->append_size;
         at += l->table_size)
        r = bench_limit_write(fd, l->append_at + at, l->append_used, buf);
    if (l->append_used < l->table_size)
        return r;
    switch (l->method) {
    case BENCH_LIMIT_SHARED:
        return bench_limit_share(l, fd, l->append_at, l->append_size, true);
    case BENCH_LIMIT_DIRECT:
        return write_direct(l, path, fd, buf);
    case BENCH_LIMIT_EARLY:
        return write_early(l, fd, buf);
    default:
        return bench_limit_write(fd, l->append_at, l->append_size, buf);
    }
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
    r = bench_limit_write(direct, at, l->grow_to - at, buf);
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

int bench_limit_append(const struct bench_limit *l, const char *path, int fd, void *buf,
                       uint8_t sector[QB_SECTOR])
{
    uint8_t head[BENCH_LIMIT_HEAD] = {0};

    if (pread(fd, head, QB_MIN(l->head, sizeof(head)), 0) < 0)
        return bench_limit_complain("read");
    memcpy(sector, head, QB_SECTOR);
    if (read_l1s(l, fd, buf) < 0 || read_tables(l, fd, buf) < 0 ||
        read_all(l, fd, l->blocks_at, l->blocks_size, buf) < 0)
        return -1;
    if (copy_data(l, fd, buf) < 0)
        return -1;
    if (l->append_size) /* what is written does not matter, only that it is not what was read */
        memset(buf, 0, QB_MIN(l->append_size, BENCH_LIMIT_PIECE));
    if (write_tables(l, path, fd, buf) < 0 || data_file(l, path) < 0)
        return -1;
    return l->grow_to ? zero_tail(l, path, fd, buf) : 0;
}

int bench_limit_flip(int fd, const uint8_t sector[QB_SECTOR])
{
    return bench_limit_write(fd, 0, QB_SECTOR, sector);
}

int bench_limit_punch(const struct bench_limit *l, int fd)
{
    const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

    for (uint64_t i = 0; i < l->punches; i++) {
        uint64_t at = l->punch_at + i * l->punch_step;

        if (fallocate(fd, mode, (off_t)at, (off_t)l->punch_size) < 0)
            return bench_limit_complain("fallocate");
    }
    if (l->cut_to && ftruncate(fd, (off_t)l->cut_to) < 0)
        return bench_limit_complain("truncate");
    return 0;
}

/* ---- one file -------------------------------------------------------------------------------- */

int bench_limit_one(const struct bench_limit *l, const char *path)
{
    int fd = bench_limit_open(l, path), r;
    void *buf = fd < 0 ? NULL : bench_limit_buffer();
    uint8_t sector[QB_SECTOR];

    if (!buf)
        return -1;
    r = bench_limit_append(l, path, fd, buf, sector);
    if (r == 0 && l->append_size && fdatasync(fd) < 0)
        r = bench_limit_complain("fdatasync");
    if (r == 0 && l->flip && (bench_limit_flip(fd, sector) < 0 || fdatasync(fd) < 0))
        r = bench_limit_complain("flip");
    free(buf);
    close(fd);
    return r;
}
