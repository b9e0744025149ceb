#include "cli/explain.h"

#include <string.h>
#include <strings.h>

#include "check/defects.h"
#include "cli/cli.h"
#include "util/text.h"

const struct qb_explanation qb_explanations[QB_E_COUNT] = {
#define EXPLAIN(CASE, what, untouched, todo) [QB_E_##CASE] = {what, untouched, todo},
#include "cli/explain.def"
#undef EXPLAIN
};

/* The texts begin in the same column. */
static void put_part(FILE *f, const char *label, const char *text)
{
    fprintf(f, "  %-18s ", label);
    qb_help_wrap(f, text, 21);
    fputc('\n', f);
}

static void explain_error(FILE *f, enum qb_code code)
{
    const struct qb_explanation *e = &qb_explanations[code];

    fprintf(f, "%s (%s)\n\n", qb_code_name(code),
            qb_code_retryable(code) ? "the same request may succeed later"
                                    : "the same request ends the same until something changes");
    put_part(f, "what happened", e->what);
    put_part(f, "what is untouched", e->untouched);
    put_part(f, "what to do", e->todo);
}

static void explain_defect(FILE *f, const struct qb_defect_row *row)
{
    fprintf(f, "%s (a finding of qbatch check)\n\n", row->name);
    put_part(f, "what it is", row->what);
    put_part(f, "what it means", row->means);
    put_part(f, "what to do", row->todo);
}

static int complain(const char *name)
{
    const char *names[QB_E_COUNT + QB_DEFECT_COUNT] = {NULL}, *near;
    size_t n = 0;

    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++)
        names[n++] = qb_code_name(code);
    for (enum qb_defect defect = 0; defect < QB_DEFECT_COUNT; defect++)
        names[n++] = qb_defects[defect].name;
    near = qb_text_nearest(name, names);
    fputs("qbatch explain: no code is called ", stderr);
    qb_text_safe(stderr, name);
    if (near)
        fprintf(stderr, "; did you mean %s?\n", near);
    else
        fputs(" (qbatch explain lists them)\n", stderr);
    return -1;
}

int qb_explain(FILE *f, const char *name)
{
    enum qb_defect defect = qb_defect_named(name);

    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++)
        if (strcasecmp(name, qb_code_name(code)) == 0) {
            explain_error(f, code);
            return 0;
        }
    if (defect == QB_DEFECT_COUNT)
        return complain(name);
    explain_defect(f, &qb_defects[defect]);
    return 0;
}

static void put_in_list(FILE *f, const struct qb_defect_row *row)
{
    fprintf(f, "%-26s ", row->name);
    qb_help_wrap(f, row->what, 27);
}

void qb_explain_list(FILE *f)
{
    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++)
        fprintf(f, "%-17s %s\n", qb_code_name(code), qb_code_hint(code));
    fputs("\nfindings of qbatch check:\n", f);
    for (enum qb_defect defect = 0; defect < QB_DEFECT_COUNT; defect++)
        put_in_list(f, &qb_defects[defect]);
}

void qb_explain_names(FILE *f)
{
    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++)
        fprintf(f, "%s ", qb_code_name(code));
    for (enum qb_defect defect = 0; defect < QB_DEFECT_COUNT; defect++)
        fprintf(f, "%s ", qb_defects[defect].name);
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

static void put_item(FILE *f, const char *name, const char *const texts[3])
{
    fprintf(f, ".It Cm %s\n", name);
    for (size_t i = 0; i < 3; i++)
        put_sentences(f, texts[i]);
}

void qb_explain_man(FILE *f)
{
    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++) {
        const struct qb_explanation *e = &qb_explanations[code];

        put_item(f, qb_code_name(code), (const char *const[]){e->what, e->untouched, e->todo});
    }
}

void qb_explain_defects(FILE *f)
{
    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++) {
        const struct qb_defect_row *row = &qb_defects[i];

        put_item(f, row->name, (const char *const[]){row->what, row->means, row->todo});
    }
}
