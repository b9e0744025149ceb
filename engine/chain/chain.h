/* Opens and reads backing chains, for the few requests that need the size or content of backing
 * files.  Header-only amends open none of them. */
#ifndef QB_CHAIN_CHAIN_H
#define QB_CHAIN_CHAIN_H

#include "opener/named.h"
#include "qcow2/l2.h"
#include "image/image.h"

enum { QB_CHAIN_MAX_DEPTH = 200 }; /* backing files of an image; a longer chain is refused */

struct qb_link; /* one backing file, see chain_parts.h */

/* How a chain is opened. */
enum {
    QB_CHAIN_NEAREST = 0,     /* only the nearest file, which is enough for qb_chain_size */
    QB_CHAIN_WHOLE = 1 << 0,  /* all of it */
    QB_CHAIN_ASSUME = 1 << 1, /* a file that is not local ends it, and may show data everywhere */
    QB_CHAIN_WITHOUT_LOCKS = 1 << 2, /* what is read of a file in use may be out of date */
};

#define QB_CHAIN_REMOTE_SIZE (UINT64_C(1) << 62) /* of such a file: its end is not known */

/* The compressed cluster of this size that was inflated last.  Of all links with one cluster size,
 * only one is read within the bytes of a cluster, so one buffer for each size is enough for the
 * whole chain; all buffers together take less than 4 MiB. */
struct qb_inflated {
    const struct qb_link *link; /* NULL: none */
    uint64_t entry;             /* its L2 entry */
    uint8_t *bytes;             /* owned */
};

enum { QB_CLUSTER_BITS_LEAST = 9, QB_CHAIN_INFLATED = 13 };

struct qb_chain {
    struct qb_link *
        *links; /* the image's backing file first; each keeps its address while the list grows */
    size_t n, cap;
    bool without_locks;
    struct qb_naming by; /* the owner of the image, for whom files are opened */
    uint64_t allocated;  /* bytes allocated to the files of all links */
    uint64_t read;       /* bytes of guest data read from qcow2 links, or inflated */
    struct qb_inflated inflated[QB_CHAIN_INFLATED];
};

/* What a chain begins with; nothing is owned. */
struct qb_chain_top {
    const char *path;           /* of the image: relative names begin at its directory */
    const struct qb_file *self; /* the image itself */
    const char *name;           /* of its backing file; "": none */
    const char *fmt;            /* of that; "" = detected from its first bytes, qcow2 or raw */
};

/* Opens the backing file that an image names, or is to name, and that file's own backing chain,
 * read-only and with a reader's locks.  A chain that leads back to the image is QB_E_BACKING_LOOP,
 * and the image's owner must be able to read each of the files, else QB_E_BACKING_REFUSED
 * (opener/named.h).  A format that a header declares is binding: a file declared raw is never
 * probed for qcow2.  Without a declaration, a file that QEMU would take for an image of another
 * format (probe.h) is QB_E_UNSUPPORTED.  QB_E_BACKING_MISSING when the file does not exist or is
 * not an image of that format; QB_E_UNSUPPORTED for formats and protocols other than local qcow2
 * and raw (backing_name.h), of which the latter are assumed instead with QB_CHAIN_ASSUME in `how`;
 * else the code of the system call that failed. */
int qb_chain_open(struct qb_io *io, const struct qb_chain_top *top, unsigned how,
                  struct qb_chain *out, struct qb_err *err);
void qb_chain_close(struct qb_chain *chain);

/* Whether the name `name`, in the image at `image_path`, leads to the open file `self`.
 * `by`: see look.h. */
bool qb_chain_names(const struct qb_opener *by, const char *image_path, const char *name,
                    const struct qb_file *self);

/* The path, malloc'ed, that a backing name stands for; see qb_backing_locate. */
int qb_chain_resolve(const char *image_path, const char *name, char **out, struct qb_err *err);

/* The open file i, 0 being the image's backing file, and whether it is a qcow2 image. */
const struct qb_file *qb_chain_file(const struct qb_chain *chain, size_t i);
bool qb_chain_is_qcow2(const struct qb_chain *chain, size_t i);

/* Virtual size of the image's backing file, bytes. */
uint64_t qb_chain_size(const struct qb_chain *chain);

/* The name of the file at the chain's end that is not local, and was assumed; NULL: there is none.
 */
const char *qb_chain_remote(const struct qb_chain *chain);

/* Guest bytes [offset, offset + len) as the chain reads them; zeros past its end.  A link's
 * external data file is opened when its data is first needed, under the rule for backing files.
 * QB_E_UNSUPPORTED where that needs a feature that this build cannot read (encryption, a file
 * that is not local), QB_E_CORRUPT where no guest can read it either, and once more
 * was read from the chain than its files can explain: where many L2 entries name the same cluster,
 * a few megabytes of tables show terabytes.
 */
int qb_chain_read(struct qb_io *io, struct qb_chain *chain, uint64_t offset, uint64_t len,
                  void *buf, struct qb_err *err);

/* Whether the guest data of every file of the chain can be read, as far as the headers tell: 0, or
 * -1 with what qb_chain_read would answer. */
int qb_chain_check_readable(struct qb_io *io, struct qb_chain *chain, struct qb_err *err);

/* The first stretch of [offset, end) where the chain may read anything but zeros, judged by what
 * its files have allocated: no guest data is read, so it works for encrypted images too.
 * What this build does not know, or what a reader answers with an error, is not taken for zeros.
 * out->first is `end` if there is none.  The chain must be whole: below its last file nothing is
 * assumed. */
int qb_chain_next_data(struct qb_io *io, struct qb_chain *chain, uint64_t offset, uint64_t end,
                       struct qb_range *out, struct qb_err *err);

/* Whether both chains, each whole, read the same wherever `img`, whose snapshot table is in memory,
 * does not cover them; with snapshots, everywhere, for a snapshot may show what the active layer
 * covers.  0; or -1 with QB_E_REFUSED and the first guest byte that differs, or with the error of a
 * read.  (chain_same.c) */
int qb_chain_same(struct qb_io *io, const struct qb_image *img, struct qb_chain *a,
                  struct qb_chain *b, struct qb_err *err);

/* ---- one image's own clusters ---------------------------------------------------------------- */

/* An L2 entry of the active layer. */
struct qb_l2_place {
    uint64_t entry, bitmap; /* its words; the second as qb_l2_bitmap has it */
    uint64_t at;            /* where it lies in the file, bytes; 0 without a table */
    enum qb_kind kind;
};

/* The entry for guest byte `offset`; unallocated without an L2 table. */
int qb_image_find(struct qb_io *io, const struct qb_image *img, uint64_t offset,
                  struct qb_l2_place *out, struct qb_err *err);

/* The cluster of the entry as the image itself holds it: zeros where the entry has zeros, or
 * nothing.  `buf` is one cluster long. */
int qb_image_read_own(struct qb_io *io, const struct qb_image *img, const struct qb_l2_place *place,
                      uint8_t *buf, struct qb_err *err);

/* The L2 entry for guest byte `offset` of the active layer; 0 without an L2 table.  *at is the
 * entry's own offset in the file, 0 without a table.  Bounds are checked: QB_E_CORRUPT. */
int qb_image_lookup(struct qb_io *io, const struct qb_image *img, uint64_t offset, uint64_t *entry,
                    uint64_t *at, struct qb_err *err);

#endif
