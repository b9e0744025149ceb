/* libqbatch: amends qcow2 images in place without ever losing a guest's byte.
 *
 * The library does not print, does not exit and has no global state; calls for different images may
 * run in different threads.  Sizes and offsets are bytes unless a name says otherwise; strings are
 * NUL-terminated UTF-8.  The terms are those of the qcow2 specification (QEMU, docs/interop).
 *
 * What is stable.  A program that was built with one version runs with each later one of the same
 * SONAME: libqbatch.so.0.MINOR before 1.0, libqbatch.so.MAJOR from then on.  Within a SONAME
 *
 *   errors, enums     numbers and names stay; new ones are added at the end, before ..._COUNT, so
 *                     that a program must expect unknown values
 *   qb_request,       grow at the end.  A program sets struct_size, and leaves 0 what it does not
 *   qb_options        use: 0 is the default of every member, also of later ones.  A request for
 *                     something that an older library lacks is refused (unsupported)
 *   qb_result,        grow at the end.  Only the library makes them, and programs neither copy them
 *   qb_check_result,  nor take their size.  What they point to belongs to them, and is valid as
 *   qb_found, qb_info long as they are
 *   qb_clusters,      never change: they are members of others
 *   qb_leaks,
 *   qb_io_stats,
 *   qb_name_list,
 *   qb_bitmap_...,
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
    QB_E_WHEN,            /* the image does not match `when` of a manifest */
    QB_E_EXPECTATION,     /* `expect` or `after` of a manifest does not hold */
    QB_E_BACKING_REFUSED, /* a file that the image names and its owner may not use */
    QB_E_LEAKS,           /* leaked clusters that may not be there, or not be freed */
    QB_E_UNDONE,          /* the run amended it before, and an undo reverted that */
    QB_E_NO_LOCKS,        /* locks do not reach every user who can open the image */
    QB_E_LIMIT,           /* a limit of the system, e.g. on open files */
    QB_E_OUTSIDE_ROOTS,   /* a file that the image names, and that lies outside of the roots */
    QB_E_OVER_BUDGET,     /* more time, space, files or text than the image's files explain */
    QB_E_STALE,           /* it is not what it was when a saved plan was made */
    QB_E_BY_HAND,         /* somebody has skipped it while the run was in progress */
    QB_E_CRASHED,         /* the process that worked on it died of it */
    QB_E_COUNT
};

#define QB_NOWHERE UINT64_MAX /* an error that is not about one place of the file */

/* Why something failed. */
struct qb_failure {
    enum qb_code code; /* QB_E_NONE: nothing failed, and the other members have no meaning */
    int sys_errno;     /* 0 when no system call was involved */
    uint64_t offset;   /* byte of the image file, or QB_NOWHERE */
    const char *text;  /* one sentence without the path and without a full stop */
};

QB_API const char *qb_code_name(enum qb_code code); /* "no_space": permanent, for programs */
QB_API const char *qb_code_hint(enum qb_code code); /* what a person can do about it */
QB_API bool qb_code_retryable(enum qb_code code);   /* the same request may succeed later */

/* ---- requests -------------------------------------------------------------------------------- */

/* The amend keys, as bits of qb_request.set.  A key that is not set is not touched. */
enum qb_key {
    QB_KEY_COMPAT = 1 << 0,
    QB_KEY_SIZE = 1 << 1,
    QB_KEY_BACKING_FILE = 1 << 2,
    QB_KEY_BACKING_FMT = 1 << 3,
    QB_KEY_LAZY_REFCOUNTS = 1 << 4,
    QB_KEY_REFCOUNT_BITS = 1 << 5,
    /* Options of qemu-img that are accepted, and refused with the reason if they would change
     * something. */
    QB_KEY_PREALLOCATION = 1 << 6,
    QB_KEY_ENCRYPTION = 1 << 7,
    QB_KEY_CLUSTER_SIZE = 1 << 8,
    QB_KEY_COMPRESSION_TYPE = 1 << 9,
    QB_KEY_EXTENDED_L2 = 1 << 10,
    QB_KEY_DATA_FILE = 1 << 11,
    QB_KEY_DATA_FILE_RAW = 1 << 12,
    QB_KEY_BITMAPS = 1 << 13,   /* any of qb_request.bitmaps_... */
    QB_KEY_SNAPSHOTS = 1 << 14, /* any of qb_request.snapshots_... */
    QB_KEY_REPAIR = 1 << 15,
    QB_KEY_RECLAIM = 1 << 16, /* any of qb_request.reclaim_... */
    QB_KEY_CONVERT = 1 << 17, /* any of qb_request.convert_... */
};

