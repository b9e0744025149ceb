/* Writes output files atomically: a file appears under its name when it is complete.
 *
 * Until then it is written under another name in the same directory, so a reader finds the old file
 * or the new one.  A stream, which is read while it grows, and a file that is not regular (a pipe,
 * a terminal) are written in place.  Other files are never replaced: an existing file must begin
 * like one of its kind, and its place be permitted by output_place.h. */
#ifndef QB_UTIL_ATOMIC_FILE_H
#define QB_UTIL_ATOMIC_FILE_H

#include <stdbool.h>
#include <stdio.h>

#include "opener/helper.h"
#include "util/output_place.h"

struct qb_outfile_rules {
    const char *what;     /* "report", for messages */
    const char *begins;   /* the beginning that an existing file must have, unless it is empty */
    const char *manifest; /* never replaced; may be NULL */
    bool streams;
    /* Names what the file is if it must not be replaced, else returns NULL.  May be NULL itself. */
    const char *(*is_taken)(const void *arg, const struct stat *st);
    const void *arg;
};

struct qb_outfile {
    struct qb_outfile_rules rules;
    char *path;               /* as given, for messages */
    struct qb_outplace place; /* its directory stays open */
    char *temp;               /* its temporary name in the directory; NULL: written in place */
    FILE *f;                  /* NULL: closed, or never opened */
    char *buffer;             /* owned: of f */
    int errnum;               /* of the first write that failed */
    struct qb_helper *helper; /* once it is started it names and removes the file; or NULL */
    unsigned errand;          /* its number there */
};

/* -1 after one line on standard error; then no file remains. */
int qb_outfile_open(struct qb_outfile *out, const char *path, struct qb_outfile_rules rules);

/* Offers the errands that a confined process has of this file; false: it will have none. */
bool qb_outfile_offer(struct qb_outfile *out, struct qb_errands *errands, struct qb_helper *helper);

/* Whether both have the same final name. */
bool qb_outfile_same(const struct qb_outfile *a, const struct qb_outfile *b);

/* Records the first failure of f, which is the file or a stream that is copied to it. */
void qb_outfile_look(struct qb_outfile *out, FILE *f);

/* Closes the file and gives it its name.  -1 after one line on standard error when it is
 * incomplete: the old file is then unchanged, unless it is a stream. */
int qb_outfile_commit(struct qb_outfile *out);

/* Closes and removes the file; a stream keeps what was written. */
void qb_outfile_drop(struct qb_outfile *out);

/* An unnamed file in the same directory for later parts of it, so that memory does not grow with
 * the fleet; NULL with errno. */
FILE *qb_outfile_spill(const struct qb_outfile *out);

/* Appends the content of the spill to the file, and closes the spill. */
void qb_outfile_pour(struct qb_outfile *out, FILE *spill);

#endif
