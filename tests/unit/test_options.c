/* The amend keys, the values they take, and -o. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "job/keys.h"
#include "outcome/outcome.h"
#include "manifest/node.h"
#include "manifest/schema.h"
#include "manifest/o_option.h"
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
    return qb_options_parse(text, &batch, &rq, &(uint64_t){0}, &diags);
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
    return qb_key_set(key, text, &batch, &rq, &why);
}

static bool size_is(const char *text, uint64_t expected)
{
    return set(qb_key_find("size"), text) && rq.size == expected && rq.size_is == QB_SIZE_SET;
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

/* An item of any list of mappings, with room to see what is set. */
union item {
    struct qb_bitmap_rename rename;
    struct qb_bitmap_add add;
    struct qb_bitmap_merge merge;
    char bytes[64];
};

static void takes_part(const void *row, const char *word)
{
    union item item = {.bytes = {0}};
    struct qb_why why;

    CU_ASSERT_TRUE(qb_part_set(row, &word, 1, false, &batch, &item, &why));
}

static void every_key_takes_its_examples(void)
{
    qb_keys_each (key, QB_SECTION_amend) {
        CU_ASSERT_TRUE(key->good[0] || key->kind == QB_KIND_GROUP || key->parts);
        each_word(key->good, takes, key);
        qb_parts_each(part, key) each_word(part->good, takes_part, part);
    }
}

/* What no key of a kind takes. */
static const char *const bad[] = {
    [QB_KIND_COMPAT] = "0.1|0.11|1.10|1|2|3|V3|1.1 | 1.1|01.1",
    [QB_KIND_SIZE_CHANGE] =
        "-1|++1|+|+-1|x|1x|0x10|010|1e3|1_000|1 G|G|1GB|1gb|1g|1.|.5|1.5|8E|7.999E|"
        "9223372036854775808|18446744073709551616|1:30",
    [QB_KIND_SIZE] = "-1|+1|x|1x|0x10|010|1e3|1GB|1.|.5|1.5|8E|5%",
    [QB_KIND_SIZE_POWER] = "0|1|256|3k|4M|+4k|-4k|64KB|x",
    [QB_KIND_NUMBER] = "-1|+1|x|1k|1.0|010|99999999999",
    [QB_KIND_NUMBER_POWER] =
        "0|3|65|128|-1|+1|016|0x10|16.0|1e1|4294967304|18446744073709551617|sixteen",
    [QB_KIND_AUTO_NUMBER] = "0|-1|4097|Auto|x|1.5",
    [QB_KIND_DURATION] = "-1|x|1x|1h30m|2 hours|2 h|1.|.5|1w|1y|500ms|9000h|31622401|366d1|10M|h",
    [QB_KIND_AUTO_SIZE] = "0|-1|x|1GB|Auto|5%",
    [QB_KIND_AUTO_DURATION] = "0|0.0|-1|x|1h30m|Auto",
    [QB_KIND_PERCENT] = "-1|101|5%|x|100.1|.5",
    [QB_KIND_COUNT_OR_PERCENT] = "-1|101%|1.5%|%|x|5 %|99999999999|-5%|000000005%",
    [QB_KIND_SIZE_OR_PERCENT] = "-1|101%|1.5%|%|x|5GB",
    [QB_KIND_NICE] = "20|-21|x|1.5|--1",
    [QB_KIND_IONICE] = "realtime|best-effort:8|best-effort:|idle:1|4",
    [QB_KIND_SWITCH] = "0|1|o|onn|y|n|enabled| on",
    [QB_KIND_FORMAT] = "gcow2|qcow3|RAW|qcow2 |a/b|a,b|q\xc3\xa4|a\nb",
    [QB_KIND_TEXT] = NULL,
    [QB_KIND_WORD_TEXT] = "none|Off|x",
    [QB_KIND_WORD] = "nothing|Auto|alloc|0|Keep",
    [QB_KIND_WORD_BOOL] = "on|off|0|Fail",
    [QB_KIND_WINDOW] =
        "22-5|22:00|22:00-5:00|22:00-22:00|24:00-05:00|22:60-05:00|22:00-24:00|22:00 - 05:00|x",
    [QB_KIND_DATE] = "2026|yesterday|2026-02-30",
    [QB_KIND_LATER] = "on|luks",
    [QB_KIND_GROUP] = "on|remove|{remove: x}",
    [QB_KIND_MAPPINGS] = "on|a|[{name: a}]|{name: a}",
    [QB_KIND_NAME] = "",
    [QB_KIND_COMMAND] = "lvextend|/bin/true",
    [QB_KIND_NAMES] = "",
};

