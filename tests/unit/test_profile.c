/* Profiles as functions: which facts of an image each rule takes, and that the command line and the
 * manual have the same rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "job/profile.h"
#include "source.h"
#include "unit.h"

#define GIB (UINT64_C(1) << 30)

/* Nothing is known against this image anywhere. */
static struct qb_info sound(void)
{
    return (struct qb_info){.version = 3,
                            .virtual_size = 16381 * GIB,
                            .cluster_size = 65536,
                            .refcount_bits = 16,
                            .crypt_method = 2,
                            .backing_file = "",
                            .backing_fmt = "",
                            .compression_type = "zlib",
                            .data_file = ""};
}

static void larger(struct qb_suit *s, struct qb_info *i)
{
    (void)s;
    i->virtual_size = 16381 * GIB + 512;
}

static void long_chain(struct qb_suit *s, struct qb_info *i)
{
    (void)i;
    s->chain = 30;
}

static void shorter_chain(struct qb_suit *s, struct qb_info *i)
{
    (void)i;
    s->chain = 29;
}

static void backed(struct qb_suit *s, struct qb_info *i)
{
    (void)s;
    i->has_backing_file = true;
    i->backing_file = "base.qcow2";
    i->backing_fmt = "qcow2";
}

static void backed_by_volume(struct qb_suit *s, struct qb_info *i)
{
    backed(s, i);
    i->backing_file = "0a1b2c3d-0000-4fff-8ABC-0123456789ab";
}

static void backed_by_no_volume(struct qb_suit *s, struct qb_info *i)
{
    backed(s, i);
    i->backing_file = "0a1b2c3d-0000-4fff-8ABC-0123456789ag";
}

static void backed_by_guess(struct qb_suit *s, struct qb_info *i)
{
    backed(s, i);
    i->backing_fmt = "";
}

static void backed_by_json(struct qb_suit *s, struct qb_info *i)
{
    backed_by_guess(s, i);
    i->backing_file = "json:{\"driver\": \"qcow2\", \"file.filename\": \"/base\"}";
}

static void with_data_file(struct qb_suit *s, struct qb_info *i)
{
    (void)s;
    i->external_data_file = true;
    i->data_file = "disk.data";
}

static void with_unnamed_data_file(struct qb_suit *s, struct qb_info *i)
{
    (void)s;
    i->external_data_file = true;
}

static void aes(struct qb_suit *s, struct qb_info *i)
{
    (void)s;
    i->crypt_method = 1;
}

static void version_2(struct qb_suit *s, struct qb_info *i)
{
    (void)s;
    i->version = 2;
    i->crypt_method = 0;
}

static void small_clusters(struct qb_suit *s, struct qb_info *i)
{
    (void)s;
    i->cluster_size = 32768;
}

static void large_clusters(struct qb_suit *s, struct qb_info *i)
{
    (void)s;
    i->cluster_size = 131072;
}

static const struct {
    void (*spoil)(struct qb_suit *s, struct qb_info *i);
    const char *against; /* "profile code " of each rule that is broken, in the table's order */
} cases[] = {
    {larger, "xcp-ng disk_too_large "},
    {small_clusters, "xcp-ng cluster_size "},
    {large_clusters, "xcp-ng cluster_size "},
    {long_chain, "xcp-ng chain_too_long "},
    {shorter_chain, ""},
    {backed, "pve9 backing_file ovirt backing_not_a_volume "},
    {backed_by_volume, "pve9 backing_file "},
    {backed_by_no_volume, "pve9 backing_file ovirt backing_not_a_volume "},
    {backed_by_guess,
     "pve9 backing_file ovirt backing_not_a_volume libvirt backing_format_missing "},
    {backed_by_json, "pve9 backing_file ovirt backing_not_a_volume "},
    {with_data_file, "pve9 data_file "},
    {with_unnamed_data_file, ""},
    {aes, "pve9 encrypted_aes ovirt encrypted_aes libvirt encrypted_aes rhel9 encrypted_aes "},
    {version_2, "rhel9 version_2 "},
};