/* How qb_request.size is meant. */
enum qb_size_is {
    QB_SIZE_SET,      /* the new virtual size */
    QB_SIZE_ADDED,    /* bytes that are added to the present virtual size */
    QB_SIZE_AT_LEAST, /* the new virtual size of a smaller image; a larger one keeps its own */
};

/* What a downgrade makes of a zero cluster where a backing file would show: version 2 has none. */
enum qb_zero_clusters {
    QB_ZERO_ALLOCATE, /* a cluster of its own (a hole at the end of the file) */
    QB_ZERO_SHARE,    /* many entries refer to one cluster; the file barely grows */
    QB_ZERO_DEFER, /* unallocated where the whole backing chain reads zero, else its own cluster */
};

/* How new clusters of zeros are made. */
enum qb_zero_method {
    QB_ZEROED_AUTO,   /* a hole if the file system has holes, else by another method */
    QB_ZEROED_HOLE,   /* the file is only lengthened */
    QB_ZEROED_FALLOC, /* fallocate: the space is reserved */
    QB_ZEROED_WRITE,  /* real zeros are written */
};

enum qb_verify {
    QB_VERIFY_NONE,
    QB_VERIFY_METADATA, /* the metadata is read back from disk and its references are counted again
                         */
    QB_VERIFY_CONTENT,  /* and all that the guest can see is compared with the state before */
};

/* What an amend does with leaks, clusters whose refcount is above the number of their references.
 * The refcounts of a dirty image are not used: they are rebuilt in any case. */
enum qb_on_leaks {
    QB_LEAKS_KEEP, /* they stay counted and unchanged */
    QB_LEAKS_FREE, /* their refcounts are lowered to the number of references; the space is freed */
    QB_LEAKS_FAIL, /* the image is refused */
};

/* Whether an image is amended that is reached through symbolic links, or has several names. */
enum qb_on_link {
    QB_ON_LINK_BY_OWNER, /* if each symbolic link is root's, the caller's or the image's owner's */
    QB_ON_LINK_FOLLOW,
    QB_ON_LINK_FAIL, /* it is refused, with a second hard link, too */
};

/* What is mended on request, in images that are not dirty, too: bits of qb_request.repair. */
enum qb_repair {
    QB_REPAIR_REFCOUNTS = 1, /* refcounts that are too low, refcount blocks that are unusable, and
                                the COPIED flags that follow from them */
    QB_REPAIR_LEAKS = 2,     /* refcounts that are too high, whatever on_leaks says */
    QB_REPAIR_FLAGS = 4,     /* COPIED flags; the mark of a corrupt image that is whole */
    QB_REPAIR_BITMAPS = 8,   /* inconsistent bitmaps are removed */
};

/* Names, or patterns of names: `*`, `?` and `[...]` as fnmatch(3) has them. */
struct qb_name_list {
    const char *const *items;
    size_t n;
};

/* A persistent bitmap that gets another name. */
struct qb_bitmap_rename {
    const char *from, *to; /* 1 to 1023 bytes each */
};

/* A persistent bitmap that is added, with all bits clear. */
struct qb_bitmap_add {
    const char *name;     /* 1 to 1023 bytes */
    uint64_t granularity; /* bytes of the disk for one bit, a power of two from 512 to 2 GiB; 0: as
                             QEMU's, the cluster size within 4 KiB and 64 KiB */
    bool disabled;        /* QEMU records no writes in it */
};

