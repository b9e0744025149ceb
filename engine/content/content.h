/* Takes fingerprints of what the guest can see of an image: those from before the first write of an
 * amend and those from after it is durable must be equal.
 *
 * A fingerprint has two parts.  The *mapping*: for each layer (the active one and every snapshot) a
 * digest of which guest cluster reads which host bytes, which reads zero, and which reads the
 * backing file.  And the *host bytes* that the mappings name: each host cluster is read once,
 * however many layers share it, and holes are not read; there is one digest for each window of the
 * file, so that a difference can be located.  Both must be equal, with exceptions: a zero cluster
 * may become unallocated where that reads zero as well, or a new cluster that holds zeros.  And
 * clusters that an amend copies are compared by the guest's bytes, in the mapping. */
#ifndef QB_CONTENT_CONTENT_H
#define QB_CONTENT_CONTENT_H

#include "base/digest.h"
#include "content/moves.h"
#include "chain/chain.h"

/* What is compared; the same rules before and after, from the image as the amend leaves it. */
struct qb_content_rules {
    uint64_t old_size, new_size; /* virtual, bytes: the active layer is compared up to the smaller,
                                    and must read zero from there to the new size */
    uint64_t zero_from;          /* guest byte from which on no backing file is read; UINT64_MAX
                                    where that is not known */
    struct qb_chain
        *below;  /* the whole backing chain, or NULL: for the cluster at the old end, which an amend
                    may copy, and for the part by which the disk grows: there zero clusters are
                    compared where the chain has something allocated */
    bool defers; /* zero clusters may be unallocated where that chain reads zero */
    bool zeros;  /* data clusters that hold only zeros may be zero clusters */
    const struct qb_moves *moves; /* clusters that are copied to new places; NULL: none */
    bool recodes;                 /* compressed clusters are compressed anew, into new ones */
    bool copies;          /* clusters whose subclusters differ may be copied to new clusters */
    struct qb_file *data; /* the external data file, open; NULL: there is none */
    uint64_t new_from;    /* clusters of the file from this byte on are new, and hold zeros or
                             copies; UINT64_MAX: there are none */
    const struct qb_range *new_inside; /* ... and so are these before it, bytes; ascending, apart */
    size_t n_new_inside;
    uint64_t unit;         /* guest clusters: the fewer of the two images' in an L2 table; 0
                              where they have as many */
    uint64_t file_bytes;   /* length of the file before the amend: sets the size of the windows */
    uint64_t memory_limit; /* bytes; 0: QB_CENSUS_MEMORY */
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
 * cannot be taken: QB_E_UNSUPPORTED (an external data file that is not open), QB_E_CORRUPT (entries
 * that lead nowhere), QB_E_MEMORY, or the error of a read.  Free it in either case. */
int qb_content_take(struct qb_io *io, const struct qb_image *img,
                    const struct qb_content_rules *rules, struct qb_content *out,
                    struct qb_err *err);
void qb_content_free(struct qb_content *c);

/* The fingerprint of a raw disk that becomes an image, or of that image: of what the guest reads,
 * without the places (content_disk.c).  As above. */
int qb_content_take_disk(struct qb_io *io, const struct qb_image *img, struct qb_content *out,
                         struct qb_err *err);

/* The memory that it holds in addition to the struct, bytes. */
static inline size_t qb_content_memory(const struct qb_content *c)
{
    return c->layers.cap * sizeof(*c->layers.items) + c->windows.cap * sizeof(*c->windows.items);
}

/* 0 when nothing that a guest can see has changed; else -1 with QB_E_VERIFY and a text that names
 * the layer or the bytes of the file. */
int qb_content_compare(const struct qb_content *before, const struct qb_content *after,
                       struct qb_err *err);

#endif
