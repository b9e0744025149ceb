/* Parses `-o key=value,key=value`, in qemu-img's syntax. */
#ifndef QB_MANIFEST_O_OPTION_H
#define QB_MANIFEST_O_OPTION_H

#include "util/diag.h"
#include "job/job.h"

enum { QB_OPTIONS_HELP = 1 };

/* Adds the options of one -o to *rq (begin with qb_request_init); of a key that is named twice the
 * later value counts, in one -o and in a later one.  A list begins with the first text that the
 * command line has for it, and others are added: *listed, 0 at first, remembers which have begun.
 * A doubled comma is a comma inside a value.  The strings that rq then points to are kept by the
 * batch.  0, QB_OPTIONS_HELP when "help" or "?" is among the options (and nothing is wrong), or -1
 * with every mistake in *diags, which is one per -o, may be uninitialised before, and is the
 * caller's to free. */
int qb_options_parse(const char *text, struct qb_batch *batch, struct qb_request *rq,
                     uint64_t *listed, struct qb_diags *diags);

#endif
