/* Takes the fingerprint of a disk by its guest's bytes, wherever they are: of a raw disk, and of
 * the image that it became, in which one cluster has another place. */
#include <string.h>

#include "base/own.h"
#include "content/content.h"
#include "image/map.h"

enum { BUFFER = 1 << 20, WINDOWS = 4096, WINDOW_LEAST = 1 << 20 };

struct scan {
    struct qb_io *io;
    const struct qb_image *img;
    struct qb_map map;
    struct qb_hasher *hasher;
    struct qb_content *out;
    uint8_t *buf;    /* BUFFER bytes */
    uint64_t window; /* first byte of the window that is being hashed */
    bool any;        /* it holds something */
};

/* Guest bytes that have a place in the file. */
struct stretch {
    struct qb_range guest;
    uint64_t host;
};

static int end_window(struct scan *s, struct qb_err *err)
{
    struct qb_content_window w = {.first = s->window};

    if (!s->any)
        return 0;
    w.digest = qb_hasher_end(s->hasher);
    s->any = false;
    return qb_vec_push(&s->out->windows, w) ? 0 : qb_fail_memory(err);
}

/* Sectors of zeros are left out: a hole and written zeros have the same fingerprint. */
static int add_sector(struct scan *s, uint64_t guest, const uint8_t *bytes, struct qb_err *err)
{
    uint64_t window = guest / s->out->window_bytes * s->out->window_bytes;

    if (qb_all_zero(bytes, QB_SECTOR))
        return 0;
    if (window != s->window && end_window(s, err) < 0)
        return -1;
    if (!s->any)
        qb_hasher_reset(s->hasher);
    s->window = window;
    s->any = true;
    qb_hasher_add(s->hasher, &guest, sizeof(guest));
    qb_hasher_add(s->hasher, bytes, QB_SECTOR);
    return 0;
}

static int add_stretch(struct scan *s, const struct stretch *t, struct qb_err *err)
{
    struct qb_file *file = s->img->file;
    uint64_t end = s->img->raw ? s->img->raw_end : file->size, n; /* a raw disk may have a tail */

    for (uint64_t at = t->guest.first; at < t->guest.end; at += n) {
        uint64_t host = t->host + (at - t->guest.first), have;

        n = QB_MIN(t->guest.end - at, (uint64_t)BUFFER);
        have = host < end ? QB_MIN(n, end - host) : 0;
        if (have == 0 || qb_file_is_hole(file, host, have))
            continue;
        memset(s->buf + have, 0, n - have);
        if (qb_io_read(s->io, file, host, s->buf, have, "guest data", err) < 0)
            return -1;
        for (uint64_t i = 0; i < n; i += QB_SECTOR)
            if (add_sector(s, at + i, s->buf + i, err) < 0)
                return -1;
    }
    return 0;
}

/* The next stretch of whole sectors at or after `at`; or empty, and then t->guest.end is where to
 * look on. */
static int next_stretch(struct scan *s, uint64_t at, struct stretch *t, struct qb_err *err)
{
    uint64_t size = s->img->header.size, cs = s->img->geom.cluster_size, first;
    struct qb_map_run run;

    if (s->img->raw) {
        first = qb_file_next_data(s->img->file, at);
        t->guest.end = size;
        if (first < s->img->raw_end)
            t->guest.end = qb_min(qb_file_data_end(s->img->file, first), s->img->raw_end);
        t->guest.end = qb_min(qb_round_up(t->guest.end, QB_SECTOR), size);
        t->guest.first = QB_MIN(QB_MAX(first - first % QB_SECTOR, at), t->guest.end);
        t->host = t->guest.first;
        return 0;
    }
    if (qb_map_entry(s->io, &s->map, at, size, &run, err) < 0)
        return -1;
    t->guest = (struct qb_range){at, run.end};
    t->host = (run.entry & QB_ENTRY_OFFSET) + at % cs;
    if (qb_l2_kind(&s->img->geom, run.entry) != QB_DATA)
        t->guest.first = t->guest.end;
    return 0;
}

static int scan_disk(struct scan *s, struct qb_err *err)
{
    struct stretch t;

    for (uint64_t at = 0; at < s->img->header.size; at = t.guest.end)
        if (qb_io_go_on(s->io, err) < 0 || next_stretch(s, at, &t, err) < 0 ||
            add_stretch(s, &t, err) < 0)
            return -1;
    return end_window(s, err);
}

int qb_content_take_disk(struct qb_io *io, const struct qb_image *img, struct qb_content *out,
                         struct qb_err *err)
{
    struct scan s = {.io = io, .img = img, .out = out};
    int r;

    *out = (struct qb_content){.window_bytes = WINDOW_LEAST};
    while (out->window_bytes < img->header.size / WINDOWS)
        out->window_bytes *= 2;
    qb_map_init(&s.map, img);
    s.hasher = qb_hasher_new();
    s.buf = malloc(BUFFER);
    r = s.hasher && s.buf ? scan_disk(&s, err) : qb_fail_memory(err);
    qb_hasher_free(s.hasher);
    free(s.buf);
    return r;
}