/* Persistent bitmaps whose bits are set in another one, too. */
struct qb_bitmap_merge {
    struct qb_name_list from; /* names, not patterns */
    const char *to;
};

struct qb_bitmap_renames {
    const struct qb_bitmap_rename *items;
    size_t n;
};

struct qb_bitmap_adds {
    const struct qb_bitmap_add *items;
    size_t n;
};

struct qb_bitmap_merges {
    const struct qb_bitmap_merge *items;
    size_t n;
};

struct qb_request {
    size_t struct_size; /* sizeof(struct qb_request) */
    unsigned set;       /* bits of enum qb_key */
    unsigned compat;    /* 2 (0.10) or 3 (1.1) */
    uint64_t size;      /* bytes, as size_is says */
    enum qb_size_is size_is;
    const char *backing_file; /* NULL or "": none */
    const char *backing_fmt;  /* NULL or "": none */
    bool lazy_refcounts;
    uint64_t refcount_bits;    /* 1, 2, 4 ... 64 */
    const char *preallocation; /* "metadata", "falloc" or "full": every cluster is allocated */
    bool encryption;           /* from here to data_file_raw: compared with what the image has */
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
    bool without_locks; /* amend also where locks do not reach every user who can open the image */
    bool keep_undo; /* leave replaced clusters as they are, so that the old header still works */
    /* Open backing files that the image's owner could not read (policy.owner_must_read: off).  By
     * default they are QB_E_BACKING_REFUSED: anyone who can write an image controls its header. */
    bool owner_need_not_read;
    /* Directories and block devices: any other file that an image names, and that does not lie
     * beneath one of them, is QB_E_OUTSIDE_ROOTS.  n = 0: anywhere. */
    struct qb_name_list roots;
    bool one_file_system; /* ... nor on another file system than one of them */
    enum qb_on_link on_link;
    /* Free what an earlier amend of this image with keep_undo kept: the old header's sector of that
     * amend, 512 bytes, while the image's header is the one that it wrote.  NULL: free nothing. */
    const uint8_t *free_kept;
    enum qb_verify verify;
    uint64_t memory_limit; /* bytes that planning one image may use; 0: 512 MiB */
    uint64_t punch_min;    /* bytes; if less is freed, it stays allocated in the file and the guest
                              reuses it */
    /* Refuse amends that depend on which parts a backing file that is not local (nbd:, rbd:, ...)
     * has allocated.  By default it is assumed to hold data everywhere. */
    bool fail_if_remote;

    /* Internal snapshots that are deleted.  Candidates are those whose name one of the patterns
     * matches (n = 0: all; a snapshot without a name goes by its ID); the newest ones of these
     * stay, and so do those that are not old enough. */
    struct qb_name_list snapshots_delete;
    double snapshots_older_than;    /* seconds; 0: of any age */
    uint64_t snapshots_keep_newest; /* candidates; 0: none */
    uint64_t now;                   /* seconds since 1970, from which ages count; 0: the clock's */

    unsigned repair; /* bits of enum qb_repair */

    /* Persistent bitmaps.  What is asked for is done in this order: remove, rename, add, merge,
     * clear, enable, disable.  Patterns may match none. */
    struct qb_name_list bitmaps_remove;
    bool bitmaps_remove_inconsistent; /* those that were in use when their writer went away */
    struct qb_name_list bitmaps_clear, bitmaps_enable, bitmaps_disable;
    struct qb_bitmap_renames bitmaps_rename; /* no name twice */
    struct qb_bitmap_adds bitmaps_add;
    struct qb_bitmap_merges bitmaps_merge; /* one after the other */