static void each_rule_takes_what_its_source_says_and_no_more(void)
{
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct qb_info info = sound();
        struct qb_suit suit = {.info = &info, .chain = 1};
        char against[400] = "";

        cases[c].spoil(&suit, &info);
        for (enum qb_profile p = 0; p < QB_PROFILE_COUNT; p++) {
            struct qb_suits suits = qb_profile_test(p, &suit);

            CU_ASSERT_EQUAL(suits.undecided, 0);
            for (size_t i = 0; i < QB_SUIT_RULES; i++)
                if (suits.broken >> i & 1)
                    snprintf(against + strlen(against), sizeof(against) - strlen(against), "%s %s ",
                             qb_profiles[p].name, qb_suit_rules[i].code);
        }
        CU_ASSERT_STRING_EQUAL(against, cases[c].against);
    }
}

static void a_chain_that_is_not_known_decides_nothing(void)
{
    struct qb_info info = sound();
    struct qb_suit suit = {.info = &info};
    struct qb_suits suits = qb_profile_test(QB_PROFILE_XCP_NG, &suit);

    CU_ASSERT_EQUAL(suits.broken, 0);
    CU_ASSERT_EQUAL(suits.undecided, 1u << QB_SUIT_XCP_NG_chain_too_long);
    CU_ASSERT(qb_profile_needs_chain(QB_PROFILE_XCP_NG));
    CU_ASSERT(!qb_profile_needs_chain(QB_PROFILE_LIBVIRT));
    CU_ASSERT_EQUAL(qb_profile_test(QB_PROFILE_LIBVIRT, &suit).undecided, 0);
}

static void each_profile_has_rules_and_each_rule_a_source(void)
{
    for (enum qb_profile p = 0; p < QB_PROFILE_COUNT; p++) {
        size_t n = 0;

        for (size_t i = 0; i < QB_SUIT_RULES; i++)
            n += qb_suit_rules[i].profile == p;
        CU_ASSERT(n > 0);
    }
    for (size_t i = 0; i < QB_SUIT_RULES; i++) {
        CU_ASSERT_EQUAL(strncmp(qb_suit_rules[i].source, "https://", 8), 0);
        CU_ASSERT_NOT_EQUAL(qb_suit_rules[i].source[strlen(qb_suit_rules[i].source) - 1], '.');
        for (size_t j = 0; j < i; j++)
            CU_ASSERT(qb_suit_rules[i].profile != qb_suit_rules[j].profile ||
                      !qb_suit_rules[i].mend || !qb_suit_rules[j].mend ||
                      strcmp(qb_suit_rules[i].mend, qb_suit_rules[j].mend) != 0);
    }
}

static void the_words_of_the_option_are_the_profiles(void)
{
    const char *const *words = qb_options[QB_OPTION_PROFILE].takes.words;

    for (enum qb_profile p = 0; p < QB_PROFILE_COUNT; p++) {
        CU_ASSERT_PTR_NOT_NULL_FATAL(words[p]);
        CU_ASSERT_STRING_EQUAL(words[p], qb_profiles[p].name);
    }
    CU_ASSERT_PTR_NULL(words[QB_PROFILE_COUNT]);
}

/* With blanks for line breaks, which the manual has elsewhere. */
static void flatten(char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            *text = ' ';
}

static void the_manual_has_every_rule(void)
{
    char *page = source_text("batch/man/qbatch.1");

    CU_ASSERT_PTR_NOT_NULL_FATAL(page);
    flatten(page);
    for (size_t i = 0; i < QB_SUIT_RULES; i++) {
        const struct qb_suit_rule *rule = &qb_suit_rules[i];
        const char *found = strstr(page, qb_profiles[rule->profile].read);

        CU_ASSERT_PTR_NOT_NULL_FATAL(found);
        CU_ASSERT_PTR_NOT_NULL(strstr(found, rule->code));
        CU_ASSERT_PTR_NOT_NULL(strstr(found, rule->why + 1)); /* which begins with a capital */
        CU_ASSERT_PTR_NOT_NULL(strstr(found, rule->source));
    }
    free(page);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_rule_takes_what_its_source_says_and_no_more),
        UNIT(a_chain_that_is_not_known_decides_nothing),
        UNIT(each_profile_has_rules_and_each_rule_a_source),
        UNIT(the_words_of_the_option_are_the_profiles),
        UNIT(the_manual_has_every_rule),
    };

    return unit_main("profile", tests, UNIT_COUNT(tests));
}
