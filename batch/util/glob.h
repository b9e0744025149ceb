/* Matches and expands patterns of paths: `*`, `?` and `[...]` inside one component, as in
 * fnmatch(3), and `**`, a component of its own that matches any number of directories.  A backslash
 * quotes the next character.  A leading dot must be explicit, and `**` enters neither hidden
 * directories nor symbolic links to directories. */
#ifndef QB_UTIL_GLOB_H
#define QB_UTIL_GLOB_H

#include "util/diag.h"

enum { QB_GLOB_MAX_PARTS = 63 };

/* Whether the text is a pattern; if not, it is a path, in which backslashes are literal. */
bool qb_glob_is_pattern(const char *text);

/* Whether a `**` is not a component of its own.  It matches as `*` does then, which is hardly
 * meant:
 * `**.qcow2` leaves out the files in the directories below. */
bool qb_glob_has_odd_stars(const char *pattern);

/* Whether the pattern matches the whole path.  Empty and "." components are ignored on both sides;
 * a leading slash is not.  Here a `*` may match a leading dot. */
bool qb_glob_match(const char *pattern, const char *path);

struct qb_glob {
    const char
        *folder; /* base of a relative pattern, not a pattern itself; "" is the current directory */
    /* Whether to leave out a path, of a file or of a directory on the way; may be NULL. */
    bool (*skip)(void *arg, const char *path);
    void *arg;
    struct qb_place at; /* of the pattern, for mistakes */
    struct qb_diags *diags;
    QB_VEC(char *) paths;
};

/* Appends the files (regular ones, block devices, and links to such) that the pattern matches to
 * glob->paths, sorted, each once, and with them the directories that a wildcard led to and that
 * cannot be looked into, whatever they hold.  Reads each directory at most once.  -1 when one that
 * the pattern itself names could not be read; each is a mistake in *diags. */
int qb_glob_expand(struct qb_glob *glob, const char *pattern);
void qb_glob_free(struct qb_glob *glob);

#endif
