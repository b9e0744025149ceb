/* The amend keys, the values they take, and -o. */
#include <stdlib.h>
#include <string.h>

#include "manifest/keys.h"
#include "manifest/o_option.h"
#include "manifest/settings.h"
#include "unit.h"

/* ---- helpers --------------------------------------------------------------------------------- */

static struct qb_batch batch;
static struct qb_diags diags;
static struct qb_request rq;

static int parse(const char *text)
{
    qb_batch_free(&batch);
    qb_diags_free(&diags);
    qb_batch_init(&batch);
    qb_request_init(&rq);
    return qb_options_parse(text, &batch, &rq, &diags);
}

static void done(void)
{
    qb_batch_free(&batch);
    qb_diags_free(&diags);
}

/* Whether the n-th mistake is this one, in this column. */
static bool complains(size_t n, enum qb_mistake code, unsigned column, unsigned length)
{
    const struct qb_diag *d = &diags.list.items[n];

    return n < diags.list.n && d->code == code && d->at.line == 1 && d->at.column == column &&
           d->at.length == length;
}

static bool hints(size_t n, const char *word)
{
    const char *hint = n < diags.list.n ? diags.list.items[n].did_you_mean : NULL;

    return word ? hint && strcmp(hint, word) == 0 : !hint;
}

static bool set(const struct qb_key_row *key, const char *text)
{
    struct qb_why why;

    qb_request_init(&rq);
    return qb_key_set(key, text, &rq, &why);
}

static bool size_is(const char *text, uint64_t expected)
{
    return set(qb_key_find("size"), text) && rq.size == expected && !rq.size_is_delta;
}

static bool size_is_bad(const char *text)
{
    struct qb_request before;

    qb_request_init(&before);
    return !set(qb_key_find("size"), text) && memcmp(&before, &rq, sizeof(rq)) == 0;
}

/* Calls fn with each word of "a|b|c". */
static void each_word(const char *list, void (*fn)(const void *row, const char *word),
                      const void *row)
{
    char *copy = strdup(list), *rest;

    for (char *w = strtok_r(copy, "|", &rest); w; w = strtok_r(NULL, "|", &rest))
        fn(row, w);
    free(copy);
}

/* ---- the table ------------------------------------------------------------------------------- */

static void takes(const void *row, const char *word)
{
    const struct qb_key_row *key = row;
    bool ok = set(key, word);

    if (!ok)
        fprintf(stderr, "%s does not take its example %s\n", key->name, word);
    CU_ASSERT_TRUE(ok);
    CU_ASSERT_EQUAL(rq.set, key->bit);
}

static void every_key_takes_its_examples(void)
{
    for (size_t i = 0; i < qb_keys_count; i++) {
        CU_ASSERT_TRUE(qb_keys[i].good[0] || qb_keys[i].kind == QB_KIND_LATER);
        each_word(qb_keys[i].good, takes, &qb_keys[i]);
    }
}

static void every_key_refuses_what_it_is_not_and_stays_as_it_was(void)
{
    static const char *const bad[] = {
        [QB_KIND_COMPAT] = "0.1|0.11|1.10|1|2|3|V3|1.1 | 1.1|01.1",
        [QB_KIND_SIZE] =
            "-1|++1|+|+-1|x|1x|0x10|010|1e3|1_000|1 G|G|1GB|1gb|1g|1.|.5|1.5|8E|7.999E|"
            "9223372036854775808|18446744073709551616|1:30",
        [QB_KIND_BYTES] = "0|1|256|3k|4M|+4k|-4k|64KB|x",
        [QB_KIND_POW2] =
            "0|3|65|128|-1|+1|016|0x10|16.0|1e1|4294967304|18446744073709551617|sixteen",
        [QB_KIND_BOOL] = "0|1|o|onn|y|n|enabled| on",
        [QB_KIND_NAME] = "qcow2 |a/b|a,b|q\xc3\xa4|a\nb",
        [QB_KIND_TEXT] = NULL,
        [QB_KIND_WORD] = "none|Off|x",
        [QB_KIND_ENUM] = "none|Auto|alloc|0",
        [QB_KIND_LATER] = "on|luks",
    };

    for (size_t i = 0; i < qb_keys_count; i++) {
        char *copy = strdup(bad[qb_keys[i].kind] ? bad[qb_keys[i].kind] : ""), *rest;
        struct qb_request before;

        qb_request_init(&before);
        for (char *w = strtok_r(copy, "|", &rest); w; w = strtok_r(NULL, "|", &rest)) {
            bool ok = set(&qb_keys[i], w);

            if (ok)
                fprintf(stderr, "%s takes \"%s\"\n", qb_keys[i].name, w);
            CU_ASSERT_FALSE(ok);
            CU_ASSERT_EQUAL(memcmp(&before, &rq, sizeof(rq)), 0);
        }
        CU_ASSERT_EQUAL(set(&qb_keys[i], ""), qb_key_takes_none(&qb_keys[i]));
        free(copy);
    }
}

