/* The links by which an image is reached: what is found out when it is opened, and judged later. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "opener/in_use.h"
#include "io/io.h"
#include "files/links.h"
#include "unit.h"

static char folder[] = "/tmp/qb-links-XXXXXX";
static char path[64], other[64], link_path[64];

static void a_path_without_links_is_known_to_have_none(void)
{
    struct qb_file f;

    CU_ASSERT_EQUAL_FATAL(qb_file_open(other, &f, NULL), 0);
    CU_ASSERT_FALSE(f.may_have_links);
    qb_file_close(&f);
}

static void a_link_that_leads_elsewhere_by_now_is_noticed(void)
{
    struct qb_err err = {0};
    struct qb_file f;

    CU_ASSERT_EQUAL(symlink(path, link_path), 0);
    CU_ASSERT_EQUAL_FATAL(qb_file_open(link_path, &f, NULL), 0);
    CU_ASSERT_TRUE(f.may_have_links);
    CU_ASSERT_EQUAL(qb_links_check(&f, QB_ON_LINK_BY_OWNER, &err), 0);
    CU_ASSERT_EQUAL(unlink(link_path) + symlink(other, link_path), 0);
    CU_ASSERT_EQUAL(qb_links_check(&f, QB_ON_LINK_BY_OWNER, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_CHANGED);
    qb_file_close(&f);
}

/* The name led to the file itself when it was opened to be claimed, and is a link to the same file
 * when it is opened for writing: that is the descriptor that counts. */
static void a_link_that_comes_before_the_open_for_writing_is_judged(void)
{
    struct qb_err err = {0};
    struct qb_file f;

    CU_ASSERT_EQUAL(unlink(link_path) + link(path, link_path), 0);
    CU_ASSERT_EQUAL_FATAL(qb_file_open_to_claim(link_path, &f, NULL), 0);
    CU_ASSERT_FALSE(f.may_have_links);
    CU_ASSERT_EQUAL(unlink(link_path) + symlink(path, link_path), 0);
    CU_ASSERT_EQUAL_FATAL(qb_file_reopen_writable(&f, &err), 0);
    CU_ASSERT_EQUAL(qb_file_measure(&f, &err), 0);
    CU_ASSERT_TRUE(f.may_have_links);
    CU_ASSERT_EQUAL(qb_links_check(&f, QB_ON_LINK_FAIL, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_REFUSED);
    qb_file_close(&f);
}

/* ---- somebody who swaps the name between two calls ------------------------------------------- */

enum swapper { IDLE, BEFORE_THE_LOOK, BEFORE_THE_SECOND_OPEN };
static enum swapper swapper;

/* In place of libc's, for the library under test, too. */
int statx(int dir, const char *restrict name, int flags, unsigned mask, struct statx *restrict st)
{
    int (*next)(int, const char *, int, unsigned, struct statx *) = dlsym(RTLD_NEXT, "statx");
    int r = next(dir, name, flags, mask, st);

    if (swapper == BEFORE_THE_LOOK && dir == AT_FDCWD) {
        CU_ASSERT_EQUAL(unlink(link_path) + link(other, link_path), 0);
        swapper = BEFORE_THE_SECOND_OPEN;
    }
    return r;
}

int close(int fd)
{
    int (*next)(int) = dlsym(RTLD_NEXT, "close");

    if (swapper == BEFORE_THE_SECOND_OPEN) {
        CU_ASSERT_EQUAL(unlink(link_path) + symlink(path, link_path), 0);
        swapper = IDLE;
    }
    return next(fd);
}

/* Looked at through a link, opened to be claimed without one, and opened for writing through it. */
static void a_name_that_is_swapped_twice_is_judged_by_what_is_written(void)
{
    const struct qb_claim how = {.writable = true, .on_link = QB_ON_LINK_FAIL};
    struct qb_err err = {0};
    struct qb_io *io = NULL;
    struct qb_file f;

    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, &err), 0);
    CU_ASSERT_EQUAL(unlink(link_path) + symlink(path, link_path), 0);
    swapper = BEFORE_THE_LOOK;
    CU_ASSERT_EQUAL(qb_file_claim(io, link_path, how, &f, &err), -1);
    CU_ASSERT_EQUAL(swapper, IDLE);
    CU_ASSERT_EQUAL(err.code, QB_E_REFUSED);
    qb_io_close(io);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_path_without_links_is_known_to_have_none),
        UNIT(a_link_that_leads_elsewhere_by_now_is_noticed),
        UNIT(a_link_that_comes_before_the_open_for_writing_is_judged),
        UNIT(a_name_that_is_swapped_twice_is_judged_by_what_is_written),
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
