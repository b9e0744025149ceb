/* libqbatch: amends qcow2 images in place without ever losing a guest's byte.
 *
 * The library does not print, does not exit and has no global state; calls on different images may
 * run in different threads.  Sizes and offsets are bytes unless a name says otherwise; strings are
 * NUL-terminated UTF-8.  The terms are those of the qcow2 specification (QEMU, docs/interop).
 *
 * What is stable.  A program that was built with one version runs with each later one of the same
 * SONAME: libqbatch.so.0.MINOR before 1.0, libqbatch.so.MAJOR from then on.  Within a SONAME
 *
 *   errors, enums     numbers and names stay; new ones are added at the end, before ..._COUNT, so
 *                     that a program must expect values that it does not know
 *   qb_request,       grow at the end.  A program sets struct_size, and leaves 0 what it does not
 *   qb_options        need: 0 is the default of every member, also of later ones.  A request for
 *                     something that an older library does not have is refused (unsupported)
 *   qb_result,        grow at the end.  Only the library makes them, and programs neither copy them
 *   qb_check_result,  nor take their size.  What they point to is theirs, and lives as long
 *   qb_info
 *   qb_clusters,      stay as they are: they lie inside of others
 *   qb_leaks,
 *   qb_io_stats,
 *   qb_failure
 *   texts             (failures, hints, findings) are for people, and may change at any time */
#ifndef QBATCH_H
#define QBATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QB_API __attribute__((visibility("default")))

/* ---- errors ---------------------------------------------------------------------------------- */

enum qb_code {
    QB_E_NONE = 0,
    QB_E_NOT_FOUND,
    QB_E_PERMISSION,
    QB_E_NOT_QCOW2,
    QB_E_UNSUPPORTED,
    QB_E_LOCKED,
    QB_E_DIRTY,
    QB_E_CORRUPT,
    QB_E_REFUSED,
    QB_E_NO_SPACE,
    QB_E_IO,
    QB_E_BACKING_MISSING,
    QB_E_BACKING_LOOP,
    QB_E_HEADER_FULL,
    QB_E_CHANGED,
    QB_E_DURABILITY,
    QB_E_VERIFY,
    QB_E_TIMEOUT,
    QB_E_CANCELLED,
    QB_E_MEMORY,
    QB_E_INTERNAL,
    QB_E_WHEN,            /* `when` of a manifest leaves it out */
    QB_E_EXPECTATION,     /* `expect` or `after` of a manifest does not hold */
    QB_E_BACKING_REFUSED, /* a file that an image names, and whose owner could not read it */
    QB_E_LEAKS,           /* leaked clusters, and on_leaks is fail */
    QB_E_UNDONE,          /* the run amended it before, and an undo took that back */
    QB_E_NO_LOCKS,        /* locks do not reach everybody who can open the image */
    QB_E_LIMIT,           /* open files: a limit of the system */
    QB_E_COUNT
};

#define QB_NOWHERE UINT64_MAX /* an error that is not about one place of the file */

/* Why something failed. */
struct qb_failure {
    enum qb_code code; /* QB_E_NONE: nothing failed, and the rest means nothing */
    int sys_errno;     /* 0 when no system call was involved */
    uint64_t offset;   /* byte of the image file, or QB_NOWHERE */
    const char *text;  /* one sentence without the path and without a full stop */
};

QB_API const char *qb_code_name(enum qb_code code); /* "no_space": permanent, for programs */
QB_API const char *qb_code_hint(enum qb_code code); /* what a person can do about it */
QB_API bool qb_code_retryable(enum qb_code code);   /* the same request may succeed later */

/* ---- what is asked --------------------------------------------------------------------------- */

/* The amend keys, as bits of qb_request.set.  A key that is not set is not touched. */
enum qb_key {
    QB_KEY_COMPAT = 1 << 0,
    QB_KEY_SIZE = 1 << 1,
    QB_KEY_BACKING_FILE = 1 << 2,
    QB_KEY_BACKING_FMT = 1 << 3,
    QB_KEY_LAZY_REFCOUNTS = 1 << 4,
    QB_KEY_REFCOUNT_BITS = 1 << 5,
    /* Known to qemu-img, and refused with the reason when they would change something. */
    QB_KEY_PREALLOCATION = 1 << 6,
    QB_KEY_ENCRYPTION = 1 << 7,
    QB_KEY_CLUSTER_SIZE = 1 << 8,
    QB_KEY_COMPRESSION_TYPE = 1 << 9,
    QB_KEY_EXTENDED_L2 = 1 << 10,
    QB_KEY_DATA_FILE = 1 << 11,
    QB_KEY_DATA_FILE_RAW = 1 << 12,
};

/* What a zero cluster becomes where version 2 has no word for it and a backing file would show. */
enum qb_zero_clusters {
    QB_ZERO_ALLOCATE, /* a cluster of its own (a hole at the end of the file) */
    QB_ZERO_SHARE,    /* many entries name one cluster; the file barely grows */
    QB_ZERO_DEFER, /* unallocated where the whole backing chain reads zero, else its own cluster */
};

