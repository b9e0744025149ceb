#include "cli/explain.h"

#include <string.h>
#include <strings.h>

#include "cli/cli.h"
#include "util/text.h"

const struct qb_explanation qb_explanations[QB_E_COUNT] = {
#define EXPLAIN(CASE, what, untouched, todo) [QB_E_##CASE] = {what, untouched, todo},
#include "cli/explain.def"
#undef EXPLAIN
};

void qb_explain(FILE *f, enum qb_code code)
{
    const struct qb_explanation *e = &qb_explanations[code];

    fprintf(f, "%s (%s)\n\n", qb_code_name(code),
            qb_code_retryable(code) ? "the same request may succeed later"
                                    : "the same request ends the same until something changes");
    fputs("  what happened      ", f);
    qb_help_wrap(f, e->what, 21);
    fputs("\n  what is untouched  ", f);
    qb_help_wrap(f, e->untouched, 21);
    fputs("\n  what to do         ", f);
    qb_help_wrap(f, e->todo, 21);
    fputc('\n', f);
}

void qb_explain_list(FILE *f)
{
    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++)
        fprintf(f, "%-17s %s\n", qb_code_name(code), qb_code_hint(code));
}

/* mdoc: a sentence a line; a line must not begin with a dot or a quote. */
static void put_sentences(FILE *f, const char *text)
{
    for (const char *s = text; *s; s++)
        if (s[0] == '.' && s[1] == ' ')
            fputs(".\n", f), s++;
        else if (*s == '\\')
            fputs("\\e", f);
        else
            fputc(*s, f);
    fputc('\n', f);
}

void qb_explain_man(FILE *f)
{
    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++) {
        fprintf(f, ".It Cm %s\n", qb_code_name(code));
        put_sentences(f, qb_explanations[code].what);
        put_sentences(f, qb_explanations[code].untouched);
        put_sentences(f, qb_explanations[code].todo);
    }
}

enum qb_code qb_explain_find(const char *name)
{
    const char *names[QB_E_COUNT] = {NULL}, *near;

    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++) {
        names[code - 1] = qb_code_name(code);
        if (strcasecmp(name, qb_code_name(code)) == 0)
            return code;
    }
    near = qb_text_nearest(name, names);
    fputs("qbatch explain: no error code is called ", stderr);
    qb_text_safe(stderr, name);
    if (near)
        fprintf(stderr, "; did you mean %s?\n", near);
    else
        fputs(" (qbatch explain lists them)\n", stderr);
    return QB_E_NONE;
}
