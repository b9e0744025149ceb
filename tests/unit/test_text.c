/* Names as a terminal shows them: what harms is escaped, and columns are counted as they are seen.
 */
#include <stdlib.h>
#include <string.h>

#include "util/character.h"
#include "util/text.h"
#include "unit.h"

static const struct {
    const char *name, *shown;
    size_t columns;
} names[] = {
    {"web-1.qcow2", "web-1.qcow2", 11},
    {"a\nb", "a\\x0ab", 6},
    {"a\tb", "a\\x09b", 6},
    {"\x1b[31m", "\\x1b[31m", 8},
    {"\xff", "\\xff", 4},
    {"\xc2\x9b", "\\xc2\\x9b", 8}, /* CSI of Latin-1 */
    {"a\xe2\x80\xae"
     "2wocq",
     "a\\xe2\\x80\\xae"
     "2wocq",
     18},                                                        /* reads backwards */
    {"\xe2\x81\xa6x", "\\xe2\\x81\\xa6x", 13},                   /* an isolate */
    {"\xe2\x80\x8bx", "\\xe2\\x80\\x8bx", 13},                   /* a blank of no width */
    {"\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5\xe6\x9c\xac", 4}, /* wide */
    {"e\xcc\x81", "e\xcc\x81", 1},                               /* an accent of its own */
    {"\xd9\x85\xe2\x80\x8c\xdb\x8c", "\xd9\x85\\xe2\\x80\\x8c\xdb\x8c", 14}, /* a joiner */
    {"\xc3\xa4", "\xc3\xa4", 1},
};

static void a_name_cannot_harm_and_takes_the_columns_that_are_counted(void)
{
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        char *text = NULL;
        size_t len = 0;
        FILE *f = open_memstream(&text, &len);

        qb_text_safe(f, names[i].name);
        fclose(f);
        CU_ASSERT_STRING_EQUAL(text, names[i].shown);
        CU_ASSERT_EQUAL(qb_text_columns(names[i].name), names[i].columns);
        free(text);
    }
}

static void every_code_point_is_plain_or_harmful(void)
{
    for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 97)
        CU_ASSERT(qb_character_width(c) <= 2);
    for (uint32_t c = 0x20; c < 0x7f; c++)
        CU_ASSERT(!qb_character_is_harmful(c) && qb_character_width(c) == 1);
    for (uint32_t c = 0x200b; c <= 0x200f; c++)
        CU_ASSERT(qb_character_is_harmful(c));
    for (uint32_t c = 0x2028; c <= 0x202e; c++)
        CU_ASSERT(qb_character_is_harmful(c));
    for (uint32_t c = 0x2066; c <= 0x2069; c++)
        CU_ASSERT(qb_character_is_harmful(c));
}

static void the_nearest_word_is_found_through_one_slip(void)
{
    static const char *const words[] = {"size", "compat", "leaks", "lazy_refcounts", "on", NULL};
    static const struct {
        const char *typed, *meant;
    } slips[] = {
        {"sizes", "size"},  {"siz", "size"},   {"sise", "size"},
        {"szie", "size"}, /* two letters swapped are one slip, and of four letters one is taken */
        {"isze", "size"},   {"siez", "size"},  {"comapt", "compat"},
        {"lekas", "leaks"}, {"no", "on"},      {"lazy_refcount", "lazy_refcounts"},
        {"ezis", NULL},     {"backing", NULL}, {"", NULL},
        {"oz", "on"},
    };
    static const char *const versions[] = {"0.10", "v2", "1.1", "v3", NULL};

    for (size_t i = 0; i < UNIT_COUNT(slips); i++) {
        const char *found = qb_text_nearest(slips[i].typed, words);

        CU_ASSERT(slips[i].meant ? found && strcmp(found, slips[i].meant) == 0 : !found);
    }
    CU_ASSERT_PTR_NULL(qb_text_nearest("v4", versions)); /* one is as near as the other */
    CU_ASSERT_STRING_EQUAL(qb_text_nearest("1.10", versions), "1.1");
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_name_cannot_harm_and_takes_the_columns_that_are_counted),
        UNIT(every_code_point_is_plain_or_harmful),
        UNIT(the_nearest_word_is_found_through_one_slip),
    };

    return unit_main("text", tests, UNIT_COUNT(tests));
}
