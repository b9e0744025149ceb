/* What the guest can see of an image, as fingerprints: taken before the first write of an amend and
 * again once it is durable, they must be the same.
 *
 * Two things make up what is seen.  The *mapping*: for each layer (the active one and every
 * snapshot) a digest of which guest cluster reads which host bytes, which reads zero, and which
 * reads the backing file.  And the *host bytes* that the mappings name: each host cluster is read
 * once, however many layers share it, and holes are not read; there is one digest for each window
 * of the file, so that a difference has a place.  An amend never moves data, so both must be equal
 * to the bit, but for what an amend may do: a zero cluster becomes unallocated where that reads
 * zero as well, or a new cluster that holds zeros. */
#ifndef QB_CHECK_CONTENT_H
#define QB_CHECK_CONTENT_H

#include "check/digest.h"
#include "qcow2/chain.h"

/* What is compared, in the same terms before and after: the image as the amend leaves it. */
struct qb_content_rules {
    uint64_t old_size, new_size; /* virtual, bytes: the active layer is compared up to the smaller,
                                    and must read zero from there to the new size */
    uint64_t zero_from;          /* guest byte from which on no backing file is read; UINT64_MAX
                                    where that is not known */
    struct qb_chain *below;      /* the whole backing chain, or NULL: for the cluster at the old
                                    end, which an amend may copy, and for the part by which the disk
                                    grows: zero clusters count there where the chain has something
                                    allocated */
    bool defers;                 /* zero clusters may be unallocated where that chain reads zero */
    uint64_t new_from;           /* clusters of the file from this byte on are new, and hold zeros;
                                    UINT64_MAX: there are none */
    uint64_t file_bytes;         /* the file before: how fine the windows are */
    uint64_t memory_limit;       /* bytes; 0: QB_CENSUS_MEMORY */
};

struct qb_content_window {
    uint64_t first; /* byte of the file */
    struct qb_digest digest;
};

struct qb_content {
    QB_VEC(struct qb_digest) layers;
    QB_VEC(struct qb_content_window) windows; /* those that hold anything but zeros, ascending */
    uint64_t window_bytes;
    struct qb_digest edge; /* the cluster at the end of what is compared, where a size changes */
};

/* Takes the fingerprint; the image's snapshot table must be in memory.  Reads only.  -1 when it
 * cannot be taken: QB_E_UNSUPPORTED (external data files), QB_E_CORRUPT (entries that lead
 * nowhere), QB_E_MEMORY, or what reading failed with.  Free it in either case. */
int qb_content_take(struct qb_io *io, const struct qb_image *img,
                    const struct qb_content_rules *rules, struct qb_content *out,
                    struct qb_err *err);
void qb_content_free(struct qb_content *c);

/* The bytes of memory that it holds beside itself. */
static inline size_t qb_content_memory(const struct qb_content *c)
{
    return c->layers.cap * sizeof(*c->layers.items) + c->windows.cap * sizeof(*c->windows.items);
}

/* 0 when nothing that a guest can see has changed; else -1 with QB_E_VERIFY, and the layer or the
 * bytes of the file in words. */
int qb_content_compare(const struct qb_content *before, const struct qb_content *after,
                       struct qb_err *err);

#endif
