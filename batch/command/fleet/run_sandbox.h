/* The sandbox of a run's process (host/confining.h), as a command has it. */
#ifndef QB_FLEET_RUN_SANDBOX_H
#define QB_FLEET_RUN_SANDBOX_H

#include "common/output.h"
#include "fleet/session.h"
#include "manifest/manifest.h"

struct qb_run_sandbox {
    struct qb_confining confining;
    const struct qb_cli *cli;
    const struct qb_keep *keep;
    unsigned other, unlink, reload; /* numbers of errands */
};

/* Decides whether the run has one.  It must outlive the run and the output, and stay in its place.
 */
void qb_run_sandbox_begin(struct qb_run_sandbox *sandbox, const struct qb_cli *cli,
                          const struct qb_keep *keep, struct qb_batch *batch,
                          struct qb_run_options *options, struct qb_output *out);
void qb_run_sandbox_end(struct qb_run_sandbox *sandbox);

/* Removes the name of the run's control socket. */
void qb_run_sandbox_unlink(struct qb_run_sandbox *sandbox);

/* Reads the limits of the run's manifest again; options of the command line are stronger, as at the
 * beginning of the run.  -1 with *err.  Any thread may call it. */
int qb_run_sandbox_reload(struct qb_run_sandbox *sandbox, struct qb_manifest_limits *out,
                          struct qb_err *err);

/* After the run: what the sandbox lacked, and, with images that are locked, another run that may
 * hold them. */
void qb_run_sandbox_tell(struct qb_run_sandbox *sandbox, const struct qb_listener *listener,
                         bool locked);

#endif
