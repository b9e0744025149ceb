/* An amend as data: everything that will be written, decided before anything is.
 *
 * A plan has three epochs.  *Append* puts new metadata where the old image has nothing: one stretch
 * of the file from `base` on, in the order of the steps, with the new clusters of zeros as its
 * tail; or, where the plan may use it, first into room inside the old image (room.h).  *Flip* is
 * one write of sector 0.  *Settle* discards what the amended image no longer refers to.  Making a
 * plan (qb_plan_make) never writes; carrying it out (append.c) never decides. */
#ifndef QB_PLAN_PLAN_H
#define QB_PLAN_PLAN_H

#include "plan/data_file.h"
#include "plan/reclaim_space.h"
#include "plan/proof.h"
#include "plan/rule.h"
#include "plan/sector.h"
#include "check/census.h"
#include "content/moves.h"
#include "chain/chain.h"
#include "qcow2/refcount.h"

#define QB_NO_TABLE SIZE_MAX
/* One L2 table that is rewritten, in a new cluster.  Its content is described, not held: the
 * source's entries, with what the rules decide about each (rule.h). */
struct qb_new_table {
    size_t source;   /* index of the census's tables, or QB_NO_TABLE */
    uint64_t offset; /* in the file, bytes; set by the layout */
    uint32_t refs;   /* L1 entries that will name it */
    uint32_t l1_index;
    bool active;
    bool split;          /* written for the active layer alone: its source stays for snapshots */
    unsigned filled;     /* a bit for each half that something is left in, if the source was read */
    bool empty;          /* no entry is left: the L1 entries become 0, nothing is written */
    bool all_zeros;      /* the source is plain zero clusters throughout, and need not be read */
    uint64_t new_first;  /* its first new cluster of zeros, counted from the zero run's start */
    uint64_t new_used;   /* zero_clusters=share: references that cluster had before this table */
    uint64_t n_new;      /* entries that get a cluster of zeros */
    uint64_t n_appended; /* entries that get one of plan->contents */
    uint64_t n_copied;   /* entries that get a copy, ... */
    uint64_t copies_at;  /* ... one after the other from here on; bytes, set by the layout */
    uint64_t packed_at;  /* where recompressed clusters go; bytes, set by the layout */
    QB_VEC(uint32_t) repacked; /* ... the length of each (recode.h) */
    uint8_t *deferred; /* zero_clusters=defer: one bit an entry that the chain proves zero; owned */
};

/* Bytes that a rule has appended: a data cluster, or metadata of its own. */
struct qb_new_bytes {
    uint8_t *bytes; /* owned, until a step takes them; NULL: the rule's hook `fill` computes them */
    enum qb_rule_id filled_by;
    uint64_t len;
    uint64_t bitmap;  /* a data cluster, extended L2: its subclusters */
    uint64_t offset;  /* in the file, bytes; set by the layout */
    const char *what; /* for people */
};

enum qb_step_kind {
    QB_STEP_TABLE,    /* new L2 table number `index` */
    QB_STEP_L1,       /* the L1 table of layer `index` */
    QB_STEP_BYTES,    /* `bytes` */
    QB_STEP_FILLED,   /* plan->contents number `index`: what its rule computes */
    QB_STEP_MOVED,    /* plan->moves.extents number `index`: clusters of data as they are */
    QB_STEP_PIECES,   /* plan->moves.packed number `index`: compressed data as it is */
    QB_STEP_PACKED,   /* the recompressed clusters of new L2 table number `index` */
    QB_STEP_COPIES,   /* the clusters of new L2 table number `index` that are copies */
    QB_STEP_BLOCK,    /* refcount block `index` */
    QB_STEP_REFTABLE, /* the refcount table */
};

struct qb_step {
    enum qb_step_kind kind;
    size_t index;
    uint64_t offset, len; /* in the file; whole clusters */
    uint8_t *bytes;       /* QB_STEP_BYTES: shorter than or as long as len; owned */
    uint64_t bytes_len;
    const char *what; /* for people */
};

/* What planning is made from.  The request and the lent chain outlive the plan. */
struct qb_plan_in {
    struct qb_io *io; /* while the plan is made */
    const struct qb_image *img;
    const struct qb_request *rq;
    struct qb_file *data; /* empty (fd -1): the external data file is opened in it if need be
                             (data_file.h); or that file */
    const struct qb_chain
        *lent;           /* the image's present backing file, opened by the caller, or NULL */
    enum qb_stays stays; /* what a plan made before has found not to be worth moving */
};

