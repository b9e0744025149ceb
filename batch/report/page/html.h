/* Declares the constant parts of the HTML page of a run, a self-contained file for a browser or for
 * paper.  They are in html_style.c, the sections in html.c, html_lists.c and timeline.c. */
#ifndef QB_PAGE_HTML_H
#define QB_PAGE_HTML_H

extern const char *const qb_html_style;
extern const char *const qb_html_script; /* sorts and searches; the page is complete without */

#endif