    /* Free the space of clusters that nothing uses, those that were free before included: by a
     * hole, by a shorter file, or on a block device by discarding them. */
    bool reclaim_free;
    bool reclaim_reserved; /* ... also space that is reserved and was never written */
    /* Data clusters that read zero become zero clusters, or unallocated where the image has no
     * backing file; then as reclaim_free. */
    bool reclaim_zeros;
    bool reclaim_compact; /* clusters move to free places before them; then as reclaim_free */
    /* The file is a raw disk, and becomes an image: "raw" and "qcow2", both or none.  The caller
     * knows that the file is raw; a file that looks like an image of any format is refused, since a
     * guest can write a header.  `cluster_size` and `extended_l2` are then properties that the
     * image gets. */
    const char *convert_from, *convert_to;
    uint64_t convert_length; /* bytes that the raw disk had when a conversion was interrupted, which
                                may have made the file longer; 0: the file's length */
    const uint8_t *convert_header; /* 512 bytes that it may have written: a file that begins with
                                      them is that image.  NULL: none */
    bool room_first; /* use free ranges inside the file before it grows: block devices always do */
    /* Free leaks also where a leaked cluster is an L2 table that nothing names, of other leaked
     * clusters, and a layer lacks one: they may be all that is left of a guest's data.  By default
     * that is QB_E_LEAKS, of a dirty image, too. */
    bool free_lost_tables;
};

/* ---- results --------------------------------------------------------------------------------- */

/* What `qemu-img info` prints, under its names. */
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
    const char *backing_file;     /* NULL or "": none */
    const char *backing_fmt;      /* NULL or "": the header names none */
    const char *compression_type; /* "zlib" or "zstd" */
    const char *data_file;        /* NULL or "": none, or the header does not name it */
    const char *format; /* "qcow2"; "raw": the file is a raw disk, and of the other properties has
                           only virtual_size */
};

enum qb_status {
    QB_STATUS_CHANGED,
    QB_STATUS_UNCHANGED,
    QB_STATUS_WOULD_CHANGE, /* dry run */
    QB_STATUS_SKIPPED,      /* because of the policy, e.g. locked */
    QB_STATUS_FAILED,
    QB_STATUS_INTERRUPTED,
};

/* Counts from reading the image's tables, and from the plan.  All in clusters. */
struct qb_clusters {
    bool valid;         /* false: the amend did not need to read the tables */
    uint64_t total;     /* guest clusters of the active layer */
    uint64_t allocated; /* entries with data, each distinct L2 table counted once */
    uint64_t zero_plain;
    uint64_t zero_allocated;
    uint64_t compressed;
    uint64_t expanded;    /* zero entries that got a cluster */
    uint64_t deallocated; /* host clusters that lost their last reference */
    uint64_t copied;      /* entries whose data was copied to a new cluster */
};

/* Clusters whose refcount is above the number of their references, as `qemu-img check` counts
 * leaks. */
struct qb_leaks {
    bool valid;        /* false: the amend did not need to know, or the image was dirty */
    bool freed;        /* freed by the amend; else they are in the amended image too */
    uint64_t clusters; /* if kept: in the amended image; else as found */
    uint64_t bytes;    /* of these clusters */
};

#define QB_FREED_LISTED 100u

struct qb_freed_range {
    uint64_t offset, bytes; /* of the file */
};

struct qb_io_stats {
    uint64_t read_bytes;
    uint64_t write_bytes;  /* including written zeros */
    uint64_t zeroed_bytes; /* made to read zero by the file system, without being written */
    uint64_t read_ops, write_ops, barriers;
};

#define QB_SNAPSHOTS_LISTED 100u

struct qb_deleted_snapshot {
    const char *id, *name;  /* without what they have past 255 bytes */
    uint64_t date;          /* when it was made, seconds since 1970 */
    uint64_t vm_state_size; /* bytes */
};

#define QB_BITMAPS_LISTED 100u

/* What an amend did with a persistent bitmap, as bits. */
enum qb_bitmap_change {
    QB_BITMAP_CHANGE_REMOVED = 1 << 0,
    QB_BITMAP_CHANGE_RENAMED = 1 << 1,
    QB_BITMAP_CHANGE_ADDED = 1 << 2,
    QB_BITMAP_CHANGE_MERGED = 1 << 3, /* it got bits of others */
    QB_BITMAP_CHANGE_CLEARED = 1 << 4,
    QB_BITMAP_CHANGE_ENABLED = 1 << 5,
    QB_BITMAP_CHANGE_DISABLED = 1 << 6,
};

