#include "amend/as_found.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/be.h"
#include "base/own.h"

enum {
    WINDOW = 1 << 20, /* bytes that are read at once */
    BLOCK = 4096,     /* bytes that can be unreadable, and the unit in which zeros are left out */
    UNREADABLE = 256, /* blocks; with more of them the time-outs would take too long */
};

struct scan {
    struct qb_io *io;
    struct qb_file *file;
    struct qb_hasher *hasher;
    uint8_t *buf; /* WINDOW bytes */
    unsigned unreadable;
    struct qb_err *err;
};

/* Every item of the fingerprint is one of a place and a length; no bytes: they cannot be read. */
static void add(struct scan *s, uint64_t at, const uint8_t *bytes, uint64_t len)
{
    const be64 head[3] = {be64_of(at), be64_of(len), be64_of(bytes != NULL)};

    qb_hasher_add(s->hasher, head, sizeof(head));
    if (bytes)
        qb_hasher_add(s->hasher, bytes, len);
}

static void add_blocks(struct scan *s, uint64_t first, uint64_t end)
{
    for (uint64_t at = first; at < end; at += BLOCK) {
        const uint8_t *bytes = s->buf + (at - first);
        uint64_t len = QB_MIN((uint64_t)BLOCK, end - at);

        if (!qb_all_zero(bytes, len))
            add(s, at, bytes, len);
    }
}

static bool is_of_the_medium(int errnum)
{
    return errnum == EIO || errnum == ENODATA || errnum == EBADMSG || errnum == EUCLEAN ||
           errnum == EREMOTEIO || errnum == EILSEQ;
}

static int read_into(struct scan *s, uint64_t first, uint64_t end, struct qb_req *req)
{
    *req = (struct qb_req){
        .file = s->file, .op = QB_OP_READ, .offset = first, .len = end - first, .buf = s->buf};
    return qb_io_run(s->io, req, 1) ? -1 : 0;
}

/* Reads a window block by block, after reading it at once failed. */
static int scan_block_by_block(struct scan *s, uint64_t first, uint64_t end)
{
    struct qb_req req;

    for (uint64_t at = first, next; at < end; at = next) {
        next = QB_MIN(at + BLOCK, end);
        if (read_into(s, at, next, &req) == 0) {
            add_blocks(s, at, next);
            continue;
        }
        if (!is_of_the_medium(req.error) || ++s->unreadable > UNREADABLE)
            return qb_io_fail(&req, "the file", s->err);
        add(s, at, NULL, next - at);
    }
    return 0;
}

static int scan_window(struct scan *s, uint64_t first, uint64_t end)
{
    struct qb_range part = qb_file_data_part(s->file, first, end - first);
    struct qb_req req;

    if (part.first >= part.end)
        return 0;
    first = part.first - part.first % BLOCK;
    end = qb_min(qb_round_up(part.end, BLOCK), s->file->size);
    if (read_into(s, first, end, &req) < 0)
        return is_of_the_medium(req.error) ? scan_block_by_block(s, first, end)
                                           : qb_io_fail(&req, "the file", s->err);
    add_blocks(s, first, end);
    return 0;
}

static int scan_file(struct scan *s)
{
    uint64_t size = s->file->size;

    for (uint64_t at = 0; at < size; at += WINDOW) {
        at = qb_file_next_data(s->file, at);
        at -= at % WINDOW;
        if (at < size && scan_window(s, at, QB_MIN(at + WINDOW, size)) < 0)
            return -1;
    }
    add(s, size, NULL, 0);
    return 0;
}

int qb_as_found(struct qb_io *io, struct qb_file *file, struct qb_digest *out, struct qb_err *err)
{
    QB_AUTO(qb_buf) uint8_t *buf = malloc(WINDOW);
    struct scan s = {io, file, qb_hasher_new(), buf, 0, err};
    struct stat st;
    int r = buf && s.hasher ? 0 : qb_fail_memory(err);

    *out = (struct qb_digest){0};
    if (r == 0 && file->fd >= 0 && fstat(file->fd, &st) == 0 && S_ISREG(st.st_mode))
        file->size = (uint64_t)st.st_size; /* it may have been cut or lengthened since */
    if (r == 0) {
        qb_file_drop_cache(file);
        qb_hasher_reset(s.hasher);
        r = scan_file(&s);
    }
    if (r == 0)
        *out = qb_hasher_end(s.hasher);
    qb_hasher_free(s.hasher);
    return r;
}