static void takes_setting(const void *row, const char *word)
{
    const struct qb_setting_row *setting = row;
    struct qb_settings out = {0};
    struct qb_why why;
    bool ok = setting->set(word, &out, &why);

    if (!ok)
        fprintf(stderr, "%s does not take its example %s\n", setting->name, word);
    CU_ASSERT_TRUE(ok);
}

static void every_setting_takes_its_examples_and_no_nonsense(void)
{
    for (size_t i = 0; i < qb_setting_count; i++) {
        struct qb_settings out = {0};
        struct qb_why why;

        each_word(qb_setting_rows[i].good, takes_setting, &qb_setting_rows[i]);
        each_word(qb_setting_rows[i].standard, takes_setting, &qb_setting_rows[i]);
        CU_ASSERT_FALSE(qb_setting_rows[i].set("nonsense", &out, &why));
        CU_ASSERT_FALSE(qb_setting_rows[i].set("-21", &out, &why));
        CU_ASSERT_FALSE(qb_setting_rows[i].set("", &out, &why));
    }
}

static void a_text_of_the_greatest_length_is_taken_and_one_longer_is_not(void)
{
    for (size_t i = 0; i < qb_keys_count; i++) {
        size_t most = qb_keys[i].high;
        char *text;

        if (!qb_key_takes_none(&qb_keys[i]))
            continue;
        text = calloc(most + 2, 1);
        memset(text, 'a', most);
        CU_ASSERT_TRUE(set(&qb_keys[i], text));
        text[most] = 'a';
        CU_ASSERT_FALSE(set(&qb_keys[i], text));
        free(text);
    }
}

static void names_stand_once_and_later_keys_are_no_keys(void)
{
    for (size_t i = 0; i < qb_keys_count; i++) {
        CU_ASSERT_PTR_EQUAL(qb_key_find(qb_keys[i].name), &qb_keys[i]);
        CU_ASSERT_FALSE(qb_key_is_later(qb_keys[i].name));
        CU_ASSERT_PTR_NULL(qb_setting_find(NULL, qb_keys[i].name));
    }
    CU_ASSERT_EQUAL(qb_key_find("encrypt.format")->kind, QB_KIND_LATER);
    CU_ASSERT_PTR_NULL(qb_key_find("encrypt"));
    CU_ASSERT_FALSE(qb_key_is_later("check_content"));
}

/* ---- values ---------------------------------------------------------------------------------- */

static void sizes_are_exact(void)
{
    CU_ASSERT_TRUE(size_is("0", 0));
    CU_ASSERT_TRUE(size_is("1", 1));
    CU_ASSERT_TRUE(size_is("4096B", 4096));
    CU_ASSERT_TRUE(size_is("1k", 1024));
    CU_ASSERT_TRUE(size_is("1K", 1024));
    CU_ASSERT_TRUE(size_is("200G", UINT64_C(200) << 30));
    CU_ASSERT_TRUE(size_is("200GiB", UINT64_C(200) << 30));
    CU_ASSERT_TRUE(size_is("1.5T", UINT64_C(3) << 39));
    CU_ASSERT_TRUE(size_is("0.5k", 512));
    CU_ASSERT_TRUE(size_is("0.001953125k", 2));
    CU_ASSERT_TRUE(size_is("1.0", 1));
    CU_ASSERT_TRUE(size_is("2P", UINT64_C(2) << 50));
    CU_ASSERT_TRUE(size_is("7.5E", UINT64_C(15) << 59));
    CU_ASSERT_TRUE(size_is("9223372036854775807", INT64_MAX));
    CU_ASSERT_TRUE(size_is_bad("9223372036854775808"));
    CU_ASSERT_TRUE(size_is_bad("16777216T"));
    CU_ASSERT_TRUE(size_is_bad("16E"));
    CU_ASSERT_TRUE(size_is_bad("18446744073709551615E"));
    CU_ASSERT_TRUE(size_is_bad("0.1k"));
    CU_ASSERT_TRUE(size_is_bad("1.0000000001G"));
}

