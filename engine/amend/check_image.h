/* Checks one image, for the library and for batches. */
#ifndef QB_AMEND_CHECK_IMAGE_H
#define QB_AMEND_CHECK_IMAGE_H

#include "io/io.h"

/* How much is looked at: each includes the ones after it, and content includes all. */
enum qb_check_level {
    QB_CHECK_REFCOUNTS, /* every reference is counted, and compared with the refcounts */
    QB_CHECK_TABLES,    /* every table is read, and each entry for itself */
    QB_CHECK_HEADER,    /* the header, its extensions, and that the data file is there */
    QB_CHECK_CONTENT,   /* as refcounts, and all data that is mapped is read */
};

struct qb_check_wish {
    enum qb_check_level level;
    bool without_locks;   /* also of an image in use, whose answer may be out of date */
    qb_finding_fn *found; /* may be NULL */
    void *found_arg;
    uint64_t memory_limit; /* bytes; 0: QB_CENSUS_MEMORY (check/census.h) */
    struct qb_file *file;  /* see qb_image_file_begin */
};

/* qb_check_image with the worker's io.  QB_E_MEMORY also where the limit is too low. */
int qb_check_run(struct qb_io *io, const char *path, const struct qb_check_wish *wish,
                 const struct qb_check_result **result);

/* The result of a check that could not begin; returns -1. */
int qb_check_fail(const struct qb_err *err, const struct qb_check_result **result);

#endif
