/* What the back ends (ring.c, posix.c, and mem.c of the tests) owe to io.c; nobody else sees it. */
#ifndef QB_IO_BACKEND_H
#define QB_IO_BACKEND_H

#include <errno.h>

#include "io/io.h"
#include "io/mounts.h"

struct qb_io_ops {
    const char *name;

    /* Carries out every request that is not void (below) and sets its `error`.  The guard has been
     * asked, offset + len fits an off_t, and a size is never set on a block device. */
    void (*run)(struct qb_io *io, struct qb_req *reqs, size_t n);

    /* One barrier over all that this back end holds: 0 or an errno that stands for every file.
     * NULL: barrier.c does it with system calls. */
    int (*barrier)(struct qb_io *io);

    void (*close)(struct qb_io *io);
};

/* The first member of every back end's own struct. */
struct qb_io {
    const struct qb_io_ops *ops;
    uint64_t window;  /* bytes; 0: the usual */
    qb_stop_fn *stop; /* NULL: never */
    void *stop_arg;
    struct qb_pace *pace;     /* NULL: as fast as it goes */
    struct qb_owners *owners; /* NULL: the rule holds, and nothing is remembered */
    struct qb_mounts mounts;
};

/* Both return 0 or an errno. */
int qb_ring_open(struct qb_io **out);
int qb_ring_features(unsigned *features); /* 0, or the errno with which no ring could be made */
int qb_posix_open(struct qb_io **out);

/* Whether a barrier with QB_SYNC_FS over this file is one over its whole file system. */
bool qb_barrier_covers_fs(const struct qb_file *file);

/* Carries out one request with plain system calls, its first `done` bytes having been transferred
 * already: 0 or an errno. */
int qb_posix_do(const struct qb_req *req, uint64_t done);

/* Some way to write zeros to the whole pages [left->first, left->end) through a descriptor for
 * direct writes: 0 or an errno.  *left is shortened by what is surely written. */
typedef int qb_fill_fn(void *arg, int fd, struct qb_range *left);

/* Carries out a QB_OP_FILL, its long middle part in this way where the file takes direct writes:
 * 0 or an errno. */
int qb_fill(const struct qb_req *req, qb_fill_fn *how, void *arg);

/* The way with plain system calls; needs no argument. */
int qb_fill_direct(void *unused, int fd, struct qb_range *left);

/* So many zeros, aligned to a page, for ever. */
#define QB_ZEROS_BYTES (1u << 20)
const void *qb_zeros(void);

/* A request that was refused before it began, or that asks for nothing. */
static inline bool qb_req_is_void(const struct qb_req *req)
{
    return req->error != 0 || (req->len == 0 && req->op != QB_OP_SET_SIZE && req->op != QB_OP_SYNC);
}

/* The errno to report for one that the kernel gave.  A medium error may come as ENODATA, which here
 * is the word for a file that ends too early. */
static inline int qb_kernel_errno(int errnum)
{
    return errnum == ENODATA ? EIO : errnum;
}

/* One system call never carries more than this: the kernel stops below 2 GiB anyway. */
#define QB_TRANSFER_MAX ((uint64_t)1 << 30)

#endif