/* How new clusters of zeros come to be in the file. */
enum qb_zero_method {
    QB_ZEROED_AUTO,   /* a hole where the file system has holes, else what works */
    QB_ZEROED_HOLE,   /* the file is just longer */
    QB_ZEROED_FALLOC, /* fallocate: the space is reserved */
    QB_ZEROED_WRITE,  /* real zeros are written */
};

enum qb_verify {
    QB_VERIFY_NONE,
    QB_VERIFY_METADATA, /* the metadata is read back from disk and counted once more */
    QB_VERIFY_CONTENT,  /* and all that the guest can see is compared with what it saw before */
};

/* What an amend does about clusters whose refcount is above the number of their references.  The
 * refcounts of a dirty image mean nothing: they are rebuilt in any case. */
enum qb_on_leaks {
    QB_LEAKS_KEEP, /* they stay counted, and nothing touches them */
    QB_LEAKS_FREE, /* the refcounts become the references; the space is freed */
    QB_LEAKS_FAIL, /* the image is refused */
};

struct qb_request {
    size_t struct_size;       /* sizeof(struct qb_request) */
    unsigned set;             /* bits of enum qb_key */
    unsigned compat;          /* 2 (0.10) or 3 (1.1) */
    uint64_t size;            /* new virtual size, or what is added to it */
    bool size_is_delta;       /* `size` is added to the present virtual size */
    bool size_at_least;       /* an image that is larger than `size` already keeps its size */
    const char *backing_file; /* NULL or "": none */
    const char *backing_fmt;  /* NULL or "": none */
    bool lazy_refcounts;
    uint64_t refcount_bits;    /* 1, 2, 4 ... 64 */
    const char *preallocation; /* these are compared with what the image has */
    bool encryption;
    uint64_t cluster_size;
    const char *compression_type;
    bool extended_l2;
    const char *data_file;
    bool data_file_raw;

    enum qb_zero_clusters zero_clusters;
    enum qb_zero_method zero_method;
    bool allow_shrink;
    bool drop_bitmaps;  /* a downgrade may drop persistent bitmaps */
    bool fail_if_dirty; /* refuse a dirty image instead of repairing it */
    enum qb_on_leaks on_leaks;
    bool without_locks; /* amend also where locks do not reach everybody who can open the image */
    bool keep_undo; /* leave replaced clusters as they are, so that the old header still works */
    /* Open backing files that the image's owner could not read (policy.owner_must_read: off).  By
     * default they are QB_E_BACKING_REFUSED: an image is the word of whoever can write it. */
    bool owner_need_not_read;
    /* What an earlier amend of this image with keep_undo kept is freed: its old header's sector,
     * 512 bytes, while the image's header is the one that it wrote.  NULL: nothing. */
    const uint8_t *free_kept;
    enum qb_verify verify;
    uint64_t memory_limit; /* bytes that planning one image may use; 0: 512 MiB */
    uint64_t punch_min;    /* fewer freed bytes are left to the guest, not to the file system */
};

/* ---- what is found --------------------------------------------------------------------------- */

/* The facts of `qemu-img info`, under its names. */
struct qb_info {
    unsigned version; /* 2 is compat 0.10, 3 is compat 1.1 */
    uint64_t virtual_size;
    uint64_t cluster_size;
    unsigned refcount_bits;
    unsigned nb_snapshots;
    unsigned nb_bitmaps;
    unsigned crypt_method; /* 0 none, 1 AES-CBC, 2 LUKS */
    bool lazy_refcounts;
    bool dirty;
    bool corrupt;
    bool extended_l2;
    bool zstd;
    bool external_data_file;
    bool data_file_raw;
    bool has_backing_file;
    const char *backing_file; /* NULL or "": none */
    const char *backing_fmt;  /* NULL or "": the header names none */
};

enum qb_status {
    QB_STATUS_CHANGED,
    QB_STATUS_UNCHANGED,
    QB_STATUS_WOULD_CHANGE, /* dry run */
    QB_STATUS_SKIPPED,      /* for a reason that the policy names, e.g. locked */
    QB_STATUS_FAILED,
    QB_STATUS_INTERRUPTED,
};

/* Counted while the image's tables were read, and by the plan.  All in clusters. */
struct qb_clusters {
    bool valid;         /* false: the amend did not need to read the tables */
    uint64_t total;     /* guest clusters of the active layer */
    uint64_t allocated; /* entries with data of their own, every distinct L2 table once */
    uint64_t zero_plain;
    uint64_t zero_allocated;
    uint64_t compressed;
    uint64_t expanded;    /* zero entries that got a cluster */
    uint64_t deallocated; /* host clusters that nothing refers to any more */
};

/* Clusters whose refcount is above the number of their references, as `qemu-img check` counts
 * leaks. */
struct qb_leaks {
    bool valid;        /* false: the amend did not need to look, or the image was dirty */
    bool freed;        /* by the amend; else they are in the amended image too */
    uint64_t clusters; /* kept: in the amended image; else as found */
    uint64_t bytes;    /* of these clusters */
};