static void every_key_refuses_what_it_is_not_and_stays_as_it_was(void)
{
    for (size_t i = 0; i < qb_keys_count; i++) {
        char *copy = strdup(bad[qb_keys[i].kind] ? bad[qb_keys[i].kind] : ""), *rest;
        struct qb_request before;

        if (qb_keys[i].section != QB_SECTION_amend) {
            free(copy);
            continue;
        }
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

static void refuses_part(const void *row, const char *word)
{
    union item item = {.bytes = {0}}, before = item;
    struct qb_why why;

    CU_ASSERT_FALSE(qb_part_set(row, &word, 1, false, &batch, &item, &why));
    CU_ASSERT_EQUAL(memcmp(&item, &before, sizeof(item)), 0);
}

static void every_part_refuses_what_it_is_not(void)
{
    size_t n = 0;

    done();
    qb_batch_init(&batch);
    qb_keys_each (key, QB_SECTION_amend)
        qb_parts_each(part, key)
        {
            char *longer = calloc(part->high + 2, 1);

            n++;
            CU_ASSERT_TRUE(part->help && part->good && part->field < key->item_size);
            if (part->kind != QB_KIND_SIZE_POWER) /* other limits */
                each_word(bad[part->kind] ? bad[part->kind] : "", refuses_part, part);
            else
                each_word("0|256|513|3k|4G|+4k|-4k|64KB|x", refuses_part, part);
            refuses_part(part, "");
            if (part->kind == QB_KIND_NAME || part->kind == QB_KIND_NAMES) {
                memset(longer, 'a', part->high + 1);
                refuses_part(part, longer);
            }
            free(longer);
        }
    CU_ASSERT_TRUE(n >= 7);
}

static void takes_setting(const void *row, const char *word)
{
    const struct qb_key_row *key = row;
    struct qb_settings out = {0};
    struct qb_why why;
    bool ok = qb_setting_set(key, word, &out, &why);

    if (!ok)
        fprintf(stderr, "%s does not take its example %s\n", key->name, word);
    CU_ASSERT_TRUE(ok);
}

static void refuses_setting(const void *row, const char *word)
{
    const struct qb_key_row *key = row;
    struct qb_settings out = {0};
    struct qb_why why;
    bool ok = qb_setting_set(key, word, &out, &why);

    if (ok)
        fprintf(stderr, "%s takes \"%s\"\n", key->name, word);
    CU_ASSERT_FALSE(ok);
}

static void every_setting_takes_its_examples_and_no_nonsense(void)
{
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++) {
        if (key->section != QB_SECTION_policy && key->section != QB_SECTION_limits)
            continue;
        each_word(key->good, takes_setting, key);
        CU_ASSERT_PTR_NOT_NULL(bad[key->kind]);
        each_word(bad[key->kind], refuses_setting, key);
        refuses_setting(key, "nonsense");
        refuses_setting(key, "-21");
        refuses_setting(key, "");
    }
}

/* The column of defaults and what is so without the key: setting each default changes nothing. */
static void every_default_of_the_table_is_the_default(void)
{
    struct qb_settings before, out;
    struct qb_why why;

    done();
    qb_batch_init(&batch);
    memset(&before, 0, sizeof(before)); /* with the padding */
    before.policy = batch.policy;
    before.limits = batch.limits;
    qb_request_init(&before.request);
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++) {
        if (!key->standard || key->kind == QB_KIND_COUNT_OR_PERCENT)
            continue; /* 100% is more than any number */
        memcpy(&out, &before, sizeof(out));
        if (key->section == QB_SECTION_amend)
            CU_ASSERT_TRUE(qb_key_set(key, key->standard, &batch, &out.request, &why));
        if (key->section != QB_SECTION_amend)
            CU_ASSERT_TRUE(qb_setting_set(key, key->standard, &out, &why));
        out.policy.min_free.is_set = false;
        out.limits.ionice_level = 0; /* means something with best-effort only */
        if (memcmp(&out, &before, sizeof(out)) != 0)
            fprintf(stderr, "%s is not %s by default\n", key->name, key->standard);
        CU_ASSERT_EQUAL(memcmp(&out, &before, sizeof(out)), 0);
    }
}

