/* A page that tells of a run: one file that needs nothing else, for a browser or for paper.  What a
 * page always has is in html_style.c, its sections are in html.c, html_lists.c and timeline.c. */
#ifndef QB_REPORT_HTML_H
#define QB_REPORT_HTML_H

extern const char *const qb_html_style;
extern const char *const qb_html_script; /* sorts and searches; the page is whole without */

#endif