/* The target's backing chain. */
struct qb_below {
    struct qb_chain chain; /* n = 0 while it is not needed, or lent */
    bool whole;            /* the whole chain is open, not only the backing file itself */
    uint64_t size;         /* bytes that the backing file covers; 0 without one */
    bool known;            /* `size` was needed, and is set */
};

/* Leaks, and every other count without a reference.  From the rules' hook `check` on
 *
 *     census.counts = references that the amended image has + kept.counts, for each cluster
 *
 * is the refcount that the amended image will have; COPIED, the free clusters and the refcount
 * blocks are computed from it.  A reference that is dropped is subtracted from census.counts
 * (release.c), or, with keep_undo, to have the cluster stay counted, added to `kept` instead.
 * qb_kept_clip makes kept counts fit the target's width (with keep_undo they have to fit) and sets
 * n, the clusters with a kept count: the census of the amended image finds just these leaks. */
struct qb_kept {
    struct qb_counts counts;
    uint64_t n;
};

/* What the rules request of the active L1 table. */
struct qb_active_l1 {
    uint64_t keep;   /* entries from here on lose their tables */
    uint64_t filled; /* guest clusters before this one get a host cluster; 0: none for that alone */
    uint32_t size;   /* entries afterwards */
    bool moves; /* the table is rewritten: it does not fit where it is, or clusters of it become
                   free */
};

/* The L2 tables that are rewritten. */
struct qb_new_tables {
    QB_VEC(struct qb_new_table) list; /* in host order of their sources */
    uint32_t *of;        /* one a census table: 1 + index of the new table that replaces it, or 0 */
    uint8_t *gone;       /* one a census table: no L1 entry refers to it any more */
    size_t n_splits;     /* of `list`: the first ones, split for the active layer; ascending */
    bool recheck_copied; /* some cluster became singly referenced */
    qb_decide_fn *deciders[2 * QB_N_RULES]; /* the rules' `entries`, then their `encode` */
    unsigned n_deciders;
};

/* An L2 table in the target's geometry.  Extended entries are twice as long: with them each table
 * of the list becomes two, without them two become one. */
struct qb_converted_table {
    size_t parts[2];   /* places in the list, or QB_NO_TABLE; splitting: parts[0] alone */
    unsigned half;     /* splitting: which half of it, 0 or 1 */
    uint32_t l1_index; /* in the target */
    uint32_t refs;     /* L1 entries that will name it */
    bool active;
    uint64_t offset; /* where it goes, bytes; set by the layout */
};

/* The new L2 tables where the target has entries of another size (convert.c). */
struct qb_conversion {
    QB_VEC(struct qb_converted_table) list; /* by their parts */
    uint32_t *slots;                        /* a hash of it: places + 1, owned */
    size_t n_slots;
    uint32_t source_l1_size; /* of the active L1 table, in entries of the source */
};

/* New clusters of zeros number [first, first + n), which lie in a row. */
struct qb_zeros_extent {
    uint64_t first, n;
    uint64_t offset; /* in the file, bytes */
};

/* The new clusters of zeros: a run at the end of the stretch, or as the room has them. */
struct qb_new_zeros {
    uint64_t n;              /* clusters */
    enum qb_zero_method how; /* the request's, unless a rule needs their space */
    uint64_t share_cap;      /* references that one shared cluster may get */
    QB_VEC(uint64_t) shared; /* zero_clusters=share: references of each shared cluster */
    QB_VEC(struct qb_zeros_extent) extents; /* by number, and by offset; set by the layout */
};

/* The extent of cluster number `index` < n. */
const struct qb_zeros_extent *qb_zeros_extent(const struct qb_new_zeros *z, uint64_t index);

/* Bits of a refcount block. */
enum qb_block_touched {
    QB_BLOCK_TOUCHED = 1, /* it describes counts which change */
    QB_BLOCK_TAKEN = 2,   /* ... of room inside the old image that comes into use */
};

/* The refcount blocks (of the target's width) that describe counts which change. */
struct qb_touched_blocks {
    uint8_t *touched; /* one a block: bits of enum qb_block_touched */
    size_t n;
    QB_VEC(uint32_t) list; /* the touched ones, in the order in which they were touched */
};