static void a_size_with_a_plus_is_added(void)
{
    CU_ASSERT_TRUE(set(qb_key_find("size"), "+50G"));
    CU_ASSERT_TRUE(rq.size_is_delta);
    CU_ASSERT_EQUAL(rq.size, UINT64_C(50) << 30);
    CU_ASSERT_EQUAL(parse("size=+1G,size=2G"), 0);
    CU_ASSERT_FALSE(rq.size_is_delta);
    CU_ASSERT_EQUAL(rq.size, UINT64_C(2) << 30);
}

static void compat_is_a_text_and_not_a_number(void)
{
    CU_ASSERT_TRUE(set(qb_key_find("compat"), "0.10") && rq.compat == 2);
    CU_ASSERT_TRUE(set(qb_key_find("compat"), "v2") && rq.compat == 2);
    CU_ASSERT_TRUE(set(qb_key_find("compat"), "1.1") && rq.compat == 3);
    CU_ASSERT_TRUE(set(qb_key_find("compat"), "v3") && rq.compat == 3);
}

static void words_become_their_enum(void)
{
    CU_ASSERT_EQUAL(parse("zero_clusters=defer,zero_method=write"), 0);
    CU_ASSERT_EQUAL(rq.zero_clusters, QB_ZERO_DEFER);
    CU_ASSERT_EQUAL(rq.zero_method, QB_ZEROED_WRITE);
    CU_ASSERT_EQUAL(rq.set, 0);
    CU_ASSERT_EQUAL(parse("zero_clusters=share,zero_method=hole"), 0);
    CU_ASSERT_EQUAL(rq.zero_clusters, QB_ZERO_SHARE);
    CU_ASSERT_EQUAL(rq.zero_method, QB_ZEROED_HOLE);
    CU_ASSERT_EQUAL(parse("zero_method=falloc,preallocation=full"), 0);
    CU_ASSERT_EQUAL(rq.zero_method, QB_ZEROED_FALLOC);
    CU_ASSERT_STRING_EQUAL(rq.preallocation, "full");
}

/* ---- -o -------------------------------------------------------------------------------------- */

static void options_set_what_they_name(void)
{
    CU_ASSERT_EQUAL(parse("compat=1.1,lazy_refcounts=on,refcount_bits=64,backing_fmt=raw"), 0);
    CU_ASSERT_EQUAL(rq.set, QB_KEY_COMPAT | QB_KEY_LAZY_REFCOUNTS | QB_KEY_REFCOUNT_BITS |
                                QB_KEY_BACKING_FMT);
    CU_ASSERT_EQUAL(rq.compat, 3);
    CU_ASSERT_TRUE(rq.lazy_refcounts);
    CU_ASSERT_EQUAL(rq.refcount_bits, 64);
    CU_ASSERT_STRING_EQUAL(rq.backing_fmt, "raw");
    CU_ASSERT_EQUAL(rq.verify, QB_VERIFY_METADATA);
}

static void a_doubled_comma_is_a_comma(void)
{
    CU_ASSERT_EQUAL(parse("backing_file=a,,b,,,,c=,,,backing_fmt=raw"), 0);
    CU_ASSERT_STRING_EQUAL(rq.backing_file, "a,b,,c=,");
    CU_ASSERT_STRING_EQUAL(rq.backing_fmt, "raw");
    CU_ASSERT_EQUAL(parse("backing_file=json:{\"driver\":\"raw\",,\"x\":1}"), 0);
    CU_ASSERT_STRING_EQUAL(rq.backing_file, "json:{\"driver\":\"raw\",\"x\":1}");
}

static void an_empty_backing_file_is_none(void)
{
    CU_ASSERT_EQUAL(parse("backing_file=,backing_fmt="), 0);
    CU_ASSERT_EQUAL(rq.set, QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT);
    CU_ASSERT_STRING_EQUAL(rq.backing_file, "");
}

static void strings_outlive_the_text(void)
{
    char text[] = "backing_file=base.qcow2";

    CU_ASSERT_EQUAL(parse(text), 0);
    memset(text, 'x', sizeof(text) - 1);
    CU_ASSERT_STRING_EQUAL(rq.backing_file, "base.qcow2");
}