struct qb_changed_bitmap {
    const char *name; /* its present one; of a bitmap that was removed, the one it had */
    const char *from; /* of a bitmap that was renamed, the name it had; else NULL */
    unsigned changes; /* bits of enum qb_bitmap_change, at least one */
};

struct qb_result {
    enum qb_status status;
    struct qb_failure err;        /* code QB_E_NONE unless skipped, failed or interrupted */
    const struct qb_info *before; /* NULL: the image was not read that far */
    const struct qb_info *after;  /* as planned; as it is if status is changed; or NULL */
    struct qb_clusters clusters;
    struct qb_leaks leaks;
    struct qb_io_stats io;
    double open_seconds, read_seconds, plan_seconds, write_seconds, verify_seconds;
    uint64_t file_size_before, file_size_after;
    int64_t allocated_delta;  /* change of the allocated bytes, from st_blocks */
    uint64_t tail_given_back; /* bytes cut off past the image's end, e.g. of an interrupted run */
    /* With QB_E_VERIFY: the header's sector before and after, 512 bytes each, else NULL.  Nothing
     * of the old image was freed, so writing the old sector over the new one restores the old
     * image, as long as no other program has written to it. */
    const uint8_t *old_sector, *new_sector;
    bool repaired;          /* the image was dirty: refcounts were rebuilt */
    bool backing_unchecked; /* the backing file was changed as `rebase -u` does: metadata only */
    bool bitmaps_dropped;   /* all of them: version 2 has none, or their directory is damaged */
    bool without_locks;     /* the file system has no locks, or none that reach every user */
    bool writers_unseen;    /* writers without locks could not be detected */
    unsigned other_names;   /* hard links to the image's file besides its path */
    bool verified;
    bool header_from_disk; /* verification read the header's sector with O_DIRECT, not from the page
                              cache */
    bool header_wrong; /* with QB_E_VERIFY: the sector on disk is not the new one, or unreadable */
    bool backed_up;    /* by a batch: a clone of the image before the amend is in its directory */
    bool committed;    /* the amended header is durable, even if verification failed */
    bool header_sent; /* the header's write was begun; unless committed, the disk has the old or the
                         new one */
    bool resumed;     /* not opened: the resumed run had done it */
    void *memory;     /* owns what the pointers lead to */
    /* Snapshots that the amend deletes: how many, and the first of them in the table's order. */
    unsigned n_snapshots_deleted;
    unsigned n_snapshots_listed; /* of snapshots_deleted: at most QB_SNAPSHOTS_LISTED */
    const struct qb_deleted_snapshot *snapshots_deleted;
    uint64_t refcounts_raised; /* clusters whose refcount was too low, by `repair` */
    uint64_t flags_corrected;  /* clusters whose COPIED flags did not fit, by `repair` */
    bool mark_cleared;         /* that of a corrupt image, by `repair` */
    /* Leaked clusters that the amend frees, in their order: the first ranges. */
    unsigned n_freed_listed; /* at most QB_FREED_LISTED */
    const struct qb_freed_range *freed_first;
    bool data_file_unchecked; /* data_file was changed, and the old file is not there to compare */
    /* Persistent bitmaps that the amend changes, beyond their size: how many, and the first of
     * them: those that are removed, then the others in the directory's order. */
    unsigned n_bitmaps_changed;
    unsigned n_bitmaps_listed; /* of bitmaps_changed: at most QB_BITMAPS_LISTED */
    const struct qb_changed_bitmap *bitmaps_changed;
    /* First byte past the last cluster in use, as amended where planned; 0: it was not needed. */
    uint64_t image_end_offset;
    /* Bytes on disk that `reclaim` frees, as planned.  Where not all of it could be freed, by how
     * much the file takes less (0 for a block device), and reclaim_errno is why; else that is 0. */
    uint64_t reclaimed_bytes;
    int reclaim_errno;
    uint64_t device_lacks; /* bytes by which a block device was too small for what was planned */
    bool converted; /* a raw disk becomes an image: machines that use it must be told the format */
    uint64_t moved_bytes; /* that `reclaim.compact` moves; before it does, about as many */
};

