/* Patterns of names, held against fnmatch(3), which is right and may take forever. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/wildcard.h"
#include "dice.h"
#include "unit.h"

static bool matches(const char *pattern, const char *name)
{
    return qb_wildcard_match(pattern, name, strlen(name));
}

static void a_text_matches_itself_only(void)
{
    CU_ASSERT_TRUE(matches("", ""));
    CU_ASSERT_TRUE(matches("all", "all"));
    CU_ASSERT_FALSE(matches("all", "al"));
    CU_ASSERT_FALSE(matches("al", "all"));
    CU_ASSERT_FALSE(matches("", "a"));
    CU_ASSERT_TRUE(matches("a/b.c", "a/b.c"));
}

static void stars_and_question_marks(void)
{
    CU_ASSERT_TRUE(matches("*", ""));
    CU_ASSERT_TRUE(matches("*", "/.a b"));
    CU_ASSERT_TRUE(matches("auto-*-x", "auto-2026-x-x"));
    CU_ASSERT_FALSE(matches("auto-*-x", "auto-x"));
    CU_ASSERT_TRUE(matches("**a?**", "xay"));
    CU_ASSERT_FALSE(matches("?", ""));
}

static void characters_are_those_of_utf8(void)
{
    CU_ASSERT_TRUE(matches("?", "\xc3\xa4"));
    CU_ASSERT_TRUE(matches("??", "\xe2\x82\xac\xf0\x9f\x90\xa7"));
    CU_ASSERT_TRUE(matches("[\xc3\xa4-\xc3\xbc]", "\xc3\xb6"));
    CU_ASSERT_FALSE(matches("[\xc3\xa4-\xc3\xb5]", "\xc3\xb6"));
    CU_ASSERT_TRUE(matches("???", "\xff\xc3z"));
    CU_ASSERT_FALSE(matches("?", "\xe2\x82"));
    CU_ASSERT_TRUE(matches("\xff*", "\xff\xfe"));
    CU_ASSERT_FALSE(matches("\xc3", "\xc3\xa4"));
}

static void a_name_may_hold_any_byte(void)
{
    CU_ASSERT_TRUE(qb_wildcard_match("a?b", "a\0b", 3));
    CU_ASSERT_FALSE(qb_wildcard_match("a", "a\0b", 3));
}

/* Whatever fnmatch makes of it. */
static void as_fnmatch(void)
{
    static const char *const cases[] = {
        "[ab]", "[!ab]", "[^ab]", "[]a]", "[!]a]", "[a-c]",       "[a-]",         "[-a]",   "[",
        "[a",   "a[",    "[]",    "\\*",  "\\a",   "[\\]]",       "[[]",          "]",      "[a]*b",
        "*[b]", "[!]",   "[c-a]", "[*?]", "\\[a]", "[[:alpha:]]", "[[:digit:]x]", "[a\\-c]"};
    static const char *const names[] = {"",  "a", "b",  "c", "]",  "-", "[", "[a", "ab", "*",
                                        "?", "5", "\\", "x", "a[", "!", "^", "[]", "A",  "[!]"};

    for (size_t i = 0; i < UNIT_COUNT(cases); i++)
        for (size_t k = 0; k < UNIT_COUNT(names); k++)
            if (matches(cases[i], names[k]) != (fnmatch(cases[i], names[k], 0) == 0)) {
                fprintf(stderr, "\n%s, %s\n", cases[i], names[k]);
                CU_FAIL("not as fnmatch has it");
            }
}

/* A `[` that is not closed is what fnmatch makes of it here and now: POSIX leaves it open. */
static bool is_closed(const char *pattern)
{
    const char *open = strrchr(pattern, '[');

    return !open || strchr(open, ']');
}

static void any_pattern_as_fnmatch(void)
{
    static const char letters[] = "aab*?[]!-\\c", plain[] = "aabc[-";
    struct dice d = dice_of(1);

    for (unsigned i = 0; i < 200000; i++) {
        char pattern[9] = "", name[7] = "";

        for (unsigned n = roll(&d, sizeof(pattern)); n > 0; n--)
            pattern[n - 1] = letters[roll(&d, sizeof(letters) - 1)];
        for (unsigned n = roll(&d, sizeof(name)); n > 0; n--)
            name[n - 1] = plain[roll(&d, sizeof(plain) - 1)];
        if (!is_closed(pattern) || matches(pattern, name) == (fnmatch(pattern, name, 0) == 0))
            continue;
        fprintf(stderr, "\n%s, %s\n", pattern, name);
        CU_FAIL("not as fnmatch has it");
    }
}

/* It would end after the tests were given up. */
static void a_long_name_takes_no_exponential_time(void)
{
    static char name[65536];

    memset(name, 'a', sizeof(name));
    CU_ASSERT_FALSE(qb_wildcard_match("*a*a*a*a*a*a*a*a*b", name, sizeof(name)));
    CU_ASSERT_TRUE(qb_wildcard_match("*a*a*a*a*a*a*a*a*", name, sizeof(name)));
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_text_matches_itself_only),
        UNIT(stars_and_question_marks),
        UNIT(characters_are_those_of_utf8),
        UNIT(a_name_may_hold_any_byte),
        UNIT(as_fnmatch),
        UNIT(any_pattern_as_fnmatch),
        UNIT(a_long_name_takes_no_exponential_time),
    };

    return unit_main("wildcard", tests, UNIT_COUNT(tests));
}