/* Each has room among the changes of a report, beside what no key asks for by itself. */
static void what_keys_change_is_shown(void)
{
    struct qb_info before = {.version = 2, .dirty = true, .nb_bitmaps = 1}, after = {.version = 3};
    struct qb_result r = {.status = QB_STATUS_CHANGED, .before = &before, .after = &after};
    struct qb_change changes[QB_CHANGES_MAX];
    size_t shown = 0, n;

    qb_keys_each (key, QB_SECTION_amend) {
        void *member = (char *)&after + key->shown.field;

        shown += key->shown.kind != QB_SHOWN_NOT;
        if (key->shown.kind == QB_SHOWN_BOOL)
            *(bool *)member = true;
        else if (key->shown.kind == QB_SHOWN_NUMBER)
            *(unsigned *)member = 5;
        else if (key->shown.kind == QB_SHOWN_BYTES)
            *(uint64_t *)member = 6;
        else if (key->shown.kind == QB_SHOWN_TEXT)
            *(const char **)member = "seven";
    }
    n = qb_report_changes(&r, changes);
    CU_ASSERT_EQUAL(n, shown + 2);
    CU_ASSERT_STRING_EQUAL(changes[0].key, "compat");
    CU_ASSERT_STRING_EQUAL(changes[0].to.text, "1.1");
    CU_ASSERT_STRING_EQUAL(changes[n - 1].key, "bitmaps");
}

/* Two different values of a key are two in the request, and the getter sees what was set. */
static void what_is_set_is_what_is_got(void)
{
    qb_keys_each (key, QB_SECTION_amend) {
        char *copy = strdup(key->good), *rest, *first = strtok_r(copy, "|", &rest),
             *second = strtok_r(NULL, "|", &rest);
        uint64_t a, b;
        const char *x, *y;

        CU_ASSERT_TRUE(!first || set(key, first));
        qb_key_get(key, &rq, &a, &x);
        CU_ASSERT_TRUE(!second || set(key, second));
        qb_key_get(key, &rq, &b, &y);
        if (key->kind != QB_KIND_COMPAT && second) /* 0.10 and v2; a group takes nothing */
            CU_ASSERT_TRUE(x ? strcmp(x, y) != 0 : a != b);
        free(copy);
    }
}

static void every_row_is_whole(void)
{
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++) {
        char values[QB_KEY_VALUES];

        CU_ASSERT_TRUE(key->help[0] && key->help[strlen(key->help) - 1] != '.');
        CU_ASSERT_TRUE(key->section == QB_SECTION_condition || key->text);
        CU_ASSERT_TRUE(qb_key_values(key, values)[0] && strcmp(values, "(null)") != 0);
        CU_ASSERT_TRUE(key->since || key->kind == QB_KIND_LATER);
    }
}

static void a_text_of_the_greatest_length_is_taken_and_one_longer_is_not(void)
{
    for (size_t i = 0; i < qb_keys_count; i++) {
        size_t most = qb_keys[i].high;
        char *text;

        if (qb_keys[i].kind != QB_KIND_TEXT && qb_keys[i].kind != QB_KIND_NAMES)
            continue;
        text = calloc(most + 2, 1);
        memset(text, 'a', most);
        CU_ASSERT_TRUE(set(&qb_keys[i], text));
        text[most] = 'a';
        CU_ASSERT_FALSE(set(&qb_keys[i], text));
        free(text);
    }
}

