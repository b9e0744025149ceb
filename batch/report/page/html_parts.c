#include "page/html_parts.h"

#include <inttypes.h>

#include "page/html.h"
#include "util/text.h"
#include "util/xml.h"

void qb_html_begin(FILE *f, const char *title, const char *note)
{
    fputs("<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
          "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n"
          "<meta http-equiv=Content-Security-Policy content=\"default-src 'none';"
          "style-src 'unsafe-inline';script-src 'unsafe-inline';base-uri 'none';"
          "form-action 'none'\">\n<title>",
          f);
    qb_markup_text(f, title);
    fputs(" - qbatch</title>\n<style>\n", f);
    fputs(qb_html_style, f);
    fputs("</style>\n</head>\n<body>\n<h1>", f);
    qb_markup_text(f, title);
    if (*note)
        fprintf(f, " <span class=dim>%s</span>", note);
    fputs("</h1>\n", f);
}

void qb_html_end(FILE *f)
{
    fputs("<footer>qbatch " QB_VERSION "</footer>\n<script>\n", f);
    fputs(qb_html_script, f);
    fputs("</script>\n</body>\n</html>\n", f);
}

/* ---- facts ----------------------------------------------------------------------------------- */

void qb_html_fact(FILE *f, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    fprintf(f, "<div><dt>%s</dt> <dd>", name);
    qb_markup_text(f, value);
    fputs("</dd></div>\n", f);
}

void qb_html_labels(FILE *f, const struct qb_origin *origin)
{
    for (size_t k = 0; k < origin->labels.n; k++) {
        fputs("<div><dt>", f);
        qb_markup_text(f, origin->labels.items[k].key);
        fputs("</dt> <dd class=label>", f);
        qb_markup_text(f, origin->labels.items[k].value);
        fputs("</dd></div>\n", f);
    }
}

void qb_html_command(FILE *f, const struct qb_origin *origin)
{
    if (!origin->command)
        return;
    fputs("<p class=command><code>", f);
    qb_markup_text(f, origin->command);
    fputs("</code></p>\n", f);
}

/* ---- kinds of outcomes ----------------------------------------------------------------------- */

void qb_html_tiles(FILE *f, uint64_t images, const struct qb_html_kind *kinds, size_t n)
{
    char b[QB_TEXT_NUMBER];

    fprintf(f, "<ul class=tiles>\n<li><b>%s</b>image%s\n", qb_text_count(images, b),
            images == 1 ? "" : "s");
    for (size_t i = 0; i < n; i++)
        fprintf(f, "<li class=%c><b>%s</b>%s\n", kinds[i].class, qb_text_count(kinds[i].n, b),
                kinds[i].words);
    fputs("</ul>\n<div class=share aria-hidden=true>", f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "<i class=%c style=\"flex:%" PRIu64 "\"></i>", kinds[i].class, kinds[i].n);
    fputs("</div>\n", f);
}

void qb_html_find(FILE *f, uint64_t left_out, const char *what, const struct qb_html_kind *kinds,
                  size_t n)
{
    char b[QB_TEXT_NUMBER];

    fputs("<h2>All images</h2>\n", f);
    if (left_out)
        fprintf(f,
                "<p class=note>%s images are left out here; a file of --report has all of "
                "them.</p>\n",
                qb_text_count(left_out, b));
    fprintf(f,
            "<div class=find id=find hidden><input id=words type=search "
            "placeholder=\"%s\" aria-label=\"Search\"> "
            "<select id=status aria-label=\"Status\"><option value=\"\">all\n",
            what);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "<option value=%c>%s\n", kinds[i].class, kinds[i].words);
    fputs("</select> <span id=shown class=dim role=status></span></div>\n", f);
}
