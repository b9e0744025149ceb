/* What a page tells of before it lists everything: the errors, each with its images, and the
 * largest changes.  Both are gathered while the images come by, and stay small whatever the fleet.
 */
#ifndef QB_REPORT_HTML_LISTS_H
#define QB_REPORT_HTML_LISTS_H

#include <stdio.h>

#include "job/job.h"
#include "job/outcome.h"

/* The class of each status, which the style gives its color. */
extern const char qb_html_classes[QB_STATUS_COUNT];

void qb_html_path(FILE *f, const char *path);
void qb_html_error(FILE *f, const struct qb_failure *err); /* without its code */
void qb_html_changes(FILE *f, const char *changes);        /* in the table's words */

enum { QB_HTML_LARGEST = 10 };

struct qb_html_reasons {
    struct qb_html_reason {
        FILE *f; /* the first of its images, on their way to text; NULL: none */
        char *text;
        size_t len;
        enum qb_status worst;
        struct qb_err last; /* alike ones in a row are told once */
    } of[QB_E_COUNT];
};

struct qb_html_largest {
    struct qb_html_large {
        char *changes; /* NULL: an empty place */
        size_t job;
        uint64_t written_bytes, resized_bytes;
        int64_t allocated_delta;
        double seconds;
    } items[QB_HTML_LARGEST]; /* the largest first */
};

/* The nth image with its error; an image without one is passed over.  false: memory is short. */
bool qb_html_add_reason(struct qb_html_reasons *reasons, const char *path,
                        const struct qb_result *result, uint64_t nth);
void qb_html_put_reasons(FILE *f, struct qb_html_reasons *reasons, const struct qb_summary *sum);

/* An image that did not change is passed over.  false: memory is short. */
bool qb_html_add_large(struct qb_html_largest *largest, size_t job,
                       const struct qb_outcome *outcome, const char *changes);
void qb_html_put_largest(FILE *f, const struct qb_html_largest *largest,
                         const struct qb_batch *batch);

void qb_html_lists_free(struct qb_html_reasons *reasons, struct qb_html_largest *largest);

#endif
