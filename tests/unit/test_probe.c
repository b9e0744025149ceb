/* Which bytes at a file's beginning are those of an image, as QEMU takes them. */
#include <string.h>

#include "chain/probe.h"
#include "unit.h"

static const char *probe(const char *text)
{
    uint8_t head[QB_SECTOR] = {0};

    memcpy(head, text, strlen(text));
    return qb_probe_magic(head);
}

static void a_text_is_vmdks_if_it_begins_with_a_version(void)
{
    CU_ASSERT_STRING_EQUAL(probe("version=1\n"), "vmdk");
    CU_ASSERT_STRING_EQUAL(probe("version=3\r\nCID=1\n"), "vmdk");
    CU_ASSERT_STRING_EQUAL(probe("# anything\n#\n  \r\n \nversion=2\n"), "vmdk");
    CU_ASSERT_STRING_EQUAL(probe("version=4\n"), "raw");
    CU_ASSERT_STRING_EQUAL(probe("version=0\n"), "raw");
    CU_ASSERT_STRING_EQUAL(probe("version=1"), "raw");
    CU_ASSERT_STRING_EQUAL(probe(" version=1\n"), "raw");
    CU_ASSERT_STRING_EQUAL(probe("\nversion=1\n"), "raw");
    CU_ASSERT_STRING_EQUAL(probe("# anything"), "raw");
    CU_ASSERT_STRING_EQUAL(probe(""), "raw");
}

static void a_text_may_fill_the_sector(void)
{
    uint8_t head[QB_SECTOR];

    memset(head, '#', sizeof(head));
    CU_ASSERT_STRING_EQUAL(qb_probe_magic(head), "raw");
    memset(head, ' ', sizeof(head));
    CU_ASSERT_STRING_EQUAL(qb_probe_magic(head), "raw");
    memset(head, '#', sizeof(head));
    memcpy(head + sizeof(head) - 11, "\nversion=1\n", 11);
    CU_ASSERT_STRING_EQUAL(qb_probe_magic(head), "vmdk");
    memcpy(head + sizeof(head) - 10, "\nversion=1", 10);
    CU_ASSERT_STRING_EQUAL(qb_probe_magic(head), "raw");
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_text_is_vmdks_if_it_begins_with_a_version),
        UNIT(a_text_may_fill_the_sector),
    };

    return unit_main("probe", tests, UNIT_COUNT(tests));
}
