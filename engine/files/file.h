/* Opens image files and block devices, and guards what is written to them.
 *
 * A file is owned by one job.  Its write guard is checked for every request that would change it,
 * before any system call, in every build: no bug elsewhere and no malicious image can bypass it. */
#ifndef QB_FILES_FILE_H
#define QB_FILES_FILE_H

#include <sys/types.h>

#include "base/err.h"
#include "base/num.h"

/* The phases of an amend as the guard sees them.
 *
 * READ    nothing may be written.
 * APPEND  writes, fills, zeroing and punches inside `allowed`, sizes of at least `min_size`.
 * FLIP    only a write of exactly the bytes [0, 512).
 * SETTLE  punches inside `allowed`, sizes of at least `min_size`. */
enum qb_phase { QB_PHASE_READ, QB_PHASE_APPEND, QB_PHASE_FLIP, QB_PHASE_SETTLE };

struct qb_guard {
    enum qb_phase phase;
    const struct qb_range *allowed; /* sorted, disjoint; owned by the plan */
    size_t n_allowed;
    uint64_t min_size; /* bytes */
};

/* A range of the file that was found to be all data or all hole. */
struct qb_known {
    struct qb_range range;
    bool is_hole;
};

enum { QB_KNOWN = 16, QB_HEAD = 4096 /* bytes */ };

struct qb_mem_disk; /* the memory back end's file, see mem.h */
struct qb_opener;

/* What is at the path of a file, looked at along with others: see opener/look.h. */
struct qb_seen_ahead {
    double at; /* when, by qb_now; 0: never */
    int errnum;
    dev_t dev;
    ino_t ino;
    uint64_t size;
};

struct qb_file {
    int fd;     /* -1 for a memory file */
    int direct; /* with has_direct: see direct.h */
    bool has_direct;
    char *path;    /* owned */
    uint64_t size; /* bytes; kept up to date by QB_OP_SET_SIZE and writes past the end */
    uint64_t allocated_at_open; /* the value of qb_file_allocated at that time */
    bool is_block_device;       /* cannot grow or shrink */
    bool writable;
    dev_t dev; /* st_dev and st_ino of the file at the path; of the node if it is a device */
    ino_t ino;
    uid_t uid; /* its owner and group when it was opened */
    gid_t gid;
    unsigned other_names; /* hard links to it besides its path */
    bool may_have_links;  /* symbolic links on the way were not ruled out when it was opened */
    uint64_t mount_id;    /* as in /proc/self/mountinfo; 0: the kernel does not report it */
    bool blocks;          /* see qb_file_make_blocking */
    bool without_locks;   /* see qb_file_claim */
    bool writers_unseen;  /* see qb_file_claim */
    const struct qb_opener *opener; /* of whom this process had it, and may ask; or NULL */
    struct qb_seen_ahead ahead;
    struct qb_guard guard;
    struct qb_io_stats stats;
    uint64_t limit; /* of qb_file_limit, once something was read; the flip goes by a later one */
    bool limit_known;
    struct qb_known known[QB_KNOWN]; /* the last answers about holes, see file.c */
    unsigned n_known, next_known;
    uint8_t *head; /* owned: bytes that qb_file_is_cached has read; or NULL */
    size_t head_len;
    struct qb_mem_disk *mem;
    bool mem_reserved; /* of a memory file: see qb_file_is_reserved */
};

/* Opens a regular file or block device, read-only (see qb_file_reopen_writable); any other kind
 * (directory, FIFO, socket) is refused without being opened for I/O or waited for.  The file starts
 * in QB_PHASE_READ with no locks.  Reads leave its access time as it is, where the caller owns the
 * file or is root. */
int qb_file_open(const char *path, struct qb_file *out, struct qb_err *err);

/* Like qb_file_open, but what is known of the file is what was at the path just before:
 * must be followed by qb_file_measure, which checks that it is the same file. */
int qb_file_open_to_claim(const char *path, struct qb_file *out, struct qb_err *err);

/* Like qb_file_open, for the file of the descriptor `fd` (O_PATH, its kind checked
 * already), which the caller still owns.  `path` is the file's name for messages. */
int qb_file_reopen(int fd, const char *path, struct qb_file *out, struct qb_err *err);

/* Whether a file of this kind can hold an image: 0, or -1 with QB_E_NOT_QCOW2 and "is a FIFO". */
int qb_file_check_kind(mode_t mode, struct qb_err *err);
/* Opens the path again, for writing, in place of the file's read-only descriptor, which is closed
 * first: a lease on it ends.  Must be followed by qb_file_measure, which checks that it is the same
 * file. */