struct qb_io_stats {
    uint64_t read_bytes;
    uint64_t write_bytes;  /* zeros that were written included */
    uint64_t zeroed_bytes; /* made to read zero by the file system, without being written */
    uint64_t read_ops, write_ops, barriers;
};

struct qb_result {
    enum qb_status status;
    struct qb_failure err;        /* code QB_E_NONE unless skipped, failed or interrupted */
    const struct qb_info *before; /* NULL: the image was not read that far */
    const struct qb_info *after;  /* as planned, and as it is once status says changed; or NULL */
    struct qb_clusters clusters;
    struct qb_leaks leaks;
    struct qb_io_stats io;
    double open_seconds, read_seconds, plan_seconds, write_seconds, verify_seconds;
    uint64_t file_size_before, file_size_after;
    int64_t allocated_delta;  /* bytes of disk, from st_blocks */
    uint64_t tail_given_back; /* bytes behind the image's end, e.g. of an interrupted run */
    /* With QB_E_VERIFY: the header's sector before and after, 512 bytes each, else NULL.  Nothing
     * of the old image was given back, so that the old sector, written over the new one, is the old
     * image again as long as nobody else has written to it. */
    const uint8_t *old_sector, *new_sector;
    bool repaired;          /* the image was dirty: refcounts were rebuilt */
    bool backing_unchecked; /* the backing file was changed as `rebase -u` does: metadata only */
    bool bitmaps_dropped;
    bool without_locks;  /* its file system has no locks, or none that reach everybody */
    bool writers_unseen; /* who has it open for writing without locks could not be asked */
    bool verified;
    bool header_from_disk; /* verification read its sector with O_DIRECT, not from the page cache */
    bool header_wrong; /* with QB_E_VERIFY: the sector on disk is not the new one, or unreadable */
    bool backed_up;    /* by the batch: a clone of what the image was is beside it */
    bool committed;    /* the amended header is on disk, whatever is wrong with it */
    bool header_sent;  /* its write was begun; unless committed, the disk has either header */
    bool resumed;      /* not looked at: the run that was gone on with had done it */
    void *memory;      /* holds what the pointers lead to */
};

/* ---- one image ------------------------------------------------------------------------------- */

enum qb_io_kind { QB_IO_AUTO, QB_IO_URING, QB_IO_POSIX };

/* Called for each finding, in no particular order of importance; `text` lives only for the call. */
typedef void qb_finding_fn(void *arg, bool is_leak, uint64_t offset, const char *text);

/* How a call does its work. */
struct qb_options {
    size_t struct_size; /* sizeof(struct qb_options) */
    enum qb_io_kind io;
    bool dry_run;         /* an amend plans, and writes nothing */
    struct qb_stop *stop; /* NULL: the call cannot be stopped */
    qb_finding_fn *found; /* of a check; may be NULL */
    void *found_arg;
};

/* Amends one image: opens, locks, plans, and unless it is a dry run writes and waits until the disk
 * has it.  The caller must not have the image open for writing itself: that counts as in use.
 * `options` may be NULL: the defaults.
 * Returns 0 when (*result)->status is changed, unchanged or would_change, else -1.  *result is set
 * in any case, and is the caller's to qb_result_free.  Either way the image is its old self or
 * fully amended; it is byte for byte its old self whenever the request was refused. */
QB_API int qb_amend_image(const char *path, const struct qb_request *request,
                          const struct qb_options *options, const struct qb_result **result);

/* Frees a result and all that it points to; NULL is fine. */
QB_API void qb_result_free(const struct qb_result *result);

struct qb_check_result {
    struct qb_failure err;      /* why the count could not be made */
    const struct qb_info *info; /* NULL: the image was not read that far */
    struct qb_clusters clusters;
    uint64_t corruptions; /* refcounts too low, flags wrong, entries that point nowhere good */
    uint64_t leaks;       /* clusters counted more often than they are referred to */
    uint64_t end_offset;  /* first byte behind the last cluster in use */
    struct qb_io_stats io;
};

/* Counts every reference of one image and compares; never writes.  Returns 0 when the count could
 * be made (also when it found damage), else -1.  *result is set in any case, and is the caller's to
 * qb_check_result_free. */
QB_API int qb_check_image(const char *path, const struct qb_options *options,
                          const struct qb_check_result **result);
QB_API void qb_check_result_free(const struct qb_check_result *result);

/* ---- stopping a call ------------------------------------------------------------------------- */

/* Ends calls from outside: one object may be in the options of many calls, in any threads.  From
 * qb_stop_request on these calls, and all later ones with this object, stop as soon as they can:
 * -1, QB_E_CANCELLED.  An amend that is stopped before its header is written gives back what it
 * appended and has the status interrupted: the image is its old self.  After that it is no longer
 * stopped, and ends as it would have. */
struct qb_stop;

QB_API struct qb_stop *qb_stop_new(void);          /* NULL when memory is short */
QB_API void qb_stop_request(struct qb_stop *stop); /* from any thread or signal handler */
QB_API void qb_stop_free(struct qb_stop *stop);    /* once no call uses it; NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
