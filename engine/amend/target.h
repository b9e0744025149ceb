/* Request + image -> what the image shall be, or a refusal.  Everything that the header alone can
 * decide is decided here; nothing is read and nothing is written. */
#ifndef QB_AMEND_TARGET_H
#define QB_AMEND_TARGET_H

#include "qcow2/image.h"

struct qb_target {
    struct qb_header header;  /* as it shall be; pointers to moved tables are set by the plan */
    const char *backing_name; /* "" = none; the request's or the image's string */
    const char *backing_fmt;
    bool name_changes, fmt_changes;
    bool downgrade, upgrade;
    bool resize;
    bool new_width; /* refcount_bits changes */
    bool repair;    /* the image is dirty */
    bool drop_bitmaps;
    bool unkeep; /* what an earlier amend kept for its undo is freed */
    bool any;    /* something changes at all */
};

/* Fills *out, or refuses; see struct qb_target. */
int qb_target_resolve(const struct qb_image *img, const struct qb_request *rq,
                      struct qb_target *out, struct qb_err *err);

/* The refusals that need the snapshot table in memory. */
int qb_target_check_snapshots(const struct qb_image *img, const struct qb_target *t,
                              struct qb_err *err);

/* What `qemu-img info` will say once the target is reached. */
void qb_target_info(const struct qb_image *img, const struct qb_target *t, struct qb_info *info);

#endif
