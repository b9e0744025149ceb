/* The directories of files that images name, and their block devices, for people who want to
 * confine them to just these (roots.h).  May be used by many threads at a time. */
#ifndef QB_FILES_PLACES_H
#define QB_FILES_PLACES_H

#include <sys/stat.h>

struct qb_places;

struct qb_places *qb_places_new(void); /* NULL when memory is short */
void qb_places_free(struct qb_places *places);

/* Adds the place of an open file that was reached by `path`.  Without memory it is left out. */
void qb_places_add(struct qb_places *places, int fd, const struct stat *st, const char *path);

/* The place of one file, as it stands in such a list; owned by the caller.  NULL: not known. */
char *qb_place_text(int fd, const struct stat *st, const char *path);

/* All of them, as a list of YAML: "[/srv/base, /dev/vg0/gold]", without directories beneath others.
 * Owned by the caller; NULL: there are none, or too many to be read, or memory is short. */
char *qb_places_text(struct qb_places *places);

#endif