/* The places of everything that is appended: set by the layout. */
struct qb_place {
    uint64_t base;      /* first byte past the old image: of the appended stretch */
    uint64_t zero_base; /* ... of its new zeros, to which metadata reaches */
    uint64_t end;       /* ... and past the stretch; `base` where all of it lies in the room */
    uint64_t n_bytes;   /* of metadata, whole clusters */
    QB_VEC(struct qb_step) steps; /* in the order in which they are written */
    /* What is taken inside the old image, bytes of the file: ascending, apart.  Empty where the
     * steps lie past it, and so ascend without a gap from `base` to `zero_base`. */
    struct qb_ranges room;
    uint64_t *l1_moved; /* one a layer: offset of its new L1 table, 0 = it stays; owned */
    uint64_t *reftable; /* the new refcount table, up to its last block; owned */
    size_t reftable_n;
};

/* Lengths of the file, bytes. */
struct qb_plan_size {
    uint64_t old;
    uint64_t cut;      /* cut or grown to first, so that everything past it is new */
    uint64_t appended; /* once appended */
    uint64_t final;    /* once settled */
    uint64_t lacks; /* by which the device is too small, whole sectors: nothing may be appended */
    /* The file keeps its allocation (io/reserve.h): the appended stretch is zeroed in the tail that
     * the file has past the image's end, nothing is punched, and only a shrink cuts the file. */
    bool reserved;
    bool reserves_zeros; /* ... and the new clusters of zeros are allocated too */
};

/* Clusters that become free. */
struct qb_freed {
    QB_VEC(struct qb_range) punches; /* bytes of the file */
    uint64_t n_unlisted;             /* clusters that are not in `punches` */
};

struct qb_plan {
    struct qb_plan_in in;
    struct qb_target target;
    struct qb_bitmaps_skipped skips; /* what the census does not count */
    struct qb_geom geom; /* the target's; new_tables is in terms of the image's, see conversion */
    bool counted;        /* a census was begun: nothing else leads to tables, counts and places */
    bool appends;        /* the append epoch writes something */
    bool rewrites;       /* ... more than the backing name: a census was taken, space is used */
    struct qb_census census; /* its counts: see struct qb_kept */
    uint64_t image_end; /* first byte past the amended image's last cluster in use; 0: not known */
    struct qb_kept kept;
    struct qb_leaks leaks;                      /* for the report */
    uint64_t refcounts_raised, flags_corrected; /* clusters, by `repair` */
    bool mended;           /* the old image's refcounts or flags are wrong, and are mended */
    void *own[QB_N_RULES]; /* state of the rules: see qb_plan_own */
    struct qb_active_l1 active;
    struct qb_below below;
    struct qb_new_tables new_tables;
    struct qb_conversion conversion;
    struct qb_new_zeros zeros;
    QB_VEC(struct qb_new_bytes) contents;
    struct qb_recoder *recoder; /* recode.h; owned; NULL: nothing is recompressed */
    struct qb_touched_blocks blocks;

    struct qb_place place;
    struct qb_plan_size size;
    struct qb_freed freed;
    struct qb_reclaim reclaim;
    struct qb_moves moves;
    struct qb_plan_data data;       /* in the external data file */
    struct qb_ranges append_ranges; /* what the write guard permits */
    uint8_t old_sector[QB_SECTOR];
    struct qb_sector sector;
    struct qb_proof proof; /* keep_undo: its digests are computed by the append */
};

/* Compiles the plan from `in`, with `stays` 0, and a target that qb_target_resolve has filled; the
 * plan owns the target from now on.  Every refusal is made here; nothing is written.  `plan` must
 * be all zeros; free it in every case.  `clusters` is filled when the tables were read. */
int qb_plan_make(const struct qb_plan_in *in, const struct qb_target *target, struct qb_plan *plan,
                 struct qb_clusters *clusters, struct qb_err *err);
void qb_plan_free(struct qb_plan *plan);

/* For a plan that failed with size.lacks set, and is whole but for that: the lengths once more,
 * after the device was measured again.  QB_E_NO_SPACE while it is too small. */
int qb_plan_fit(struct qb_plan *plan, struct qb_err *err);

