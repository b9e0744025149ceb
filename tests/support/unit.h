/* A suite of unit tests: a table of functions whose names are sentences.
 *
 *     int main(void)
 *     {
 *         static const struct unit_test tests[] = {
 *             UNIT(header_complains_about_each_spoiled_field),
 *         };
 *
 *         return unit_main("header", tests, UNIT_COUNT(tests));
 *     } */
#ifndef QB_TESTS_UNIT_H
#define QB_TESTS_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <CUnit/Basic.h>

struct unit_test {
    const char *name;
    void (*run)(void);
};

#define UNIT(fn)                                                                                   \
    {                                                                                              \
#fn, fn                                                                                    \
    }
#define UNIT_COUNT(tests) (sizeof(tests) / sizeof((tests)[0]))

#ifdef __SANITIZE_ADDRESS__
#define UNIT_SANITIZED true /* some fifteen times slower */
#else
#define UNIT_SANITIZED false
#endif

/* Whether one failure is all that is wanted, as scripts/mutants has it, and is there: a loop over
 * many subjects may end. */
static inline bool unit_has_enough(void)
{
    return getenv("QB_FIRST_FAILURE") && CU_get_number_of_failures() > 0;
}

/* A number from the environment, such as the first seed of a test, else `otherwise`. */
static inline unsigned long unit_setting(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);

    return text ? strtoul(text, NULL, 10) : otherwise;
}

/* Runs the tests in their order and prints CUnit's summary; non-zero when an assertion failed. */
static inline int unit_main(const char *suite_name, const struct unit_test *tests, size_t n)
{
    CU_pSuite suite;
    unsigned failures;

    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    suite = CU_add_suite(suite_name, NULL, NULL);
    for (size_t i = 0; suite && i < n; i++) {
        if (!CU_add_test(suite, tests[i].name, tests[i].run))
            suite = NULL;
    }
    if (!suite || CU_basic_run_tests() != CUE_SUCCESS) {
        fprintf(stderr, "%s: %s\n", suite_name, CU_get_error_msg());
        CU_cleanup_registry();
        return 2;
    }
    if (CU_get_number_of_failures()) /* CUnit prints which only when asked to be verbose */
        CU_basic_show_failures(CU_get_failure_list());
    failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures ? 1 : 0;
}

#endif
