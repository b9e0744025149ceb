/* Which local file the name of a backing file stands for, as QEMU takes it.
 *
 *     base.qcow2, /srv/base.qcow2           relative to the image's directory, or absolute
 *     file:/srv/base.qcow2                  the same file
 *     json:{"driver": "qcow2", "file": {"driver": "file", "filename": "/srv/base.qcow2"}}
 *     json:{"driver": "qcow2", "file.filename": "/srv/base.qcow2"}
 *
 * All else is not local: other protocols; json: names with an option that changes what is read
 * (the offset of a raw file, another backing file); and relative names behind file: and in json:,
 * which lead to wherever QEMU happens to be started. */
#ifndef QB_CHAIN_BACKING_NAME_H
#define QB_CHAIN_BACKING_NAME_H

#include <stdbool.h>

#include "base/err.h"

/* *path, malloc'ed, is where the name in the image at `image_path` leads, and *as the format in
 * which QEMU opens it: `fmt`, the header's, which a json: name does not overrule; without one what
 * the name says; "" where that is left to be found out.  *as lives as long as `fmt` does.  -1 with
 * QB_E_UNSUPPORTED for a name that is not local, and QB_E_MEMORY. */
int qb_backing_locate(const char *image_path, const char *name, const char *fmt, char **path,
                      const char **as, struct qb_err *err);

/* The name as `qemu-img info` resolves it, malloc'ed: a relative one behind the directory of the
 * image, any other as it is.  NULL when memory is short. */
char *qb_backing_full(const char *image_path, const char *name);

/* Whether the name may lead to a file whose last component is `last`: the name has it inside, as it
 * is or, of a json: name, with the escapes of JSON, whether or not the rest of it is JSON.  For
 * names that are not local; memory that is short is a yes. */
bool qb_backing_may_name(const char *name, const char *last);

#endif
