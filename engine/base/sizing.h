/* Answers questions about the size that a request asks for: QB_KEY_SIZE, size and size_is of
 * qb_request.  Where the key is not set the size is kept, and adds and may_shrink are false. */
#ifndef QB_BASE_SIZING_H
#define QB_BASE_SIZING_H

#include "qbatch.h"

/* Whether carrying out the request once more enlarges the image once more. */
static inline bool qb_sizing_adds(const struct qb_request *rq)
{
    return (rq->set & QB_KEY_SIZE) && rq->size_is == QB_SIZE_ADDED;
}

/* Whether some image becomes smaller by it. */
static inline bool qb_sizing_may_shrink(const struct qb_request *rq)
{
    return (rq->set & QB_KEY_SIZE) && rq->size_is == QB_SIZE_SET;
}

/* The size that an image of `present` bytes shall have; false if that is above 2^64. */
static inline bool qb_sizing_of(const struct qb_request *rq, uint64_t present, uint64_t *size)
{
    *size = present;
    if (!(rq->set & QB_KEY_SIZE))
        return true;
    if (rq->size_is == QB_SIZE_ADDED)
        return !__builtin_add_overflow(present, rq->size, size);
    if (rq->size_is == QB_SIZE_SET || rq->size > present)
        *size = rq->size;
    return true;
}

#endif