static void help_is_asked_for_by_an_item_of_its_own(void)
{
    CU_ASSERT_EQUAL(parse("help"), QB_OPTIONS_HELP);
    CU_ASSERT_EQUAL(parse("?"), QB_OPTIONS_HELP);
    CU_ASSERT_EQUAL(parse("size=1G,help"), QB_OPTIONS_HELP);
    CU_ASSERT_EQUAL(parse("backing_file=a,,help"), 0);
    CU_ASSERT_STRING_EQUAL(rq.backing_file, "a,help");
}

static void options_complain_of_every_mistake_at_its_column(void)
{
    CU_ASSERT_EQUAL(
        parse("compta=v3,lazy_refcounts,,=x,,size=2GB,refcount_bits=4294967304,encrypt.iter=5"),
        -1);
    CU_ASSERT_EQUAL(qb_diags_count(&diags), 4);
    CU_ASSERT_TRUE(complains(0, QB_M_UNKNOWN_KEY, 1, 6));
    CU_ASSERT_TRUE(hints(0, "compat"));
    CU_ASSERT_TRUE(complains(1, QB_M_UNKNOWN_KEY, 11, 16));
    CU_ASSERT_TRUE(complains(2, QB_M_BAD_VALUE, 54, 10));
    CU_ASSERT_TRUE(complains(3, QB_M_NOT_YET, 65, 12));
    CU_ASSERT_EQUAL(parse("lazy_refcounts,size=2GB,\xc3\xa4=1,compat=v4,"), -1);
    CU_ASSERT_EQUAL(qb_diags_count(&diags), 5);
    CU_ASSERT_TRUE(complains(0, QB_M_NO_VALUE, 1, 14));
    CU_ASSERT_TRUE(complains(1, QB_M_BAD_VALUE, 21, 3));
    CU_ASSERT_TRUE(complains(2, QB_M_UNKNOWN_KEY, 25, 1));
    CU_ASSERT_TRUE(complains(3, QB_M_BAD_VALUE, 36, 2));
    CU_ASSERT_TRUE(hints(3, "v2"));
    CU_ASSERT_TRUE(complains(4, QB_M_SYNTAX, 39, 0));
}

static void empty_options_are_a_mistake(void)
{
    static const char *const texts[] = {"", ",size=1G", "size=1G,", ",", "=1", "size=1G,=2"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        CU_ASSERT_EQUAL(parse(texts[i]), -1);
        CU_ASSERT_EQUAL(diags.list.items[0].code, QB_M_SYNTAX);
    }
    done();
}

static void the_help_names_every_key(void)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    qb_keys_help(f);
    qb_keys_man(f);
    qb_settings_man("policy", f);
    qb_settings_man("limits", f);
    fclose(f);
    for (size_t i = 0; i < qb_keys_count; i++) {
        CU_ASSERT_PTR_NOT_NULL(strstr(text, qb_keys[i].name));
        CU_ASSERT_PTR_NOT_NULL(strstr(text, qb_keys[i].help));
    }
    for (size_t i = 0; i < qb_setting_count; i++)
        CU_ASSERT_PTR_NOT_NULL(strstr(text, qb_setting_rows[i].help));
    free(text);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(every_key_takes_its_examples),
        UNIT(every_key_refuses_what_it_is_not_and_stays_as_it_was),
        UNIT(every_setting_takes_its_examples_and_no_nonsense),
        UNIT(a_text_of_the_greatest_length_is_taken_and_one_longer_is_not),
        UNIT(names_stand_once_and_later_keys_are_no_keys),
        UNIT(sizes_are_exact),
        UNIT(a_size_with_a_plus_is_added),
        UNIT(compat_is_a_text_and_not_a_number),
        UNIT(words_become_their_enum),
        UNIT(options_set_what_they_name),
        UNIT(a_doubled_comma_is_a_comma),
        UNIT(an_empty_backing_file_is_none),
        UNIT(strings_outlive_the_text),
        UNIT(help_is_asked_for_by_an_item_of_its_own),
        UNIT(options_complain_of_every_mistake_at_its_column),
        UNIT(empty_options_are_a_mistake),
        UNIT(the_help_names_every_key),
    };
    int rc = unit_main("options", tests, UNIT_COUNT(tests));

    done();
    return rc;
}
