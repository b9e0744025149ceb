/* Reads with one request, and explains requests that failed. */
#include <string.h>

#include "io/backend.h"

int qb_io_read(struct qb_io *io, struct qb_file *file, uint64_t offset, void *buf, uint64_t len,
               const char *what, struct qb_err *err)
{
    struct qb_req req = {.file = file, .op = QB_OP_READ, .offset = offset, .len = len, .buf = buf};

    return qb_io_run(io, &req, 1) ? qb_io_fail(&req, what, err) : 0;
}

int qb_io_read_head(struct qb_io *io, struct qb_file *file, void *buf, uint64_t len,
                    struct qb_err *err)
{
    bool has = file->head && file->head_len >= len;

    if (has) {
        memcpy(buf, file->head, len);
        file->stats.read_ops++;
        file->stats.read_bytes += len;
        qb_io_know_limit(io, file);
    }
    qb_file_drop_head(file);
    return has ? 0 : qb_io_read(io, file, 0, buf, len, "the header", err);
}

int qb_io_fail(const struct qb_req *req, const char *what, struct qb_err *err)
{
    static const char *const verbs[] = {
        [QB_OP_READ] = "read",
        [QB_OP_WRITE] = "write",
        [QB_OP_FILL] = "write",
        [QB_OP_ZERO] = "zero",
        [QB_OP_PUNCH] = "give back the space of",
        [QB_OP_SET_SIZE] = "change the length of",
        [QB_OP_SYNC] = "make durable",
    };
    uint64_t offset = req->op == QB_OP_SYNC ? QB_NOWHERE : req->offset;

    if (req->error == QB_EGUARD)
        return qb_fail(err, QB_E_INTERNAL, offset,
                       "write guard: the plan does not let this phase %s %s", verbs[req->op], what);
    if (req->op == QB_OP_READ && req->error == ENODATA)
        return qb_fail(err, QB_E_CORRUPT, offset, "%s ends past the end of the file", what);
    return qb_fail_sys(err, req->error, offset, "cannot %s %s", verbs[req->op], what);
}
