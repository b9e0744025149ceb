/* What policy.sandbox came to in a run, for its reports. */
#ifndef QB_JOB_SANDBOXED_H
#define QB_JOB_SANDBOXED_H

#include <stddef.h>

#include "opener/confine.h"

enum qb_sandbox { QB_SANDBOX_AUTO, QB_SANDBOX_OFF, QB_SANDBOX_STRICT };

extern const char *const qb_sandbox_names[]; /* by the enum */

struct qb_sandboxed {
    enum qb_sandbox policy;
    bool applies;              /* some image was read by a confined process */
    struct qb_confinement got; /* with `applies` */
    const char *why_not;       /* why it did not apply, or NULL */
};

enum { QB_SANDBOX_TEXT = 500 };

/* "no new privileges, no capabilities, ...", or why not: what was in force. */
const char *qb_sandbox_text(const struct qb_sandboxed *s, char out[QB_SANDBOX_TEXT]);

/* Of what this build has, a process with that policy wants, and was refused: a sentence, or NULL
 * where nothing lacks. */
const char *qb_sandbox_lack(const struct qb_confinement *got, enum qb_sandbox policy,
                            char out[QB_SANDBOX_TEXT]);

#endif
