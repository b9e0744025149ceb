/* Selects the files of a manifest: paths and patterns of its entries, minus what they exclude.
 * Files are looked up; only those of a chain are opened. */
#ifndef QB_MANIFEST_SELECT_H
#define QB_MANIFEST_SELECT_H

#include <sys/types.h>

#include "job/job.h"
#include "util/diag.h"

struct qb_pick {
    char *path;                 /* absolute, or relative to the current directory */
    size_t named_at;            /* where in it the name begins that the manifest has */
    struct qb_place at;         /* of the path or pattern in the manifest */
    size_t entry;               /* the entry with the path or pattern */
    dev_t dev;                  /* of the file; set by qb_select_check_distinct, */
    ino_t ino;                  /* 0 if the file does not exist */
    bool found;                 /* by a pattern, or in a list: nobody chose this very name */
    bool left_out;              /* another name of a file that is picked */
    struct qb_err *chain_fault; /* why its backing chain is not known; owned, or NULL */
};

struct qb_file_id {
    dev_t dev;
    ino_t ino;
};

struct qb_select {
    char *folder; /* base of relative paths; "" is the current directory */
    char *full;   /* the same directory, absolute */
    struct qb_diags *diags;
    const struct qb_policy *policy; /* for files of chains; not owned */
    bool stdin_taken;   /* standard input was read by the manifest itself, or by a list */
    bool is_relative;   /* what is being picked: it starts at the folder */
    size_t chain_entry; /* the entry for which `chained` was filled */
    QB_VEC(struct qb_file_id) chained;
    QB_VEC(struct qb_pick) picks;
};

/* Patterns of one entry.  A pattern with a slash is compared with the whole path (a relative one,
 * with the path from the manifest's directory on), one without with the file's name; a directory
 * that is excluded is not entered. */
struct qb_excludes {
    QB_VEC(const char *) patterns;
};

/* `manifest` is its path, or NULL if relative paths start at the current directory. */
int qb_select_init(struct qb_select *select, const char *manifest, struct qb_diags *diags);
void qb_select_free(struct qb_select *select);

/* Reports a pattern in which ** is not a whole component; see qb_glob_has_odd_stars.  Returns -1.
 */
int qb_select_odd_stars(struct qb_diags *diags, const char *pattern, struct qb_place at);

/* Picks the files of one path or pattern of an entry.  A path is picked even if the file does not
 * exist, unless it is excluded; a pattern without any match is a mistake. */
int qb_select_add(struct qb_select *select, const char *text, struct qb_place at,
                  const struct qb_excludes *excludes, size_t entry);

/* Picks each path of a list: text with `end` ('\n' or '\0') after each path, in the file `name`,
 * "-" being standard input.  They are paths, not patterns; with '\n', empty lines and lines that
 * begin with # are ignored.  Relative ones, and that of the list, start at the manifest's
 * directory.  Files that the entry excludes are left out. */
int qb_select_add_list(struct qb_select *select, const char *name, char end, struct qb_place at,
                       const struct qb_excludes *excludes, size_t entry);

/* Picks an image and the qcow2 images of its backing chain, the lowest first; an image that the
 * entry has picked already is left out.  Their headers are read here, by a process of its own: an
 * incomplete chain is a mistake; where two such processes died the image alone is picked, to fail.
 * See select_chain.c. */
int qb_select_add_chain(struct qb_select *select, const char *name, struct qb_place at,
                        const struct qb_excludes *excludes, size_t entry);

/* For select_*.c: the malloc'ed path of a name in the manifest; and picking a path, which is taken
 * over, unless it is excluded. */
char *qb_select_path(const struct qb_select *select, const char *name);
char *qb_select_full_path(const struct qb_select *select, const char *name); /* absolute */
int qb_select_pick(struct qb_select *select, char *path, struct qb_place at,
                   const struct qb_excludes *excludes, size_t entry);

/* Reports every file that is picked twice, also under different names: -1 when there is one.  Where
 * a link or a hard link led to it that nobody but its owner chose, that name is left out, with a
 * note: whoever can make one would keep the manifest from being run. */
int qb_select_check_distinct(struct qb_select *select);

#endif
