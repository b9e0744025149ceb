/* Reads and writes bytes at offsets, many requests at a time.
 *
 * A `struct qb_io` is one worker's access to the disk (a ring and its buffers); it belongs to one
 * thread.  A batch of requests may touch many files; its requests may reach the disk in any order.
 * Nothing is durable before qb_io_barrier. */
#ifndef QB_IO_IO_H
#define QB_IO_IO_H

#include "files/file.h"

enum qb_op {
    QB_OP_READ,     /* len bytes into buf; a file that ends earlier gives ENODATA */
    QB_OP_WRITE,    /* len bytes from buf */
    QB_OP_FILL,     /* len bytes of real zeros are written; no buffer */
    QB_OP_ZERO,     /* the range reads zero and its space is reserved (fallocate) */
    QB_OP_PUNCH,    /* the range reads zero and its space is freed; size unchanged */
    QB_OP_SET_SIZE, /* the file becomes `offset` bytes long; new bytes read zero */
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

#define QB_EGUARD 4095 /* refused by the write guard; above every errno */

struct qb_io; /* opaque; the back ends are ring.c, posix.c and mem.c */

/* QB_IO_AUTO uses io_uring if the host permits it, else posix; *fell_back (may be NULL) is set to
 * the reason, or to NULL.  QB_IO_URING fails if the host does not permit it. */
int qb_io_open(enum qb_io_kind kind, struct qb_io **out, const char **fell_back,
               struct qb_err *err);
void qb_io_close(struct qb_io *io);
const char *qb_io_name(const struct qb_io *io); /* "uring", "posix", "mem" */

/* The size of windows for long reads and writes, bytes.  What is read is processed soon after, so a
 * window must fit the worker's share of the caches: with twice the size it took one and a half
 * times as long. */
enum { QB_WINDOW_BYTES = 4 << 20, QB_WINDOW_LEAST = 1 << 20 };
uint64_t qb_io_window(const struct qb_io *io);
void qb_io_set_window(struct qb_io *io, uint64_t bytes);

/* What is read, or put together, before it is handled, where each piece is handled by itself: it
 * stays in a core's own cache, and a buffer has few pages, each of which costs a microsecond when
 * it is used first.  A quarter of the window at most. */
enum { QB_SLICE_BYTES = 256 << 10 };
uint64_t qb_io_slice(const struct qb_io *io);

/* While this is set, reads and the writes of an append fail with ECANCELED once stop(arg), which is
 * called before each batch, returns true: so long work can be interrupted.  A flip and what follows
 * it are not.  NULL: never. */
typedef bool qb_stop_fn(void *arg);
void qb_io_set_stop(struct qb_io *io, qb_stop_fn *stop, void *arg);

/* Sets another one for a while; returns the one that there was. */
struct qb_stopper {
    qb_stop_fn *stop;
    void *arg;
};
struct qb_stopper qb_io_swap_stop(struct qb_io *io, struct qb_stopper now);

/* 0 to continue; -1 with QB_E_CANCELLED once stop(arg) is true, or with QB_E_OVER_BUDGET.  Every
 * loop over what a file claims (tables, runs, pages of counts) calls it: holes and memory are
 * walked without a request that would fail. */
int qb_io_go_on(struct qb_io *io, struct qb_err *err);

/* If the process ignores SIGIO, and it will not change that, leases need no other signal, which
 * saves a call for each. */
void qb_io_spare_signals(struct qb_io *io);

/* A phase begins, in which this worker handles its share of many files: RLIMIT_FSIZE is asked for
 * once in it.  Where this is never called, each flip asks for it. */
void qb_io_begin_phase(struct qb_io *io);

/* Limits reads and writes from now on to this pace; it is not owned, and NULL is none.  Barriers
 * are not delayed: the writes that they wait for were. */
struct qb_pace;
void qb_io_set_pace(struct qb_io *io, struct qb_pace *pace);

/* The cache of owners for opening files that images name (named.h); not owned.  NULL: owners are
 * checked, and nothing is cached. */
struct qb_owners;
void qb_io_set_owners(struct qb_io *io, struct qb_owners *owners);

/* What the image in progress may cost (budget.h), with whose pauses it begins and ends; not owned,
 * and NULL is any cost. */
struct qb_budget;
void qb_io_set_budget(struct qb_io *io, struct qb_budget *budget);
struct qb_budget *qb_io_budget(const struct qb_io *io);

/* A file was opened for the image in progress. */
void qb_io_opened(struct qb_io *io, const struct qb_file *file);

/* From now on files are opened by another process, not owned; `direct` asks it for a descriptor of
 * the file past the page cache.  For qb_opener_serve (opener/opener.h). */
struct qb_opener;
typedef void qb_open_direct_fn(struct qb_io *io, struct qb_file *file);
void qb_io_set_opener(struct qb_io *io, const struct qb_opener *opener, qb_open_direct_fn *direct);
const struct qb_opener *qb_io_opener(const struct qb_io *io); /* NULL: none */

/* How much of a long stretch to write at once: at most `bytes`, less if there is a pace. */
uint64_t qb_io_piece(const struct qb_io *io, uint64_t bytes);

/* Runs the requests together, in any order, and waits for all of them.  Short transfers and EINTR
 * are continued.  Sets every request's `error`; returns how many failed.  Adds to each file's
 * stats.  A request that the guard refuses fails alone, before any system call for it. */
size_t qb_io_run(struct qb_io *io, struct qb_req *reqs, size_t n);

/* One read, with a message for its failure; 0 or -1.  `what` names the bytes. */
int qb_io_read(struct qb_io *io, struct qb_file *file, uint64_t offset, void *buf, uint64_t len,
               const char *what, struct qb_err *err);

/* One read from offset 0, of the header; what qb_file_is_cached has read just now is not read
 * again. */
int qb_io_read_head(struct qb_io *io, struct qb_file *file, void *buf, uint64_t len,
                    struct qb_err *err);

/* Fills *err for a failed request; returns -1. */
int qb_io_fail(const struct qb_req *req, const char *what, struct qb_err *err);

enum qb_sync { QB_SYNC_AUTO, QB_SYNC_FILE, QB_SYNC_FS };

/* Makes everything durable that was written to these files before.  errors[i] is 0 or the errno for
 * files[i]; returns how many failed.  A failure is never retried: the kernel may have dropped the
 * pages.  One syncfs per file system, or one fdatasync per file with many in flight. */
size_t qb_io_barrier(struct qb_io *io, struct qb_file *const *files, size_t n, enum qb_sync how,
                     int *errors);

#endif