/* The most space that the append allocates, bytes. */
uint64_t qb_plan_space(const struct qb_plan *plan);

/* By how many bytes the append lengthens the image's file, holes included, and the external data
 * file; on a block device what it takes past the image's end. */
uint64_t qb_plan_growth(const struct qb_plan *plan);

/* Frees everything that only the append epoch needs. */
void qb_plan_free_append(struct qb_plan *plan);

/* Carries out the append epoch. */
int qb_plan_append(struct qb_io *io, struct qb_plan *plan, struct qb_file *file,
                   struct qb_err *err);

/* For a raw disk that an interrupted conversion made longer, before anything is written: whether
 * the file has past the disk's end only what this plan would append there, or zeros.  0, or -1 with
 * QB_E_REFUSED: a guest may have written there since (append_compare.c). */
int qb_plan_compare_tail(struct qb_io *io, struct qb_plan *plan, struct qb_file *file,
                         struct qb_err *err);

/* Calls `line` for each step, described for people. */
void qb_plan_describe(const struct qb_plan *plan, void (*line)(void *arg, const char *text),
                      void *arg);

/* Whether L2 tables get entries of another size. */
static inline bool qb_plan_converts(const struct qb_plan *plan)
{
    return plan->geom.l2_entry_size != plan->in.img->geom.l2_entry_size;
}

/* Whether new clusters go into room inside the old image first: on a block device, and if the
 * request has it so.  Where the old refcounts are wrong, they show no room, and a raw disk has
 * none.
 */
bool qb_plan_uses_room(const struct qb_plan *plan);

/* Whether a plan that was made changes nothing: the image has already what it would write. */
bool qb_plan_is_void(const struct qb_plan *plan);

/* ---- for rules ------------------------------------------------------------------------------- */

/* The rule's own state: `size` bytes, zero at first, freed with the plan after the rule's hook
 * `drop`.  NULL with *err when memory is short. */
void *qb_plan_own(struct qb_plan *plan, enum qb_rule_id rule, size_t size, struct qb_err *err);

/* Adds `bytes` (taken over) to what is appended; *index is their place in plan->contents. */
int qb_plan_append_bytes(struct qb_plan *plan, struct qb_new_bytes bytes, size_t *index,
                         struct qb_err *err);

/* Whether some snapshot's entry lacks the disk size that version 3 requires. */
bool qb_plan_lacks_disk_sizes(const struct qb_plan *plan);

/* Opens the target's backing chain, once: all of it where its content may be needed, else only the
 * backing file itself, for its size.  Fills plan->below. */
int qb_below_open(struct qb_plan *plan, struct qb_err *err);

/* Opens all of it, to read its content; QB_E_UNSUPPORTED where that cannot be read. */
int qb_below_open_to_read(struct qb_plan *plan, struct qb_err *err);

/* What it shows at guest byte `guest`: `len` bytes of one cluster, zeros where there is none.  To
 * be called after qb_below_open_to_read. */
int qb_below_read(struct qb_io *io, struct qb_plan *plan, uint64_t guest, uint8_t *to, uint64_t len,
                  struct qb_err *err);

/* ---- the stages of planning ------------------------------------------------------------------ */

/* new_tables.c: selects the L2 tables that are rewritten and counts what their entries take. */
int qb_new_tables_plan(struct qb_plan *plan, struct qb_err *err);

/* layout.c: places everything, and computes the refcount blocks and table. */
int qb_layout_make(struct qb_plan *plan, struct qb_err *err);

/* plan_size.c, after the layout: what is punched, and the file's lengths; refuses what exceeds the
 * free space or a limit. */
int qb_plan_finish_punches(struct qb_plan *plan, struct qb_clusters *clusters, struct qb_err *err);

/* Sorts and joins the ranges that become free, inside the old file. */
void qb_plan_join_punches(struct qb_plan *plan);
int qb_plan_sizes(struct qb_plan *plan, struct qb_err *err);

/* For rules, before a long planning: refuses what needs more than the file system has free. */
int qb_plan_check_free(const struct qb_plan *plan, uint64_t need, struct qb_err *err);

/* plan_proof.c: with keep_undo, fills plan->proof except for the fingerprint of the stretch. */
int qb_plan_proof(struct qb_plan *plan, struct qb_err *err);

#endif
