/* Reports failures as values.  Every function that can fail takes a `struct qb_err *` last, fills
 * it on failure and leaves it alone on success.  The codes are public: see qbatch.h. */
#ifndef QB_BASE_ERR_H
#define QB_BASE_ERR_H

#include "qbatch.h"

/* A failure with space for its text, so that reporting one allocates no memory. */
struct qb_err {
    enum qb_code code;
    int sys_errno;   /* 0 when no system call was involved */
    uint64_t offset; /* byte of the image file, or QB_NOWHERE */
    char text[400];  /* one sentence without the path and without a full stop */
};

/* The failure as in qbatch.h; its text is that of *err. */
static inline struct qb_failure qb_failure_of(const struct qb_err *err)
{
    return (struct qb_failure){err->code, err->sys_errno, err->offset, err->text};
}

/* A copy of a failure, its text truncated to fit. */
struct qb_err qb_err_of(const struct qb_failure *failure);

/* Fills *err (which may be NULL) and returns -1.  `offset` is a byte of the image file, or
 * QB_NOWHERE. */
int qb_fail(struct qb_err *err, enum qb_code code, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Like qb_fail for a failed system call: the code follows from errnum, and the text of strerror is
 * appended. */
int qb_fail_sys(struct qb_err *err, int errnum, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Fails with QB_E_MEMORY: an allocation failed. */
int qb_fail_memory(struct qb_err *err);

#endif
