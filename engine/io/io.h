/* Bytes at offsets, many at a time.
 *
 * A `struct qb_io` is one worker's way to the disk (a ring and its buffers); it belongs to one
 * thread.  A batch of requests may touch many files; its requests may reach the disk in any order.
 * Nothing is durable before qb_io_barrier. */
#ifndef QB_IO_IO_H
#define QB_IO_IO_H

#include "io/file.h"

enum qb_op {
    QB_OP_READ,     /* len bytes into buf; a file that ends earlier gives ENODATA */
    QB_OP_WRITE,    /* len bytes from buf */
    QB_OP_FILL,     /* len bytes of real zeros are written; no buffer */
    QB_OP_ZERO,     /* the range reads zero and its space is reserved (fallocate) */
    QB_OP_PUNCH,    /* the range reads zero and its space is given back; size unchanged */
    QB_OP_SET_SIZE, /* the file becomes `offset` bytes long; what is new reads zero */
    QB_OP_SYNC,     /* fdatasync of this file */
};

struct qb_req {
    struct qb_file *file;
    enum qb_op op;
    uint64_t offset;
    uint64_t len;
    void *buf;
    int error; /* out: 0, an errno, or QB_EGUARD */
};

#define QB_EGUARD 4095 /* the write guard said no; above every errno */

struct qb_io; /* opaque; the back ends are ring.c, posix.c and mem.c */

/* QB_IO_AUTO takes io_uring where the host allows it, else posix; *fell_back (may be NULL) says
 * why, or is set to NULL.  QB_IO_URING fails where the host refuses. */
int qb_io_open(enum qb_io_kind kind, struct qb_io **out, const char **fell_back,
               struct qb_err *err);
void qb_io_close(struct qb_io *io);
const char *qb_io_name(const struct qb_io *io); /* "uring", "posix", "mem" */

/* Bytes that whoever reads or writes a lot through this holds in memory at once.  What is read is
 * looked at soon after, so a window is to stay in the worker's share of the caches: twice as large
 * a one took one and a half times as long. */
enum { QB_WINDOW_BYTES = 4 << 20, QB_WINDOW_LEAST = 1 << 20 };
uint64_t qb_io_window(const struct qb_io *io);
void qb_io_set_window(struct qb_io *io, uint64_t bytes);

/* While this is set, reads and the writes of an append fail with ECANCELED once stop(arg) is true,
 * which is asked before each batch: so whatever takes long can be given up.  A flip and what comes
 * behind it goes on.  NULL: never. */
typedef bool qb_stop_fn(void *arg);
void qb_io_set_stop(struct qb_io *io, qb_stop_fn *stop, void *arg);

/* 0 to continue; -1 with QB_E_CANCELLED once stop(arg) is true.  A loop over what a file claims
 * (tables, runs, pages of counts) calls it as it goes: holes and memory are walked without a
 * request that would notice. */
int qb_io_go_on(struct qb_io *io, struct qb_err *err);

/* From now on what is read and written waits for its turn; the pace is not owned, and NULL is none.
 * Barriers do not wait: what they wait for has. */
struct qb_pace;
void qb_io_set_pace(struct qb_io *io, struct qb_pace *pace);

/* What is remembered of the owners of images while the files that these name are opened (named.h);
 * not owned.  NULL: their rule holds, and nothing is remembered. */
struct qb_owners;
void qb_io_set_owners(struct qb_io *io, struct qb_owners *owners);

/* How much of a long stretch to write at once: at most `bytes`, less where there is a pace. */
uint64_t qb_io_piece(const struct qb_io *io, uint64_t bytes);

/* Runs the requests, in any order and together, and waits for all of them.  Short transfers and
 * EINTR are carried on.  Every request's `error` is set; returns how many failed.  Counts into each
 * file's stats.  A request that the guard forbids fails alone, before any system call of it. */
size_t qb_io_run(struct qb_io *io, struct qb_req *reqs, size_t n);

/* One read, or one write, with the failure put into words; -1 or 0.  `what` names the bytes. */
int qb_io_read(struct qb_io *io, struct qb_file *file, uint64_t offset, void *buf, uint64_t len,
               const char *what, struct qb_err *err);

/* The sentence for a failed request; returns -1. */
int qb_io_fail(const struct qb_req *req, const char *what, struct qb_err *err);

enum qb_sync { QB_SYNC_AUTO, QB_SYNC_FILE, QB_SYNC_FS };

/* All that was written to these files before is on disk when this returns.  errors[i] is 0 or the
 * errno for files[i]; returns how many failed.  Never retried: the kernel may have dropped the
 * pages.  One syncfs a file system, or one fdatasync a file with many in flight. */
size_t qb_io_barrier(struct qb_io *io, struct qb_file *const *files, size_t n, enum qb_sync how,
                     int *errors);

#endif
