/* The parts that all pages have: the head with the facts, the tiles, the search, and the end. */
#ifndef QB_PAGE_HTML_PARTS_H
#define QB_PAGE_HTML_PARTS_H

#include <stdio.h>

#include "job/job.h"

enum {
    QB_HTML_ROWS_MAX =
        20000, /* of images that are as wanted, and of others: what a browser likes */
    QB_HTML_MANY_ROWS = 1000, /* more are lines on paper */
};

/* A tile, a part of the bar, and a choice of the search, for each kind of outcome. */
struct qb_html_kind {
    char class;
    const char *words;
    uint64_t n;
};

/* Down to the heading; `note` is shown beside it, "": nothing. */
void qb_html_begin(FILE *f, const char *title, const char *note);
void qb_html_end(FILE *f);

/* A fact, unless it is NULL or empty; they are within <dl class=facts>. */
void qb_html_fact(FILE *f, const char *name, const char *value);
void qb_html_labels(FILE *f, const struct qb_origin *origin);
void qb_html_command(FILE *f, const struct qb_origin *origin); /* after the facts */

void qb_html_tiles(FILE *f, uint64_t images, const struct qb_html_kind *kinds, size_t n);

/* Above the table of all images: how many are left out of it, and the search. */
void qb_html_find(FILE *f, uint64_t left_out, const char *what, const struct qb_html_kind *kinds,
                  size_t n);

#endif
