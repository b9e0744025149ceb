/* JSON that is composed as text: jansson reads each line, and would write the same bytes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "util/json.h"
#include "util/json_read.h"
#include "util/json_real.h"
#include "unit.h"

/* The object's line, and whether jansson writes what it reads in it. */
static char *line_of(struct qb_json o)
{
    QB_AUTO(qb_buf) char *again = NULL;
    struct qb_parsed parsed = {0};
    size_t len = 0, len_again = 0;
    char *line = qb_json_take(o, &len);
    FILE *f = open_memstream(&again, &len_again);

    CU_ASSERT_PTR_NOT_NULL_FATAL(line);
    CU_ASSERT_EQUAL(len, strlen(line));
    CU_ASSERT_FATAL(qb_json_parse(line, len, &parsed));
    CU_ASSERT_EQUAL(qb_parsed_line(f, &parsed), 0);
    fclose(f);
    CU_ASSERT_STRING_EQUAL(line, again);
    qb_json_drop(&parsed);
    return line;
}

static void a_line_is_what_jansson_would_write(void)
{
    struct qb_json o = qb_json_object(), child = qb_json_object(), list = qb_json_list();
    QB_AUTO(qb_buf) char *line = NULL;

    qb_json_number(&child, "n", 0);
    qb_json_number(&child, "most", INT64_MAX);
    qb_json_number(&child, "more", UINT64_MAX);
    qb_json_signed(&child, "least", INT64_MIN);
    qb_json_append(&list, child);
    qb_json_append_string(&list, "a\"b");
    qb_json_append_number(&list, 7);
    qb_json_append(&list, qb_json_object());
    qb_json_child(&o, "list", list);
    qb_json_child(&o, "none", qb_json_list());
    qb_json_null(&o, "null");
    qb_json_bool(&o, "yes", true);
    qb_json_bool(&o, "no", false);
    qb_json_real(&o, "half", 0.5);
    qb_json_text(&o, "empty", "");
    qb_json_string(&o, "blank", "");
    qb_json_label(&o, "a \"key\"\n", "x");
    qb_json_label(&o, "a label", "");
    qb_json_open(&o, "in place");
    qb_json_open_list(&o, "of");
    qb_json_open_item(&o);
    qb_json_null(&o, "a");
    qb_json_close(&o);
    qb_json_open_item(&o);
    qb_json_close(&o);
    qb_json_append_number(&o, 2);
    qb_json_close(&o);
    qb_json_signed(&o, "b", -3);
    qb_json_close(&o);
    qb_json_text(&o, "last", "{");
    qb_json_null(&o, "end");
    line = line_of(o);
    CU_ASSERT_STRING_EQUAL(
        line,
        "{\"list\":[{\"n\":0,\"most\":9223372036854775807,\"more\":\"0xffffffffffffffff\","
        "\"least\":-9223372036854775808},\"a\\\"b\",7,{}],\"none\":[],\"null\":null,\"yes\":true,"
        "\"no\":false,\"half\":0.5,\"empty\":null,\"blank\":\"\",\"a \\\"key\\\"\\n\":\"x\",\"a "
        "label\":null,"
        "\"in place\":{\"of\":[{\"a\":null},{},2],\"b\":-3},\"last\":\"{\",\"end\":null}\n");
}

static void every_character_is_escaped_as_jansson_does(void)
{
    char text[0x80] = "";

    for (int c = 1; c < 0x80; c++)
        text[c - 1] = (char)c;
    for (size_t from = 0; from < sizeof(text) - 1; from++) {
        struct qb_json o = qb_json_object();

        qb_json_string(&o, "s", text + from);
        free(line_of(o));
    }
}

