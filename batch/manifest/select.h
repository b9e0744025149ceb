/* Which files a manifest means: paths and patterns of its entries, minus what they exclude.  Files
 * are looked up; only those of a chain are opened. */
#ifndef QB_MANIFEST_SELECT_H
#define QB_MANIFEST_SELECT_H

#include <sys/types.h>

#include "util/diag.h"

struct qb_pick {
    char *path;         /* absolute, or relative to the current folder */
    struct qb_place at; /* of the path or pattern in the manifest */
    size_t entry;       /* that it stands in */
    dev_t dev;          /* of the file; set by qb_select_check_distinct, */
    ino_t ino;          /* 0 where there is none */
};

struct qb_file_id {
    dev_t dev;
    ino_t ino;
};

struct qb_select {
    char *folder; /* that relative paths begin in; "" is the current one */
    char *full;   /* the same from the root on */
    struct qb_diags *diags;
    bool owner_need_not_read; /* see io/named.h; for files of chains */
    bool stdin_taken;         /* by the manifest itself, or by a list */
    size_t chain_entry;       /* which the files of chains were picked for */
    QB_VEC(struct qb_file_id) chained;
    QB_VEC(struct qb_pick) picks;
};

/* Patterns of one entry.  One with a slash is compared with the whole path (a relative one from the
 * manifest's folder on), one without with the file's name; a folder that is excluded is not
 * entered. */
struct qb_excludes {
    QB_VEC(const char *) patterns;
};

/* `manifest` is its path, or NULL where relative paths are the current folder's. */
int qb_select_init(struct qb_select *select, const char *manifest, struct qb_diags *diags);
void qb_select_free(struct qb_select *select);

/* Picks what one path or pattern of an entry means.  A path is picked whether or not there is such
 * a file, unless it is excluded; a pattern without any match is a mistake. */
int qb_select_add(struct qb_select *select, const char *text, struct qb_place at,
                  const struct qb_excludes *excludes, size_t entry);

/* Picks each path that a list names: text with `end` ('\n' or '\0') behind each path, in the file
 * `name`, "-" being standard input.  They are paths, not patterns; with '\n' lines that are empty
 * or begin with # name none.  Relative ones, and that of the list, begin in the manifest's folder.
 * What the entry excludes is left out. */
int qb_select_add_list(struct qb_select *select, const char *name, char end, struct qb_place at,
                       const struct qb_excludes *excludes, size_t entry);

/* Picks an image and the qcow2 images of its backing chain, the lowest first; one that the entry
 * has picked already is left out.  Their headers are read here: a chain that is not whole is a
 * mistake.  See select_chain.c. */
int qb_select_add_chain(struct qb_select *select, const char *name, struct qb_place at,
                        const struct qb_excludes *excludes, size_t entry);

/* For the other files of the selection: a path of the manifest, malloc'ed, and picking one, which
 * takes it over, unless the excludes leave it out. */
char *qb_select_path(const struct qb_select *select, const char *name);
int qb_select_pick(struct qb_select *select, char *path, struct qb_place at,
                   const struct qb_excludes *excludes, size_t entry);

/* Every file that is picked twice, under whatever name, is a mistake.  -1 when there is one. */
int qb_select_check_distinct(struct qb_select *select);

#endif
