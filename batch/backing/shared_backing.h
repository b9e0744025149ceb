/* Opens and locks a backing file once for all images of a fleet that share it.
 *
 * A plan needs the size of its image's backing file, and the file must stay as it is until the
 * amend is done.  A fleet of thousands over one base would open and lock it thousands of times, and
 * the kernel walks a file's locks one by one.  All calls are the thread's between the loops. */
#ifndef QB_BACKING_SHARED_BACKING_H
#define QB_BACKING_SHARED_BACKING_H

#include "chain/chain.h"

struct qb_lender;
struct qb_loan;

struct qb_lender *qb_lender_new(void); /* NULL when memory is short */
void qb_lender_free(struct qb_lender *lender);

/* The backing file that the header of the open image at `path` names (`info`); NULL when it is not
 * worth it, and when its owner may not have what is on loan.  Opens and locks the file if no other
 * image has it on loan.  To be ended. */
struct qb_loan *qb_lend(struct qb_lender *lender, struct qb_io *io, const struct qb_file *image,
                        const char *path, const struct qb_info *info);

/* The open file; NULL when it cannot be opened, which the amend will find out and tell itself. */
const struct qb_chain *qb_loan_chain(const struct qb_loan *loan);

/* The last loan that ends closes the file.  NULL is fine. */
void qb_loan_end(struct qb_loan *loan);

#endif