/* A string is looked at eight bytes at a time. */
static void a_character_is_escaped_wherever_it_is_in_a_long_string(void)
{
    static const char *const some[] = {"\"", "\\",   "\x01",     "\x1f", " ",
                                       "~",  "\x7f", "\xc3\xa4", "\xff"};

    for (size_t i = 0; i < UNIT_COUNT(some); i++) {
        for (int before = 0; before < 20; before++) {
            struct qb_json o = qb_json_object();
            QB_AUTO(qb_json_drop) struct qb_parsed parsed = {0};
            QB_AUTO(qb_buf) char *line = NULL, *path = NULL;
            char text[80];

            snprintf(text, sizeof(text), "%.*s%sdefghijklmnopqrstu%s", before,
                     "0123456789abcdefghij", some[i], some[i]);
            qb_json_path(&o, text);
            line = line_of(o);
            CU_ASSERT_FATAL(qb_json_parse(line, strlen(line), &parsed));
            path = qb_json_get_path(&parsed);
            CU_ASSERT_PTR_NOT_NULL_FATAL(path);
            CU_ASSERT_STRING_EQUAL(path, text);
        }
    }
}

static void what_is_not_utf8_is_replaced_and_a_path_keeps_its_bytes(void)
{
    static const char *const paths[] = {
        "\xff", "a\xc3\xa4\x80z", "\xed\xa0\x80", "\xf0\x9f\x98\x80", "\xc3", "plain/ä.qcow2"};

    for (size_t i = 0; i < UNIT_COUNT(paths); i++) {
        struct qb_json o = qb_json_object();
        QB_AUTO(qb_json_drop) struct qb_parsed parsed = {0};
        QB_AUTO(qb_buf) char *line = NULL, *path = NULL;

        qb_json_path(&o, paths[i]);
        line = line_of(o);
        CU_ASSERT_FATAL(qb_json_parse(line, strlen(line), &parsed));
        path = qb_json_get_path(&parsed);
        CU_ASSERT_PTR_NOT_NULL_FATAL(path);
        CU_ASSERT_STRING_EQUAL(path, paths[i]);
    }
    CU_ASSERT_STRING_EQUAL(paths[0], "\xff");
}

/* As printf has it, but without a plus sign and zeros in the exponent, and with a point. */
static void expected(double d, char *out)
{
    char text[64], *e;

    snprintf(text, sizeof(text), "%.6g", d);
    e = strchr(text, 'e');
    if (e) {
        *e++ = '\0';
        sprintf(out, "%se%d", text, atoi(e));
    } else {
        sprintf(out, "%s%s", text, strchr(text, '.') ? "" : ".0");
    }
}

static void assert_real(double d)
{
    char want[80], got[QB_JSON_REAL + 1];

    expected(d, want);
    got[qb_json_real_text(d, got)] = '\0';
    CU_ASSERT_STRING_EQUAL(got, want);
}

static double any(unsigned seed)
{
    return (double)(seed * 2654435761u % 2000003u);
}

static void a_real_number_has_six_digits_rounded_as_printf_does(void)
{
    static const double some[] = {0.0,    -0.0,     1,     100000,  999999,   999999.5,
                                  1e6,    9999995,  1e9,   1e-4,    1e-5,     9.9999995e-5,
                                  0.1,    123456.5, 1e-9,  1e300,   5e-324,   1e100,
                                  -1e-10, 1e10,     99999, 0.00001, 999999.4, 1234565};

    for (size_t i = 0; i < UNIT_COUNT(some); i++)
        assert_real(some[i]);
    for (unsigned i = 1; i < 30000; i++) {
        double power = pow(10, (int)(i % 23) - 14);

        assert_real(any(i) * power);
        assert_real((any(i) + 0.5) * power); /* in the middle of two, or nearly */
        assert_real(any(i) / 3 * power);
    }
}

static void what_is_no_number_is_a_failure_of_the_line(void)
{
    struct qb_json o = qb_json_object(), child = qb_json_object();
    size_t len;

    qb_json_real(&child, "d", NAN);
    qb_json_child(&o, "child", child);
    qb_json_text(&o, "after", "x");
    CU_ASSERT_PTR_NULL(qb_json_take(o, &len));
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_line_is_what_jansson_would_write),
        UNIT(every_character_is_escaped_as_jansson_does),
        UNIT(a_character_is_escaped_wherever_it_is_in_a_long_string),
        UNIT(what_is_not_utf8_is_replaced_and_a_path_keeps_its_bytes),
        UNIT(a_real_number_has_six_digits_rounded_as_printf_does),
        UNIT(what_is_no_number_is_a_failure_of_the_line),
    };

    return unit_main("json", tests, UNIT_COUNT(tests));
}
