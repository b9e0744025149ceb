/* Opens files for a confined process: one side of it is an errand of the helper (helper.h), the
 * other what named.h and in_use.h call where a qb_io has an opener.
 *
 * The helper decides by what it knows itself: which paths are images, who owns images and the files
 * that were opened for them, what the policy permits.  What the confined process says is the names,
 * and on whose behalf. */
#ifndef QB_OPENER_OPENER_H
#define QB_OPENER_OPENER_H

#include <sys/stat.h>

#include "base/vec.h"
#include "opener/helper.h"
#include "opener/in_use.h"
#include "opener/named.h"

enum qb_opening {
    QB_OPENING_NAMED,      /* qb_named_open */
    QB_OPENING_NAMED_IS,   /* qb_named_is */
    QB_OPENING_DATA,       /* qb_named_open_data */
    QB_OPENING_DATA_CLAIM, /* qb_named_claim */
    QB_OPENING_COULD_READ, /* qb_named_could_read; from here on it is about an image */
    QB_OPENING_CLAIM,      /* qb_file_claim, of an image */
    QB_OPENING_IMAGE,      /* qb_image_file_open */
    QB_OPENING_DIRECT,     /* qb_direct_keep, of an image that was claimed */
    QB_OPENINGS
};

/* ---- in the helper --------------------------------------------------------------------------- */

struct qb_owner {
    uid_t uid;
    gid_t gid;
};

struct qb_opening_rules {
    struct qb_io *ios[QB_CHANNELS_MAX]; /* its own, with the owners that apply; one a channel */
    /* Whether the path is an image that may be opened; *how: how it may be claimed. */
    bool (*is_image)(void *arg, const char *path, struct qb_claim *how);
    /* Whether it may be read all the same, where it is none.  NULL: no. */
    bool (*may_read)(void *arg, const char *path);
    /* The path of the image of this number; NULL: there is none. */
    const char *(*image)(void *arg, size_t number, struct qb_claim *how);
    /* Whether the file with this status is an image that may be opened or read.  NULL: none is. */
    bool (*has_file)(void *arg, const struct stat *st);
    void *arg;
    struct qb_claim most;  /* that a claim of a data file may have */
    pthread_mutex_t mutex; /* of the owners; to be initialised */
    QB_VEC(struct qb_owner) known;
};

/* Notes that files are opened on behalf of this owner; false when memory is short. */
bool qb_opening_know(struct qb_opening_rules *rules, uid_t uid, gid_t gid);
void qb_opening_free(struct qb_opening_rules *rules);

/* A qb_io for each channel; -1 with *err. */
int qb_opening_begin(struct qb_opening_rules *rules, unsigned channels, struct qb_owners *owners,
                     struct qb_err *err);

/* Errands, for several channels at a time; their argument is the rules. */
void qb_opening_errand(void *rules, const struct qb_parcel *request, struct qb_parcel *answer);
void qb_opening_claims(void *rules, const struct qb_parcel *request, struct qb_parcel *answer);

/* ---- in the confined process ----------------------------------------------------------------- */

struct qb_opener {
    struct qb_helper *helper;
    unsigned errand, claims; /* numbers of its errands */
    unsigned list;           /* of one that lists files which may be read; see the batch's scan */
    unsigned look, ahead;    /* of those that look at paths; see look.h */
    bool blind;              /* this process sees no path: it is asked to look, too */
};

/* What is to be opened, or compared. */
struct qb_to_open {
    enum qb_opening what;
    struct qb_naming image, namer;
    const struct qb_file *file; /* NAMED_IS, COULD_READ: with this one; DATA: the image's own */
    const char *path;
    struct qb_claim how;
};

/* 0 with *out, or -1 with *err, as the function does that it stands for, by the opener of `io`.
 * NAMED_IS and COULD_READ have no *out. */
int qb_opener_open(struct qb_io *io, const struct qb_to_open *what, struct qb_file *out,
                   struct qb_err *err);

/* An image to be opened, along with others. */
struct qb_to_claim {
    size_t number;
    const char *path;
    struct qb_file file; /* out; fd -1: it is to be opened by itself, which tells why */
};

/* Opens up to QB_PARCEL_FILES images: as qb_file_claim does (QB_OPENING_CLAIM), or read-only, each
 * to be passed to qb_image_file_begin (QB_OPENING_IMAGE). */
void qb_opener_claim(struct qb_io *io, enum qb_opening what, struct qb_to_claim *images, size_t n);

/* The second descriptor of a claimed image (direct.h), if it has none yet and there is an opener.
 */
void qb_opener_direct(struct qb_io *io, struct qb_file *file);

/* From now on this opens files for the qb_io; NULL: it opens them itself. */
void qb_opener_serve(const struct qb_opener *opener, struct qb_io *io);

#endif
