/* What `qbatch explain` and the manual say of error codes. */
#include <stdlib.h>
#include <string.h>

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

static void every_code_is_explained_here_and_in_the_manual(void)
{
    char *page = source_text("batch/man/qbatch.1"), *manual;

    CU_ASSERT_PTR_NOT_NULL_FATAL(page);
    manual = words_of(page);
    for (enum qb_code code = QB_E_NONE + 1; code < QB_E_COUNT; code++) {
        const struct qb_explanation *e = &qb_explanations[code];
        const char *const parts[] = {e->what, e->untouched, e->todo};

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
    free(manual);
    free(page);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(every_code_is_explained_here_and_in_the_manual),
    };

    return unit_main("explain", tests, UNIT_COUNT(tests));
}
