/* Patterns of paths: `*`, `?` and `[...]` inside one component, as fnmatch(3) has them, and `**`, a
 * component of its own that stands for any number of folders.  A backslash takes the next character
 * as it is.  A leading dot must be written out, and `**` enters neither hidden folders nor folders
 * that are symbolic links. */
#ifndef QB_UTIL_GLOB_H
#define QB_UTIL_GLOB_H

#include "util/diag.h"

enum { QB_GLOB_MAX_PARTS = 63 };

/* Whether the text is a pattern; if not, it is a path, backslashes and all. */
bool qb_glob_is_pattern(const char *text);

/* Whether the pattern matches the whole path.  Empty and "." components count on neither side; a
 * leading slash does on both.  Here a `*` may match a leading dot. */
bool qb_glob_match(const char *pattern, const char *path);

struct qb_glob {
    const char
        *folder; /* that a relative pattern begins in, taken as it is; "" is the current one */
    /* Whether to leave out a path, be it a file or a folder on the way; may be NULL. */
    bool (*skip)(void *arg, const char *path);
    void *arg;
    struct qb_place at; /* of the pattern, for mistakes */
    struct qb_diags *diags;
    QB_VEC(char *) paths;
};

/* Appends the files (regular ones, block devices, and links to such) that the pattern matches to
 * glob->paths, sorted, each once.  Reads each folder at most once.  -1 when something on the way
 * could not be looked at; every such thing is a mistake in *diags. */
int qb_glob_expand(struct qb_glob *glob, const char *pattern);
void qb_glob_free(struct qb_glob *glob);

#endif
