/* Reads a backing chain in a process of its own, which has no rights (opener/confine.h): while a
 * manifest is read, the program has all of its caller's. */
#ifndef QB_MANIFEST_CHAIN_APART_H
#define QB_MANIFEST_CHAIN_APART_H

#include "files/file.h"
#include "opener/parcel.h"
#include "job/job.h"

/* What that process says of a backing file. */
struct qb_apart_link {
    bool is_qcow2;
    char *path; /* owned */
};

/* The chain of `head`, open at its path: its backing file first.  The process has the sandbox that
 * `policy` asks for, as far as the kernel has it, and opens what the owner of `head` may read;
 * whoever uses a path of the answer must apply these rules once more, for an image may have taken
 * the process over.  At most QB_CHAIN_MAX_DEPTH, to be freed.  0, or -1 with what qb_image_open and
 * qb_chain_open say; QB_E_CRASHED where two such processes ended, or told what is not a chain. */
struct qb_apart_chain {
    struct qb_apart_link *links;
    size_t n, cap;
};
int qb_chain_apart(const struct qb_file *head, const struct qb_policy *policy,
                   struct qb_apart_chain *out, struct qb_err *err);

/* The links of one answer, of which nothing is believed, appended to those of the answers before:
 * how many, or -1. */
int qb_apart_chain_take(const struct qb_parcel *answer, struct qb_apart_chain *out,
                        struct qb_err *err);
void qb_apart_chain_free(struct qb_apart_chain *chain);

#endif
