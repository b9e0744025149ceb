/* A file that a run leaves for others: it appears at once, under its name, when it is whole.
 *
 * Until then it is written under another name beside it, so a reader finds the old file or the new
 * one.  What is meant to be read while it grows (a stream), and what is not a regular file (a pipe,
 * a terminal), is written where it is.  Nothing that may be anything else is replaced: an existing
 * file must begin as one of its kind does, and be where output_place.h has it. */
#ifndef QB_UTIL_ATOMIC_FILE_H
#define QB_UTIL_ATOMIC_FILE_H

#include <stdbool.h>
#include <stdio.h>

#include "util/output_place.h"

struct qb_outfile_rules {
    const char *what;     /* "report", for complaints */
    const char *begins;   /* how an existing file begins, unless it is empty */
    const char *manifest; /* never replaced; may be NULL */
    bool streams;
    /* What a file must not be: says what it is, or NULL.  May be NULL itself. */
    const char *(*is_taken)(const void *arg, const struct stat *st);
    const void *arg;
};

struct qb_outfile {
    struct qb_outfile_rules rules;
    char *path;               /* as it was given, for complaints */
    struct qb_outplace place; /* its directory stays open */
    char *temp;               /* its name in the directory until then; NULL: written where it is */
    FILE *f;                  /* NULL: closed, or never opened */
    int errnum;               /* the first failure to write */
};

/* -1 after one line on standard error; nothing is left then. */
int qb_outfile_open(struct qb_outfile *out, const char *path, struct qb_outfile_rules rules);

/* Whether both would be given one name. */
bool qb_outfile_same(const struct qb_outfile *a, const struct qb_outfile *b);

/* Remembers the first failure of f, which is the file or something on the way to it. */
void qb_outfile_look(struct qb_outfile *out, FILE *f);

/* Closes the file and gives it its name.  -1 after one line on standard error when it is not whole:
 * what stood there before stands there still, unless it is a stream. */
int qb_outfile_commit(struct qb_outfile *out);

/* Closes it and leaves nothing of it; a stream stays as far as it came. */
void qb_outfile_drop(struct qb_outfile *out);

/* An unnamed file beside it for what belongs further down in it, so that memory does not grow with
 * the fleet; NULL with errno. */
FILE *qb_outfile_spill(const struct qb_outfile *out);

/* Appends what the spill holds to the file, and closes the spill. */
void qb_outfile_pour(struct qb_outfile *out, FILE *spill);

#endif
