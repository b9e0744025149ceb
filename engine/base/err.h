/* A failure is a value.  Every function that can fail takes a `struct qb_err *` last, fills it on
 * failure and leaves it alone on success.  The codes are public: see qbatch.h. */
#ifndef QB_BASE_ERR_H
#define QB_BASE_ERR_H

#include "qbatch.h"

/* A failure with room for its text, so that none needs memory to be reported. */
struct qb_err {
    enum qb_code code;
    int sys_errno;   /* 0 when no system call was involved */
    uint64_t offset; /* byte of the image file, or QB_NOWHERE */
    char text[400];  /* one sentence without the path and without a full stop */
};

/* The same for qbatch.h; its text is that of *err. */
static inline struct qb_failure qb_failure_of(const struct qb_err *err)
{
    return (struct qb_failure){err->code, err->sys_errno, err->offset, err->text};
}

/* A copy of a failure, its text cut where it is longer than fits. */
struct qb_err qb_err_of(const struct qb_failure *failure);

/* Fills *err (which may be NULL) and returns -1.  `offset` is a byte of the image file, or
 * QB_NOWHERE. */
int qb_fail(struct qb_err *err, enum qb_code code, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for a failed system call: the code follows from errnum, and the system's own words are
 * put behind the text. */
int qb_fail_sys(struct qb_err *err, int errnum, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* malloc and friends said no. */
int qb_fail_memory(struct qb_err *err);

#endif
