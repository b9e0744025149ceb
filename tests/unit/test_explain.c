/* What `qbatch explain` and the manual say of error codes. */
#include <stdlib.h>
#include <string.h>

#include "check/defects.h"
#include "cli/explain.h"
#include "source.h"
#include "unit.h"

/* The words of a text, each behind one blank: line breaks and what mdoc makes of them apart. */
static char *words_of(const char *text)
{
    char *out = malloc(strlen(text) + 2), *to = out;

    for (; *text; text++)
        if (*text != ' ' && *text != '\n')
            *to++ = *text;
        else if (to == out || to[-1] != ' ')
            *to++ = ' ';
    *to = '\0';
    return out;
}

/* Each part is a sentence, and is in the manual. */
static void assert_in_manual(const char *manual, const char *const parts[3])
{
    for (size_t i = 0; i < 3; i++) {
        char *words;

        CU_ASSERT_FATAL(parts[i] && strlen(parts[i]) > 10);
        CU_ASSERT_EQUAL(parts[i][strlen(parts[i]) - 1], '.');
        words = words_of(parts[i]);
        if (!strstr(manual, words))
            printf("\n  not in the manual: %s\n", words);
        CU_ASSERT_PTR_NOT_NULL(strstr(manual, words));
        free(words);
    }
}

static void every_code_is_explained_here_and_in_the_manual(void)
{
    char *page = source_text("batch/man/qbatch.1"), *manual;

    CU_ASSERT_PTR_NOT_NULL_FATAL(page);
    manual = words_of(page);
    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++) {
        const struct qb_explanation *e = &qb_explanations[code];

        assert_in_manual(manual, (const char *const[]){e->what, e->untouched, e->todo});
    }
    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++) {
        const struct qb_defect_row *row = &qb_defects[i];

        assert_in_manual(manual, (const char *const[]){row->what, row->means, row->todo});
    }
    free(manual);
    free(page);
}

/* Programs read them: letters and underscores, and none is another code, too. */
static void the_names_of_findings_are_codes_of_their_own(void)
{
    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++) {
        const char *name = qb_defects[i].name;

        CU_ASSERT_EQUAL(strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789"), strlen(name));
        CU_ASSERT_EQUAL(qb_defect_named(name), i);
        for (enum qb_code code = QB_E_NONE; code < QB_E_COUNT; code++)
            CU_ASSERT_STRING_NOT_EQUAL(name, qb_code_name(code));
    }
    CU_ASSERT_EQUAL(qb_defect_named("no_such_finding"), QB_DEFECT_COUNT);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(every_code_is_explained_here_and_in_the_manual),
        UNIT(the_names_of_findings_are_codes_of_their_own),
    };

    return unit_main("explain", tests, UNIT_COUNT(tests));
}