int qb_file_reopen_writable(struct qb_file *file, struct qb_err *err);

/* Reads the size and the allocation again: values from before the locks were held may be out of
 * date.  QB_E_CHANGED when the descriptor belongs to another file. */
int qb_file_measure(struct qb_file *file, struct qb_err *err);

/* Takes O_NONBLOCK off the open file, once: with it, io_uring would report EAGAIN for bytes not yet
 * cached.  Other calls do not heed it.  Other flags stay: a journal is appended to.  Returns the
 * descriptor. */
int qb_file_make_blocking(struct qb_file *file);

/* Closes (and so unlocks) the file; harmless on an empty struct. */
void qb_file_close(struct qb_file *file);

/* Whether the file's length still equals `size`: no other process has changed it. */
bool qb_file_keeps_size(const struct qb_file *file);

/* Whether the file was written so lately that the disk may not have it yet; the kernel writes back
 * what is older than half a minute.  What was written to a block device is not known: true. */
bool qb_file_may_be_unsynced(const struct qb_file *file);

/* Whether all of [offset, offset + len) is known to be a hole.  Asks with SEEK_DATA and remembers
 * some extents, so that a walk in host order costs two calls per extent, not one per table.  false
 * when unknown. */
bool qb_file_is_hole(struct qb_file *file, uint64_t offset, uint64_t len);

/* The first byte at or after `offset` that is not known to be in a hole; the file's size when there
 * is none. */
uint64_t qb_file_next_data(struct qb_file *file, uint64_t offset);

/* The end of the data at `offset`, a byte that qb_file_next_data returned; UINT64_MAX if unknown.
 */
uint64_t qb_file_data_end(struct qb_file *file, uint64_t offset);

/* Like qb_file_next_data, for those who need not know where that data ends: one call instead of two
 * for each extent of a file that consists of many small ones. */
uint64_t qb_file_seek_data(struct qb_file *file, uint64_t offset);

/* The part of [offset, offset + len) that is left without the known holes at its ends; empty if all
 * of it is a hole.  For reading mostly empty clusters of metadata. */
struct qb_range qb_file_data_part(struct qb_file *file, uint64_t offset, uint64_t len);

/* To be called when bytes of [first, end) have changed: drops the known holes and data there. */
void qb_file_forget(struct qb_file *file, uint64_t first, uint64_t end);

/* Whether the file's first bytes can be read without waiting for the disk.  They are kept for the
 * next qb_io_read_head, which is to follow at once. */
bool qb_file_is_cached(struct qb_file *file);

void qb_file_drop_head(struct qb_file *file);

/* Makes later reads come from the disk, as far as the bytes are durable: drops the known holes, and
 * asks the kernel to drop its cached pages. */
void qb_file_drop_cache(struct qb_file *file);

/* Starts writeback of these bytes, while more is prepared before the barrier that waits for all of
 * them.  A hint: nothing depends on it. */
void qb_file_start_writeback(const struct qb_file *file, uint64_t offset, uint64_t len);

/* The offset at and past which this process may not write to the file (RLIMIT_FSIZE), bytes;
 * UINT64_MAX if there is no limit. */
uint64_t qb_file_limit(const struct qb_file *file);

/* Bytes that the file occupies on disk (st_blocks). */
uint64_t qb_file_allocated(const struct qb_file *file);

/* QEMU's byte-range locks (OFD, never waiting): see lock.c.  `for_amend` takes the locks that
 * `qemu-img amend` takes on the image it changes and excludes readers as well, otherwise those that
 * QEMU takes on a backing file that it only reads.  QB_E_LOCKED names the permission in conflict,
 * and then no lock is held.  If the file system has no locks, an amend fails with QB_E_NO_LOCKS,
 * and a reader continues without.  On success the file has been measured again; read the header
 * (again) after this.  in_use.h has what else an amend needs. */
int qb_file_lock(struct qb_file *file, bool for_amend, struct qb_err *err);

/* Whether another process holds QEMU's locks that conflict with an amend: -1 with QB_E_LOCKED, else
 * 0.  Takes no lock. */
int qb_file_look_for_locks(const struct qb_file *file, struct qb_err *err);

/* Whether the guard permits this change (an enum qb_op, see io.h): 0, or QB_EGUARD. */
int qb_guard_check(const struct qb_file *file, int op, uint64_t offset, uint64_t len);

#endif
