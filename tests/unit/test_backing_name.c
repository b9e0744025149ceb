/* Which local file a backing name stands for, if any. */
#include <stdlib.h>
#include <string.h>

#include "chain/backing_name.h"
#include "unit.h"

/* The path that the name leads to, and the format; "remote" for one that is not local. */
static const char *found(const char *name, const char *fmt)
{
    static char text[2048];
    struct qb_err err;
    const char *as;
    char *path;

    if (qb_backing_locate("/vm/a.qcow2", name, fmt, &path, &as, &err) < 0)
        return err.code == QB_E_UNSUPPORTED ? "remote" : "failed";
    snprintf(text, sizeof(text), "%s %s", path, as);
    free(path);
    return text;
}

static void each_kind_of_name_leads_where_qemu_goes(void)
{
    static const struct {
        const char *name, *fmt, *found;
    } cases[] = {
        {"b.raw", "raw", "/vm/b.raw raw"},
        {"../b", "", "/vm/../b "},
        {"/srv/b", "qcow2", "/srv/b qcow2"},
        {"./nbd:b", "", "/vm/./nbd:b "},
        {"file:/srv/b", "raw", "/srv/b raw"},
        {"file:///srv/b", "raw", "///srv/b raw"},
        {"file:b", "raw", "remote"},
        {"nbd:host:10809", "raw", "remote"},
        {"nbd://host/e", "raw", "remote"},
        {"rbd:pool/b", "raw", "remote"},
        {"json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"/b\"}}", "",
         "/b qcow2"},
        {"json:{\"driver\":\"qcow2\",\"file.driver\":\"file\",\"file.filename\":\"/b\"}", "",
         "/b qcow2"},
        {"json:{\"driver\":\"qcow2\",\"file.filename\":\"/b\"}", "raw", "/b raw"},
        {"json:{\"driver\":\"raw\",\"file.filename\":\"/b\"}", "", "/b raw"},
        {"json: { \"file\" : { \"filename\" : \"/b\" } } ", "", "/b "},
        {"json: { 'file' : { 'filename' : '/b' } } ", "", "remote"},
        {"json:{\"file.filename\":\"/b\",\"file.filename\":\"/c\"}", "", "remote"},
        {"json:{\"file.filename\":\"/b\",\"read-only\":true,\"file\":{\"locking\":\"off\"}}", "",
         "/b "},
        {"json:{\"file.filename\":\"/\\u00e4\\\"\\\\b\"}", "", "/\u00e4\"\\b "},
        {"json:{\"file.filename\":\"/nbd:b\"}", "", "/nbd:b "},
        {"json:{\"driver\":\"vmdk\",\"file.filename\":\"/b\"}", "qcow2", "/b qcow2"},
        {"json:{\"driver\":\"vmdk\",\"file.filename\":\"/b\"}", "", "remote"},
        {"json:{\"file.filename\":\"b\"}", "", "remote"},
        {"json:{\"file.filename\":\"\"}", "", "remote"},
        {"json:{\"driver\":\"file\",\"filename\":\"/b\"}", "raw", "remote"},
        {"json:{\"file\":\"node\"}", "qcow2", "remote"},
        {"json:{\"file.driver\":\"nbd\",\"file.filename\":\"/b\"}", "", "remote"},
        {"json:{\"driver\":\"raw\",\"offset\":512,\"file.filename\":\"/b\"}", "", "remote"},
        {"json:{\"backing\":null,\"file.filename\":\"/b\"}", "", "remote"},
        {"json:{\"file.filename\":\"/b\",\"file\":{\"filename\":\"/c\"}}", "", "remote"},
        {"json:{\"file.filename\":[\"/b\"]}", "", "remote"},
        {"json:{\"file.filename\":\"/b\"}x", "", "remote"},
        {"json:{\"file.filename\":\"/b\"", "", "remote"},
        {"json:{\"file.filename\":\"/\\ud800\"}", "", "remote"},
        {"json:{\"file.filename\":\"/\\u0000b\"}", "", "remote"},
        {"json:{}", "qcow2", "remote"},
        {"json:", "qcow2", "remote"},
        {"json:{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}", "",
         "remote"},
    };

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        const char *was = found(cases[i].name, cases[i].fmt);

        CU_ASSERT_STRING_EQUAL(was, cases[i].found);
        if (strcmp(was, cases[i].found) != 0)
            fprintf(stderr, "%s: %s\n", cases[i].name, was);
    }
}

static void a_truncated_or_long_name_is_not_read_past_its_end(void)
{
    static const char name[] =
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"/b\\u0061\"}}";
    char *cut, *deep = calloc(1, 1024);

    for (size_t n = 0; n < sizeof(name) - 1; n++) {
        cut = strndup(name, n);
        if (n >= 5)
            CU_ASSERT_STRING_EQUAL(found(cut, ""), "remote");
        free(cut);
    }
    memcpy(deep, "json:", 5);
    for (size_t n = 5; n + 5 < 1024; n += 5)
        memcpy(deep + n, "{'a':", 5);
    CU_ASSERT_STRING_EQUAL(found(deep, ""), "remote");
    memset(deep + 5, 'x', 1018);
    memcpy(deep + 5, "{'", 2);
    CU_ASSERT_STRING_EQUAL(found(deep, ""), "remote");
    free(deep);
}

static void a_name_may_lead_to_what_it_has_inside(void)
{
    CU_ASSERT_TRUE(qb_backing_may_name("nbd:host/base", "base"));
    CU_ASSERT_FALSE(qb_backing_may_name("nbd:host/other", "base"));
    CU_ASSERT_TRUE(qb_backing_may_name("json:{\"x\":\"\\u0062ase\"}", "base"));
    CU_ASSERT_FALSE(qb_backing_may_name("json:{\"x\":\"\\u0062asis\"}", "base"));
    CU_ASSERT_TRUE(qb_backing_may_name("json:[1,{\"x\":[\"\\u0062ase\"]}]", "base"));
    CU_ASSERT_TRUE(qb_backing_may_name("json:{'x':'\\u0062as\\u0065'}", "base"));
    CU_ASSERT_TRUE(qb_backing_may_name("json:{'x':'\\base", "base"));
    CU_ASSERT_TRUE(qb_backing_may_name("json:\\\\\\u00E4\\/\\ud83d\\ude00", "\\\u00e4/\U0001f600"));
    CU_ASSERT_TRUE(qb_backing_may_name("json:\\t\\n\u00e4\\\"", "\t\n\u00e4\""));
    CU_ASSERT_TRUE(qb_backing_may_name("json:\\ud83d\\u0062ase", "base"));
}

/* A name that nobody can take apart would keep all images of a run from what they are to become. */
static void nor_does_one_that_is_no_json_lead_anywhere_else(void)
{
    static const char *const names[] = {"json:",
                                        "json:{",
                                        "json:{what",
                                        "json:\\",
                                        "json:\\u",
                                        "json:\\u00",
                                        "json:\\ud83d\\u",
                                        "json:\\ud83d\\ude",
                                        "json:{'x':'\\u0062asis'}"};

    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        CU_ASSERT_FALSE(qb_backing_may_name(names[i], "base"));
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_kind_of_name_leads_where_qemu_goes),
        UNIT(a_truncated_or_long_name_is_not_read_past_its_end),
        UNIT(a_name_may_lead_to_what_it_has_inside),
        UNIT(nor_does_one_that_is_no_json_lead_anywhere_else),
    };

    return unit_main("backing_name", tests, UNIT_COUNT(tests));
}
