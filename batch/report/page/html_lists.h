/* Collects the lists that a page shows before the table of all images: the errors, each with its
 * images, the notes, and the largest changes.  Their size does not grow with the fleet. */
#ifndef QB_PAGE_HTML_LISTS_H
#define QB_PAGE_HTML_LISTS_H

#include <stdio.h>

#include "job/job.h"
#include "outcome/outcome.h"
#include "record/groups.h"
#include "record/notes.h"

/* The class of each status, which the style gives its color; 'o' of images that `when` leaves out.
 */
extern const char qb_html_classes[QB_STATUS_COUNT];
char qb_html_class(const struct qb_result *result);

void qb_html_path(FILE *f, const char *path);
void qb_html_error(FILE *f, const struct qb_failure *err); /* without its code */
void qb_html_changes(FILE *f, const char *changes);        /* in the table's words */

enum { QB_HTML_LARGEST = 10, QB_HTML_NAMES_MAX = 500 /* of one error, or note */ };

struct qb_html_lists {
    struct qb_groups reasons;  /* those that `when` leaves out are not among them */
    struct qb_groups left_out; /* these */
    struct qb_notes notes;
    QB_VEC(size_t) noted[QB_NOTE_COUNT]; /* jobs, the first of each */
    struct qb_html_large {
        char *changes; /* NULL: an empty place */
        size_t job;
        uint64_t written_bytes, resized_bytes;
        int64_t allocated_delta;
        double seconds;
    } largest[QB_HTML_LARGEST]; /* the largest first */
};

void qb_html_lists_init(struct qb_html_lists *lists);
void qb_html_lists_free(struct qb_html_lists *lists);

/* Takes an image into each list that it belongs to; `changes` in the table's words.  false: memory
 * is short. */
bool qb_html_lists_add(struct qb_html_lists *lists, size_t job, const struct qb_outcome *outcome,
                       const char *changes);

/* The names of a group's images; at most `room`, the first ones unfolded. */
void qb_html_put_names(FILE *f, const struct qb_group *group, const struct qb_batch *batch,
                       size_t room);

/* The groups of this status that have an error, by its code: the hint, then each reason with its
 * images.  They are sorted. */
void qb_html_put_errors(FILE *f, const struct qb_groups *groups, unsigned status, char class,
                        const struct qb_batch *batch);

/* Each prints one section, or nothing where there is nothing to say. */
void qb_html_put_reasons(FILE *f, struct qb_html_lists *lists, const struct qb_batch *batch);
void qb_html_put_notes(FILE *f, const struct qb_html_lists *lists, const struct qb_batch *batch);
void qb_html_put_largest(FILE *f, const struct qb_html_lists *lists, const struct qb_batch *batch);

#endif
