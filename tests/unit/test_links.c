/* The links by which an image is reached: what is found out when it is opened, and judged later. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/links.h"
#include "unit.h"

static char folder[] = "/tmp/qb-links-XXXXXX";
static char path[64], other[64], link_path[64];

static void a_path_without_links_is_known_to_have_none(void)
{
    struct qb_file f;

    CU_ASSERT_EQUAL_FATAL(qb_file_open(other, false, &f, NULL), 0);
    CU_ASSERT_FALSE(f.may_have_links);
    qb_file_close(&f);
}

static void a_link_that_leads_elsewhere_by_now_is_noticed(void)
{
    struct qb_err err = {0};
    struct qb_file f;

    CU_ASSERT_EQUAL(symlink(path, link_path), 0);
    CU_ASSERT_EQUAL_FATAL(qb_file_open(link_path, false, &f, NULL), 0);
    CU_ASSERT_TRUE(f.may_have_links);
    CU_ASSERT_EQUAL(qb_links_check(&f, QB_ON_LINK_BY_OWNER, &err), 0);
    CU_ASSERT_EQUAL(unlink(link_path) + symlink(other, link_path), 0);
    CU_ASSERT_EQUAL(qb_links_check(&f, QB_ON_LINK_BY_OWNER, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_CHANGED);
    qb_file_close(&f);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_path_without_links_is_known_to_have_none),
        UNIT(a_link_that_leads_elsewhere_by_now_is_noticed),
    };
    int rc;

    if (!mkdtemp(folder))
        return 2;
    snprintf(path, sizeof(path), "%s/a", folder);
    snprintf(other, sizeof(other), "%s/b", folder);
    snprintf(link_path, sizeof(link_path), "%s/link", folder);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    close(open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    rc = unit_main("links", tests, UNIT_COUNT(tests));
    unlink(path);
    unlink(other);
    unlink(link_path);
    rmdir(folder);
    return rc;
}
