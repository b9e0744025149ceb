/* Writes data that is not zero: junk in an image; its external data file, a hole as long as the
 * disk and junk past it; a raw disk, mostly holes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "scene/image_parts.h"

enum { JUNK = 0xee, RAW_PAGE = 4096 };

int bench_put_junk(const struct bench_layout *l, int fd, uint64_t at, uint64_t end, uint8_t *buf,
                   struct qb_err *err)
{
    uint64_t cs = l->shape.cluster_size;

    memset(buf, JUNK, cs);
    for (; at < end; at += cs) {
        if (bench_put(fd, buf, QB_MIN(cs, end - at), at, err) < 0)
            return -1;
    }
    return 0;
}

static int fill(const struct bench_layout *l, int fd, uint8_t *buf, struct qb_err *err)
{
    uint64_t size = l->shape.size;

    if (ftruncate(fd, (off_t)size) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot set the data file's size");
    return bench_put_junk(l, fd, size, size + l->shape.junk, buf, err);
}

int bench_write_data_file(const struct bench_layout *l, const char *path, uint8_t *buf,
                          struct qb_err *err)
{
    char data[4096 + sizeof(BENCH_DATA_SUFFIX)];
    int fd, r;

    snprintf(data, sizeof(data), "%s" BENCH_DATA_SUFFIX, path);
    fd = open(data, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot create", data);
    r = fill(l, fd, buf, err);
    if (close(fd) < 0 && r == 0)
        r = qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot write", data);
    return r;
}

int bench_put_raw(const struct bench_layout *l, int fd, struct qb_err *err)
{
    uint64_t step = l->shape.raw_step * l->shape.cluster_size;
    uint8_t page[RAW_PAGE];

    memset(page, JUNK, sizeof(page));
    if (ftruncate(fd, (off_t)l->shape.size) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot set the file's size");
    for (uint64_t at = 0; at < l->shape.used; at += step) {
        if (bench_put(fd, page, QB_MIN(sizeof(page), l->shape.used - at), at, err) < 0)
            return -1;
    }
    return 0;
}