static void amend_keys_and_settings_have_different_names(void)
{
    for (size_t i = 0; i < qb_keys_count; i++) {
        if (qb_keys[i].section != QB_SECTION_amend)
            continue;
        CU_ASSERT_PTR_EQUAL(qb_key_find(qb_keys[i].name), &qb_keys[i]);
        CU_ASSERT_PTR_NULL(qb_setting_find(NULL, qb_keys[i].name));
    }
    CU_ASSERT_EQUAL(qb_key_find("encrypt.format")->kind, QB_KIND_LATER);
    CU_ASSERT_PTR_NULL(qb_key_find("encrypt"));
}

/* ---- values ---------------------------------------------------------------------------------- */

static void sizes_are_exact(void)
{
    CU_ASSERT_TRUE(size_is_bad("0"));
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
    CU_ASSERT_EQUAL(rq.size_is, QB_SIZE_ADDED);
    CU_ASSERT_EQUAL(rq.size, UINT64_C(50) << 30);
    CU_ASSERT_EQUAL(parse("size=+1G,size=2G"), 0);
    CU_ASSERT_EQUAL(rq.size_is, QB_SIZE_SET);
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
    CU_ASSERT_FALSE(hints(3, "v2")); /* v3 is as near */
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

static void durations_are_seconds(void)
{
    static const struct {
        const char *text;
        double seconds;
    } good[] = {{"0", 0},           {"60", 60},
                {"0.5", 0.5},       {"90s", 90},
                {"10m", 600},       {"12h", 43200},
                {"30d", 2592000},   {"1.5h", 5400},
                {"366d", 31622400}, {"31622400", 31622400},
                {"0.25m", 15}};
    struct qb_why why;
    double seconds;

    for (size_t i = 0; i < UNIT_COUNT(good); i++) {
        CU_ASSERT_TRUE(qb_scalar_duration(good[i].text, &seconds, &why));
        CU_ASSERT_EQUAL(seconds, good[i].seconds);
    }
}

static void a_duration_that_is_nearly_one_is_shown_right(void)
{
    static const struct {
        const char *text, *hint;
    } near[] = {{"2 hours", "write 2h"},    {"2hrs", "write 2h"},       {"10min", "write 10m"},
                {"10 M", "write 10m"},      {"1.5 days", "write 1.5d"}, {"30sec", "write 30s"},
                {"12H", "write 12h"},       {"500ms", "such as 0.5"},   {"1h30m", "such as 0.5"},
                {"3months", "such as 0.5"}, {"soon", "such as 0.5"}};
    struct qb_why why;
    double seconds = 7;

    for (size_t i = 0; i < UNIT_COUNT(near); i++) {
        CU_ASSERT_FALSE(qb_scalar_duration(near[i].text, &seconds, &why));
        if (!strstr(why.text, near[i].hint))
            fprintf(stderr, "%s: %s\n", near[i].text, why.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, near[i].hint));
        CU_ASSERT_EQUAL(seconds, 7);
    }
}

static void what_is_nearly_right_is_shown_right(void)
{
    CU_ASSERT_EQUAL(parse("backing_fmt=gcow2,compat=1.10,compat=0.1,backing_fmt=rav"), -1);
    CU_ASSERT_EQUAL(qb_diags_count(&diags), 4);
    CU_ASSERT_TRUE(hints(0, "qcow2"));
    CU_ASSERT_TRUE(hints(1, "1.1"));
    CU_ASSERT_TRUE(hints(2, "0.10"));
    CU_ASSERT_TRUE(hints(3, "raw"));
    CU_ASSERT_EQUAL(parse("size=10g,size=10 G,size=10gib"), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(diags.list.items[0].text, "write G, not g"));
    CU_ASSERT_PTR_NOT_NULL(strstr(diags.list.items[1].text, "leave out the blank"));
    CU_ASSERT_PTR_NOT_NULL(strstr(diags.list.items[2].text, "write G, not gib"));
}

