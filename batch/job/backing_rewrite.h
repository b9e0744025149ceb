/* Rewrites the names of backing files after storage has moved: `backing:` of a manifest.
 *
 *     backing:
 *       rewrite: [{from: '^/mnt/old-nfs/(.*)$', to: '/srv/vm/\1'}]
 *       relative: true
 *       fmt: auto
 *       check_content: true
 *
 * `from` are POSIX extended regular expressions, tried in order on the name as the image holds it:
 * the first that matches replaces the name by its `to`, in which \1 to \9 are what its groups
 * matched, \0 is all that it matched, and \\ a backslash. */
#ifndef QB_JOB_BACKING_REWRITE_H
#define QB_JOB_BACKING_REWRITE_H

#include "util/scalar.h"
#include "io/io.h"

struct qb_moves; /* zero rewrites, relative off, fmt kept: changes nothing */

struct qb_moves *qb_moves_new(void); /* NULL when memory is short */
void qb_moves_free(struct qb_moves *moves);

/* Adds a rewrite.  false with the reason in *why: the expression or `to` is wrong. */
bool qb_moves_add(struct qb_moves *moves, const char *from, const char *to, struct qb_why *why);
void qb_moves_relative(struct qb_moves *moves, bool on);
void qb_moves_fmt_auto(struct qb_moves *moves, bool on);
void qb_moves_check_content(struct qb_moves *moves, bool on);
bool qb_moves_checks_content(const struct qb_moves *moves);
bool qb_moves_has_fmt_auto(const struct qb_moves *moves);

/* Continues the checksum `sum` with the rewrites: a fingerprint for the journal. */
uint32_t qb_moves_print(const struct qb_moves *moves, uint32_t sum);

/* Computes the backing file and format for the open image at `path`, whose header is `info`, and
 * sets them in *rq, which holds the rest of the request.  *name is what rq then points to, to be
 * freed after it.  Opens the backing file if its format must be detected; writes nothing.  -1 with
 * *err: a name that is too long or empty, or a format that cannot be detected. */
int qb_moves_apply(const struct qb_moves *moves, struct qb_io *io, const struct qb_file *image,
                   const char *path, const struct qb_info *info, struct qb_request *rq, char **name,
                   struct qb_err *err);

/* Like qb_moves_apply without detecting a format: opens nothing.  `by`: see opener/look.h. */
struct qb_opener;
int qb_moves_rename(const struct qb_moves *moves, const struct qb_opener *by, const char *path,
                    const struct qb_info *info, struct qb_request *rq, char **name,
                    struct qb_err *err);

/* `target` relative to the directory of the file at `path`, malloc'ed; `target` itself if it is
 * relative already.  NULL when memory is short or the directory cannot be resolved. */
char *qb_relative_name(const struct qb_opener *by, const char *path, const char *target);

#endif
