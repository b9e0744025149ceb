/* The page of a check: its part of the sink `html`.  What a worker hands over of an image is a note
 * for the lists, and the image's row. */
#ifndef QB_PAGE_HTML_CHECK_H
#define QB_PAGE_HTML_CHECK_H

#include "record/groups.h"
#include "sink/sinks.h"

/* What a page does about the images, by what was found. */
enum qb_html_remedy {
    QB_HTML_REPAIR_LEAKS, /* nothing but leaks was found */
    QB_HTML_REPAIR_ALL,   /* repair mends each finding */
    QB_HTML_REPAIR_NONE,  /* something that it does not mend */
    QB_HTML_REMEDIES
};

struct qb_html_check {
    bool short_of_memory;
    struct qb_group of[QB_DEFECT_COUNT]; /* images with that finding */
    uint64_t findings[QB_DEFECT_COUNT];
    struct qb_group remedy[QB_HTML_REMEDIES];
    struct qb_groups unchecked; /* by the reason */
    uint64_t errors, leaks, leaked_bytes, guest_bytes;
    uint64_t rows[2]; /* of images that are clean, and of others */
};

int qb_html_checked(FILE *f, const struct qb_batch *batch, const struct qb_checked *checked);
/* false: memory is short, or the text is none that qb_html_checked makes. */
bool qb_html_check_take(struct qb_html_check *page, size_t job, const struct qb_sink_text *text,
                        FILE *rows);
void qb_html_check_end(struct qb_html_check *page, struct qb_sink *sink,
                       const struct qb_check_telling *t);
void qb_html_check_free(struct qb_html_check *page);

#endif