/* ---- one image ------------------------------------------------------------------------------- */

enum qb_io_kind { QB_IO_AUTO, QB_IO_URING, QB_IO_POSIX };

/* A sign is what findings together look like, and not counted. */
enum qb_found_kind { QB_FOUND_CORRUPTION, QB_FOUND_LEAK, QB_FOUND_SIGN };

/* What a check has found. */
struct qb_found {
    enum qb_found_kind kind;
    const char *code; /* "refcount_too_low": permanent, and explained in qbatch(1) */
    uint64_t offset;  /* byte of the file, or QB_NOWHERE */
    const char *text; /* for people */
    /* Of a sign: what may be lost; an offset that is not known is QB_NOWHERE. */
    uint64_t guest_offset, guest_bytes;
};

/* Called for each finding, in no particular order of importance; it is valid only during the call.
 */
typedef void qb_finding_fn(void *arg, const struct qb_found *found);

/* How a call does its work. */
struct qb_options {
    size_t struct_size; /* sizeof(struct qb_options) */
    enum qb_io_kind io;
    bool dry_run;         /* an amend plans, and writes nothing */
    struct qb_stop *stop; /* NULL: the call cannot be stopped */
    qb_finding_fn *found; /* of a check; may be NULL */
    void *found_arg;
};

/* Amends one image: opens, locks, plans, and unless it is a dry run writes, and returns when the
 * change is durable.  The caller must not have the image open for writing: it would be in use.
 * `options` may be NULL: the defaults.  Returns 0 when (*result)->status is changed, unchanged or
 * would_change, else -1.  *result is set in any case, and is the caller's to qb_result_free.  In
 * any case the image is either unchanged for its guest or fully amended; if the request was refused
 * it is unchanged byte for byte. */
QB_API int qb_amend_image(const char *path, const struct qb_request *request,
                          const struct qb_options *options, const struct qb_result **result);

/* Frees a result and all that it points to; NULL is fine. */
QB_API void qb_result_free(const struct qb_result *result);

struct qb_check_result {
    struct qb_failure err;      /* why the references could not be counted */
    const struct qb_info *info; /* NULL: the image was not read that far */
    struct qb_clusters clusters;
    uint64_t corruptions; /* refcounts too low, wrong flags, invalid entries */
    uint64_t leaks;       /* clusters whose refcount is above the number of their references */
    uint64_t end_offset;  /* first byte past the last cluster in use */
    struct qb_io_stats io;
    struct qb_failure data_file_err; /* why the external data file could not be opened; the rest of
                                        the image was checked without it */
};

/* Counts every reference of one image and compares the counts with the refcounts, and the length of
 * its external data file with what is mapped there; never writes.  Returns 0 when they could be
 * counted (also when damage was found), else -1.  *result is set in any case, and is the caller's
 * to qb_check_result_free. */
QB_API int qb_check_image(const char *path, const struct qb_options *options,
                          const struct qb_check_result **result);
QB_API void qb_check_result_free(const struct qb_check_result *result);

/* ---- stopping a call ------------------------------------------------------------------------- */

/* Ends calls from outside: one object may be in the options of many calls, in any threads.  From
 * qb_stop_request on these calls, and all later ones with this object, stop as soon as they can:
 * -1, QB_E_CANCELLED.  An amend that is stopped before its header is written removes what it
 * appended and has the status interrupted: the image is unchanged.  Later it cannot be stopped, and
 * completes. */
struct qb_stop;

QB_API struct qb_stop *qb_stop_new(void);          /* NULL when memory is short */
QB_API void qb_stop_request(struct qb_stop *stop); /* from any thread or signal handler */
QB_API void qb_stop_free(struct qb_stop *stop);    /* once no call uses it; NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
