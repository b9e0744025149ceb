/* Reads and writes one file by several threads. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "scene/limit_file.h"

enum { DEEP = 32 }; /* reads in flight of scattered tables */

struct part {
    const struct bench_limit *limit;
    int fd;
    uint64_t first, at, bytes;
    bool write;
    int result;
};

static int run_parts(struct part *parts, unsigned n, void *(*fn)(void *))
{
    pthread_t threads[DEEP];
    unsigned started = 0;
    int r = 0;

    for (; started < n; started++) {
        if (pthread_create(&threads[started], NULL, fn, &parts[started])) {
            r = bench_limit_complain("thread");
            break;
        }
    }
    while (started--) {
        pthread_join(threads[started], NULL);
        r |= parts[started].result;
    }
    return r;
}

static void *read_tables(void *arg)
{
    struct part *p = arg;
    const struct bench_limit *l = p->limit;
    void *buf = malloc(l->table_size);

    for (uint64_t t = p->first; buf && t < l->tables && p->result == 0; t += DEEP)
        p->result = bench_limit_read(p->fd, l->tables_at + t * l->tables_step, l->table_size, buf);
    if (!buf)
        p->result = bench_limit_complain("memory");
    free(buf);
    return NULL;
}

int bench_limit_read_scattered(const struct bench_limit *limit, int fd)
{
    struct part parts[DEEP];

    for (unsigned n = 0; n < DEEP; n++)
        parts[n] = (struct part){.limit = limit, .fd = fd, .first = n};
    return run_parts(parts, DEEP, read_tables);
}

static void *move_range(void *arg)
{
    struct part *p = arg;
    void *buf = bench_limit_buffer();

    if (!buf) {
        p->result = -1;
        return NULL;
    }
    if (p->write)
        memset(buf, 0, QB_MIN(p->bytes, BENCH_LIMIT_PIECE));
    p->result = p->write ? bench_limit_write(p->fd, p->at, p->bytes, buf)
                         : bench_limit_read(p->fd, p->at, p->bytes, buf);
    free(buf);
    return NULL;
}

int bench_limit_share(const struct bench_limit *limit, int fd, uint64_t at, uint64_t bytes,
                      bool write)
{
    struct part parts[DEEP];
    unsigned n = (unsigned)QB_MIN(QB_MAX(limit->threads, 1), DEEP);
    uint64_t each = qb_round_up(qb_div_up(bytes, n), BENCH_LIMIT_ALIGNED);

    for (unsigned i = 0; i < n; i++) {
        uint64_t from = QB_MIN(i * each, bytes);

        parts[i] = (struct part){.limit = limit,
                                 .fd = fd,
                                 .at = at + from,
                                 .bytes = QB_MIN(each, bytes - from),
                                 .write = write};
    }
    return run_parts(parts, n, move_range);
}