static void the_help_names_every_key(void)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    qb_keys_help(f);
    fclose(f);
    qb_keys_each (key, QB_SECTION_amend) {
        CU_ASSERT_PTR_NOT_NULL(strstr(text, key->name));
        CU_ASSERT_TRUE(key->kind == QB_KIND_GROUP || key->parts || strstr(text, key->help));
        qb_parts_each(part, key) CU_ASSERT_PTR_NOT_NULL(strstr(text, part->help));
    }
    free(text);
}

/* Each section's marker in the page becomes an item for each of its keys. */
static void the_manual_page_is_filled_with_every_key(void)
{
    static char page[] = ".Sh A\n.\\\" @amend@\n.\\\" @policy@\n.\\\" @limits@\n.\\\" @rollout@\n"
                         ".\\\" @condition@\n.\\\" @other@\nend\n";
    char *text = NULL, item[80];
    size_t len;
    FILE *in = fmemopen(page, sizeof(page) - 1, "r"), *out = open_memstream(&text, &len);

    qb_manual_fill(in, out);
    fclose(in);
    fclose(out);
    for (size_t i = 0; i < qb_keys_count; i++) {
        snprintf(item, sizeof(item), "\n.It Cm %s :", qb_keys[i].name);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, item));
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(text, ".It Cm size : Ar [+]size\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "needs\n.Cm allow_shrink .\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n.Xr syncfs 2 ,\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n.Sx \"USE BY OTHERS\" .\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n.Cm ( \"\\(aq\\(aq\" )\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "@other@\nend\n"));
    CU_ASSERT_PTR_NULL(strchr(text, '`'));
    free(text);
}

static void the_schema_has_every_key_and_every_name(void)
{
    const char *const *lists[] = {qb_top_names, qb_rule_names, qb_entry_names};
    char *text = NULL, name[80];
    size_t len;
    FILE *f = open_memstream(&text, &len);

    qb_schema_print(f);
    fclose(f);
    for (size_t i = 0; i < qb_keys_count; i++) {
        snprintf(name, sizeof(name), "\"%s\": {\"description\": ", qb_key_last_name(&qb_keys[i]));
        CU_ASSERT_TRUE(strstr(text, name) || qb_keys[i].kind == QB_KIND_LATER);
    }
    for (size_t i = 0; i < UNIT_COUNT(lists); i++)
        for (const char *const *n = lists[i]; *n; n++) {
            snprintf(name, sizeof(name), "\"%s\": {", *n);
            CU_ASSERT_PTR_NOT_NULL(strstr(text, name));
        }
    CU_ASSERT_PTR_NULL(strchr(text, '@'));
    free(text);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(every_key_takes_its_examples),
        UNIT(every_key_refuses_what_it_is_not_and_stays_as_it_was),
        UNIT(every_part_refuses_what_it_is_not),
        UNIT(every_setting_takes_its_examples_and_no_nonsense),
        UNIT(a_text_of_the_greatest_length_is_taken_and_one_longer_is_not),
        UNIT(amend_keys_and_settings_have_different_names),
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
        UNIT(every_default_of_the_table_is_the_default),
        UNIT(what_keys_change_is_shown),
        UNIT(what_is_set_is_what_is_got),
        UNIT(every_row_is_whole),
        UNIT(durations_are_seconds),
        UNIT(a_duration_that_is_nearly_one_is_shown_right),
        UNIT(what_is_nearly_right_is_shown_right),
        UNIT(the_help_names_every_key),
        UNIT(the_manual_page_is_filled_with_every_key),
        UNIT(the_schema_has_every_key_and_every_name),
    };
    int rc = unit_main("options", tests, UNIT_COUNT(tests));

    done();
    return rc;
}
