/* What lies below an image: its backing files, for the few requests that need their size or
 * content. Header-only amends open none of them. */
#ifndef QB_QCOW2_CHAIN_H
#define QB_QCOW2_CHAIN_H

#include "qcow2/image.h"

enum { QB_CHAIN_MAX_DEPTH = 200 }; /* files below an image; a longer chain is refused */

struct qb_link; /* one backing file, see chain_parts.h */

/* The compressed cluster of this size that was inflated last.  Of links with clusters of one size
 * only one is read within a cluster's bytes, so one place for each size serves the whole chain; all
 * together take less than 4 MiB. */
struct qb_inflated {
    const struct qb_link *link; /* NULL: none */
    uint64_t entry;             /* its L2 entry */
    uint8_t *bytes;             /* owned */
};

enum { QB_CLUSTER_BITS_LEAST = 9, QB_CHAIN_INFLATED = 13 };

struct qb_chain {
    struct qb_link **links; /* the nearest first; each stays in its place while the list grows */
    size_t n, cap;
    uint64_t allocated; /* bytes that the files of all links hold */
    uint64_t read;      /* bytes of guest data that were read from qcow2 links, or inflated */
    struct qb_inflated inflated[QB_CHAIN_INFLATED];
};

/* Opens the backing file `name` of the image at `image_path`, of format `fmt` ("" = found out from
 * its first bytes, qcow2 or raw), and all that stands below it, read-only and with a reader's
 * locks. `self` is the image itself: naming it again is QB_E_BACKING_LOOP, and its owner must be
 * able to read each of the files, or it is QB_E_BACKING_REFUSED (io/named.h).  A format that a
 * header declares is binding: what is called raw is never looked at as qcow2.  QB_E_BACKING_MISSING
 * when there is no such file or no such image in it, the code of the system call that failed else,
 * QB_E_UNSUPPORTED for formats and protocols other than local qcow2 and raw. `whole` false: only
 * the nearest file is opened, which is enough for qb_chain_size. */
int qb_chain_open(struct qb_io *io, const char *image_path, const struct qb_file *self,
                  const char *name, const char *fmt, bool whole, struct qb_chain *out,
                  struct qb_err *err);
void qb_chain_close(struct qb_chain *chain);

/* Whether the name `name`, in the image at `image_path`, leads to the open file `self`. */
bool qb_chain_names(const char *image_path, const char *name, const struct qb_file *self);

/* The path, malloc'ed, that a backing name stands for: relative to the folder of the image that
 * names it, or absolute.  QB_E_UNSUPPORTED for what is no local file ("nbd://...", "json:..."): a
 * colon before the first slash names a protocol, of which only "file:" is known. */
int qb_chain_resolve(const char *image_path, const char *name, char **out, struct qb_err *err);

/* The open file i, the nearest being 0, and whether it is a qcow2 image. */
const struct qb_file *qb_chain_file(const struct qb_chain *chain, size_t i);
bool qb_chain_is_qcow2(const struct qb_chain *chain, size_t i);

/* Virtual size of the nearest backing file, bytes. */
uint64_t qb_chain_size(const struct qb_chain *chain);

/* Guest bytes [offset, offset + len) as the chain reads them; zeros behind its end.
 * QB_E_UNSUPPORTED where that needs what this build cannot read (encryption, zstd, extended L2,
 * external data), and once more was read from the chain than its files can explain: where many L2
 * entries name the same cluster, a few megabytes of tables show terabytes. */
int qb_chain_read(struct qb_io *io, struct qb_chain *chain, uint64_t offset, uint64_t len,
                  void *buf, struct qb_err *err);

/* The first stretch of [offset, end) where the chain may read anything but zeros, as far as that
 * follows from what its files have allocated: nothing of the guest's data is read, so it works for
 * encrypted and zstd images too.  out->first is `end` where there is none.  The chain must be
 * whole: below its last file nothing is assumed. */
int qb_chain_next_data(struct qb_io *io, struct qb_chain *chain, uint64_t offset, uint64_t end,
                       struct qb_range *out, struct qb_err *err);

/* Whether both chains, each whole, read the same wherever `img`, whose snapshot table is in memory,
 * does not cover them: with snapshots everywhere, for a snapshot may show what the active layer
 * covers.  0; or -1, with QB_E_REFUSED and the first guest byte that differs, or with what reading
 * failed with.  (chain_same.c) */
int qb_chain_same(struct qb_io *io, const struct qb_image *img, struct qb_chain *a,
                  struct qb_chain *b, struct qb_err *err);

/* ---- one image's own clusters ------------------------------------------------------------------
 */

/* The L2 entry for guest byte `offset` of the active layer; 0 where no L2 table is.  *at is the
 * entry's own place in the file, 0 without a table.  Bounds are checked: QB_E_CORRUPT. */
int qb_image_lookup(struct qb_io *io, const struct qb_image *img, uint64_t offset, uint64_t *entry,
                    uint64_t *at, struct qb_err *err);

/* The bytes of the cluster behind an entry of kind QB_DATA or QB_COMPRESSED, decompressed.  `buf`
 * is one cluster long.  QB_E_UNSUPPORTED as above. */
int qb_image_read_cluster(struct qb_io *io, const struct qb_image *img, uint64_t entry, void *buf,
                          struct qb_err *err);

#endif
