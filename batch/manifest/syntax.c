#include "manifest/syntax.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "base/num.h"
#include "util/text.h"

/* A line of the manifest, without its end. */
struct line {
    const char *text;
    size_t len;    /* bytes */
    size_t indent; /* blanks before what it says; with `dash` before that */
    size_t at;     /* bytes before what it says, "- " left out */
    bool dash;
};

static struct line line_of(const char *text, size_t number)
{
    struct line l = {0};

    for (; number > 0 && text; number--) {
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    l.text = text ? text : "";
    l.len = strcspn(l.text, "\r\n");
    l.indent = l.at = strspn(l.text, " ");
    l.dash = l.text[l.at] == '-';
    if (l.dash && l.text[l.at + 1] == ' ')
        l.at += 1 + strspn(l.text + l.at + 1, " ");
    return l;
}

static bool says_something(const struct line *l)
{
    return l->at < l->len && l->text[l->at] != '#';
}

/* The byte at a column, which counts characters. */
static const char *at_column(const struct line *l, size_t column)
{
    const char *s = l->text;

    for (; column > 0 && s < l->text + l->len; column--)
        s += qb_max(qb_text_utf8(s), 1);
    return s;
}

static struct qb_place place(size_t line, size_t column, size_t length)
{
    return (struct qb_place){(unsigned)line + 1, (unsigned)column + 1, (unsigned)QB_MAX(length, 1)};
}

static size_t characters(const char *from, const char *end)
{
    size_t n = 0;

    for (; from < end; n++)
        from += qb_max(qb_text_utf8(from), 1);
    return n;
}

/* From a byte of a line up to another. */
static struct qb_place span(size_t number, const struct line *l, const char *from, const char *end)
{
    return place(number, characters(l->text, from), characters(from, end));
}

/* Where a colon that makes a key stands in what the line says: before a blank, or at its end. */
static const char *colon_of(const struct line *l, const char *from)
{
    const char *end = l->text + l->len;

    for (const char *s = from; s < end; s++)
        if (*s == ':' && (s + 1 == end || s[1] == ' '))
            return s;
    return NULL;
}

static bool is_key_character(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* ---- a key where none can be ----------------------------------------------------------------- */

/* A key follows a line that is a text to YAML: a blank is missing in it, or a colon. */
static bool blame_line_above(struct qb_diags *diags, const struct qb_syntax *s)
{
    size_t number = s->line;
    struct line l = {0};
    const char *word, *end;

    while (number-- > 0) {
        l = line_of(s->text, number);
        if (says_something(&l))
            break;
    }
    if (!says_something(&l) || colon_of(&l, l.text + l.at) != NULL) {
        const char *colon = says_something(&l) ? colon_of(&l, l.text + l.at) : NULL;
        bool dash = colon && l.dash && l.at == l.indent;

        if (dash)
            qb_diag_add(diags, QB_M_SYNTAX, place(number, l.at, 1), NULL,
                        "write a blank after the dash");
        return dash;
    }
    word = end = l.text + l.at;
    while (is_key_character(*end))
        end++;
    if (*end == ':' && end > word)
        qb_diag_add(diags, QB_M_SYNTAX, span(number, &l, end, end + 1), NULL,
                    "write a blank after the colon");
    else
        qb_diag_add(diags, QB_M_SYNTAX, span(number, &l, word, l.text + l.len), NULL,
                    "a colon is missing here: a line is KEY: VALUE");
    return true;
}

static int key_out_of_place(struct qb_diags *diags, const struct qb_syntax *s)
{
    struct line l = line_of(s->text, s->line);
    const char *first = colon_of(&l, l.text + l.at), *mark = at_column(&l, s->column);

    if (first && first < mark) {
        const char *value = first + 1 + strspn(first + 1, " ");

        return qb_diag_add(diags, QB_M_SYNTAX, span(s->line, &l, value, l.text + l.len), NULL,
                           "a text that has \": \" in it must be in quotes");
    }
    if (blame_line_above(diags, s))
        return -1;
    return qb_diag_add(diags, QB_M_SYNTAX, span(s->line, &l, l.text + l.at, mark), NULL,
                       "this key is indented more than the one above it, which has a value "
                       "already; begin both in one column");
}

/* ---- indents, brackets and quotes ------------------------------------------------------------ */

static int no_key(struct qb_diags *diags, const struct qb_syntax *s)
{
    struct line l = line_of(s->text, s->line);
    const char *mark = at_column(&l, s->column);
    struct qb_place at = place(s->line, s->column, 1);

    if ((size_t)(mark - l.text) <= l.at && l.dash)
        return qb_diag_add(diags, QB_M_SYNTAX, at, NULL,
                           "a dash cannot stand between keys; look at the indent: the keys above "
                           "begin in column %zu",
                           s->from_column + 1);
    if ((size_t)(mark - l.text) <= l.at)
        return qb_diag_add(diags, QB_M_SYNTAX, at, NULL,
                           "this line is indented otherwise than the keys that begin in line %zu, "
                           "in column %zu",
                           s->from_line + 1, s->from_column + 1);
    while (mark > l.text && mark[-1] == ' ')
        mark--;
    if (mark > l.text && (mark[-1] == ']' || mark[-1] == '}'))
        return qb_diag_add(
            diags, QB_M_SYNTAX, at, NULL,
            "nothing may follow %c; a text that begins with [ or { must be in quotes", mark[-1]);
    return qb_diag_add(diags, QB_M_SYNTAX, at, NULL,
                       "nothing may follow the closing quote; within single quotes a quote is "
                       "written twice ('')");
}

static int no_dash(struct qb_diags *diags, const struct qb_syntax *s)
{
    struct qb_place at = place(s->line, s->column, 1);

    if (s->column == s->from_column)
        return qb_diag_add(diags, QB_M_SYNTAX, at, NULL,
                           "an entry of this list, which begins in line %zu, begins with \"- \"",
                           s->from_line + 1);
    return qb_diag_add(diags, QB_M_SYNTAX, at, NULL,
                       "look at the indent: the keys of an entry begin in one column, and the list "
                       "that begins in line %zu has its dashes in column %zu",
                       s->from_line + 1, s->from_column + 1);
}

static int bracket(struct qb_diags *diags, const struct qb_syntax *s)
{
    const char closing = strchr(s->problem, '}') ? '}' : ']';

    if (s->line == s->from_line)
        return qb_diag_add(diags, QB_M_SYNTAX, place(s->line, s->column, 1), NULL,
                           "a comma is missing before this, or %c, which ends what begins in "
                           "column %zu",
                           closing, s->from_column + 1);
    return qb_diag_add(diags, QB_M_SYNTAX, place(s->from_line, s->from_column, 1), NULL,
                       "%c is missing: what begins here is not ended before line %zu", closing,
                       s->line + 1);
}

/* ---- which of them --------------------------------------------------------------------------- */

static int in_own_words(struct qb_diags *diags, const struct qb_syntax *s)
{
    struct qb_place at = place(s->line, s->column, 1);

    if (*s->context && s->from_line != s->line)
        return qb_diag_add(diags, QB_M_SYNTAX, at, NULL, "%s (%s that begins in line %zu)",
                           s->problem, s->context, s->from_line + 1);
    return qb_diag_add(diags, QB_M_SYNTAX, at, NULL, "%s", s->problem);
}

int qb_syntax_mistake(struct qb_diags *diags, const struct qb_syntax *s)
{
    struct line l = line_of(s->text, s->line), from = line_of(s->text, s->from_line);
    struct qb_place at = place(s->line, s->column, 1),
                    begin = place(s->from_line, s->from_column, 1);
    bool tab =
        strstr(s->problem, "that cannot start any token") && *at_column(&l, s->column) == '\t';

    if (tab || strstr(s->problem, "found a tab character"))
        return qb_diag_add(diags, QB_M_SYNTAX, at, NULL, "a tab cannot indent YAML; use spaces");
    if (strstr(s->problem, "that cannot start any token"))
        return qb_diag_add(diags, QB_M_SYNTAX, at, NULL,
                           "this character cannot begin a text; put the text in quotes");
    if (strcmp(s->context, "while scanning an alias") == 0)
        return qb_diag_add(diags, QB_M_SYNTAX, begin, NULL,
                           "a text that begins with * must be in quotes");
    if (strcmp(s->context, "while scanning an anchor") == 0)
        return qb_diag_add(diags, QB_M_SYNTAX, begin, NULL,
                           "a text that begins with & must be in quotes");
    if (strcmp(s->context, "while scanning a block scalar") == 0)
        return qb_diag_add(diags, QB_M_SYNTAX, at, NULL,
                           "a text that begins with | or > must be in quotes");
    if (strstr(s->problem, "did not find expected node content"))
        return qb_diag_add(diags, QB_M_SYNTAX, at, NULL,
                           "a value, or the bracket that closes a list, is missing here");
    if (strcmp(s->context, "while scanning a quoted scalar") == 0)
        return qb_diag_add(diags, QB_M_SYNTAX, begin, NULL,
                           "the quote that begins here is not closed");
    if (strcmp(s->context, "while parsing a quoted scalar") == 0)
        return qb_diag_add(
            diags, QB_M_SYNTAX, at, NULL,
            "within double quotes \\ begins an escape: write \\\\, or put the text in "
            "single quotes");
    if (strstr(s->problem, "mapping values are not allowed"))
        return key_out_of_place(diags, s);
    if (strstr(s->problem, "could not find expected ':'"))
        return qb_diag_add(
            diags, QB_M_SYNTAX,
            span(s->from_line, &from, at_column(&from, s->from_column), from.text + from.len), NULL,
            "a colon is missing here: a line is KEY: VALUE");
    if (strstr(s->problem, "did not find expected '-'"))
        return no_dash(diags, s);
    if (strstr(s->problem, "did not find expected ',' or"))
        return bracket(diags, s);
    if (strstr(s->problem, "did not find expected key"))
        return no_key(diags, s);
    if (strstr(s->problem, "<document start>") && blame_line_above(diags, s))
        return -1;
    return in_own_words(diags, s);
}
