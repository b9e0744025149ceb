/* Parts of paths. */
#ifndef QB_UTIL_PATH_H
#define QB_UTIL_PATH_H

#include <stddef.h>

/* The folder that `path` is in, "." where the path has none; malloc'ed, NULL when memory is short.
 */
char *qb_path_folder(const char *path);

/* What comes after the last slash: the name in that folder. */
const char *qb_path_name(const char *path);

/* The bytes of `path` before that name, the slash among them; 0 where there is none. */
size_t qb_path_name_at(const char *path);

#endif
