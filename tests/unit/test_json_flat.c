/* Records are read without jansson where they are plain, and mean what jansson reads. */
#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "util/json_flat.h"
#include "util/json_read.h"

static const char *const keys[] = {"is", "of", "path", "n", "sector", "yes", "no", "none", "", "x"};

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void compare(const struct qb_parsed *a, const struct qb_parsed *b)
{
    for (size_t i = 0; i < UNIT_COUNT(keys); i++) {
        const char *k = keys[i];

        CU_ASSERT(same_text(qb_json_get_text(a, k), qb_json_get_text(b, k)));
        CU_ASSERT_EQUAL(qb_json_get_number(a, k, 77), qb_json_get_number(b, k, 77));
        CU_ASSERT_EQUAL(qb_json_get_signed(a, k), qb_json_get_signed(b, k));
        CU_ASSERT(qb_json_get_real(a, k) == qb_json_get_real(b, k));
        CU_ASSERT_EQUAL(qb_json_get_bool(a, k), qb_json_get_bool(b, k));
        CU_ASSERT_EQUAL(qb_json_has(a, k), qb_json_has(b, k));
        CU_ASSERT_EQUAL(qb_json_list_count(a, k), qb_json_list_count(b, k));
    }
    CU_ASSERT_EQUAL(qb_json_count(a), qb_json_count(b));
}

/* Whether it was an object. */
static bool read_both(const char *text, size_t len)
{
    struct qb_parsed fast, right;
    bool is_object = qb_json_parse(text, len, &right);

    CU_ASSERT_EQUAL_FATAL(qb_json_parse_record(text, len, &fast), is_object);
    if (!is_object)
        return false;
    compare(&fast, &right);
    qb_json_drop(&fast);
    qb_json_drop(&right);
    return true;
}

static void each_kind_of_value_is_what_jansson_reads(void)
{
    static const char *const texts[] = {
        "{}",
        "{\"is\":\"planned\",\"of\":\"a1\",\"path\":\"/a/b c.qcow2\",\"n\":0,\"yes\":true,\"no\":"
        "false,\"none\":null,\"\":-5}",
        "{\"n\":999999999999999999}",
        "{\"n\":9223372036854775807}",
        "{\"n\":9223372036854775808}",
        "{\"n\":-999999999999999999}",
        "{\"n\":-0}",
        "{\"n\":01}",
        "{\"n\":-}",
        "{\"n\":1.5}",
        "{\"n\":1e3}",
        "{\"n\":+1}",
        "{\"n\":[1,\"a\"]}",
        "{\"n\":{\"is\":1}}",
        "{\"path\":\"a\\nb\"}",
        "{\"path\":\"\xc3\xa4\"}",
        "{\"path\":\"\xff\"}",
        "{\"path\":\"\x7f\"}",
        "{\"path\":\"\x01\"}",
        "{ \"n\" : 1 }",
        "{\"n\":1} ",
        "{\"n\":1}x",
        "{\"n\":1,\"n\":2}",
        "{\"n\":1,}",
        "{,\"n\":1}",
        "{\"n\"1}",
        "{\"n\":tru}",
        "{\"n\":nullx}",
        "{\"n\":\"",
        "{\"n",
        "{\"n\":1",
        "{",
        "",
        "[]",
        "1",
    };

    for (size_t i = 0; i < UNIT_COUNT(texts); i++)
        read_both(texts[i], strlen(texts[i]));
}

static void a_plain_record_needs_no_decoding(void)
{
    static const char text[] = "{\"is\":\"changed\",\"n\":12,\"path\":\"/some/where.qcow2\"}";
    struct qb_flat *flat = qb_flat_parse(text, sizeof(text) - 1);

    CU_ASSERT_PTR_NOT_NULL_FATAL(flat);
    CU_ASSERT_EQUAL(flat->n, 3);
    CU_ASSERT_STRING_EQUAL(qb_flat_find(flat, "path")->text, "/some/where.qcow2");
    CU_ASSERT_PTR_NULL(qb_flat_find(flat, "pat"));
    free(flat);
}

static void objects_with_many_members_are_read(void)
{
    char text[2000] = "{\"n\":0";

    for (int i = 0; i < 2 * QB_FLAT_MEMBERS; i++) {
        strcat(text, "}");
        CU_ASSERT(read_both(text, strlen(text)));
        text[strlen(text) - 1] = '\0';
        snprintf(text + strlen(text), 20, ",\"m%d\":%d", i, i);
    }
}

/* Pieces of records, in any order, each where it makes sense or does not. */
static void whatever_is_made_of_pieces_is_what_jansson_reads(void)
{
    static const char *const pieces[] = {"{",
                                         "}",
                                         "\"",
                                         ":",
                                         ",",
                                         "\"is\":",
                                         "\"n\":",
                                         "\"path\":\"",
                                         "1",
                                         "-",
                                         "0",
                                         "true",
                                         "null",
                                         "false",
                                         "\\",
                                         "\"x\"",
                                         "[",
                                         "]",
                                         "AAAA==",
                                         "\"sector\":\"",
                                         " ",
                                         "\xc3",
                                         "12345678901234567890",
                                         "\"is\":1,\"n\":\"a\""};
    unsigned state = 1, objects = 0;

    for (int round = 0; round < 200000; round++) {
        char text[400] = "{";
        size_t n;

        state = state * 1103515245u + 12345u;
        n = state >> 16 & 7;
        for (size_t i = 0; i <= n; i++) {
            state = state * 1103515245u + 12345u;
            strcat(text, pieces[(state >> 16) % UNIT_COUNT(pieces)]);
            if ((state >> 8 & 3) == 0)
                strcat(text, "\"is\":\"a\",");
        }
        if (state >> 28 & 1)
            strcat(text, "}");
        objects += read_both(text, strlen(text));
    }
    CU_ASSERT(objects > 500);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_kind_of_value_is_what_jansson_reads),
        UNIT(a_plain_record_needs_no_decoding),
        UNIT(objects_with_many_members_are_read),
        UNIT(whatever_is_made_of_pieces_is_what_jansson_reads),
    };

    return unit_main("json_flat", tests, UNIT_COUNT(tests));
}
