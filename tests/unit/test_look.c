/* What a helper tells of paths to a process that sees none. */
#include <errno.h>
#include <sys/stat.h>

#include "opener/look_wire.h"
#include "opening.h"

static struct opening looked;

static const struct qb_opener *blind(void)
{
    looked.opener.blind = true;
    return &looked.opener;
}

static void it_tells_of_an_image_what_stat_does(void)
{
    struct stat st, told;

    begin(&looked);
    CU_ASSERT_EQUAL_FATAL(stat(image_path, &st), 0);
    CU_ASSERT_EQUAL_FATAL(qb_look(blind(), image_path, &told), 0);
    CU_ASSERT_EQUAL(told.st_dev, st.st_dev);
    CU_ASSERT_EQUAL(told.st_ino, st.st_ino);
    CU_ASSERT_EQUAL(told.st_mode, st.st_mode);
    CU_ASSERT_EQUAL(told.st_uid, st.st_uid);
    CU_ASSERT_EQUAL(told.st_nlink, st.st_nlink);
    CU_ASSERT_EQUAL(told.st_size, 5);
    CU_ASSERT_EQUAL(told.st_mtim.tv_sec, st.st_mtim.tv_sec);
    CU_ASSERT_EQUAL(qb_look(blind(), read_path, &told), 0);
    CU_ASSERT_NOT_EQUAL(told.st_mtim.tv_sec, 0);
    end(&looked);
}

static int errno_of_look(const char *path)
{
    struct stat told;

    return qb_look(blind(), path, &told) == 0 ? 0 : errno;
}

/* The folder is its maker's alone, with mode 0700: whoever owns the images could not look into it.
 */
static void what_no_owner_could_look_at_is_not_told(void)
{
    char none[80], link_path[80], root_link[80];

    snprintf(none, sizeof(none), "%s/none", folder);
    snprintf(link_path, sizeof(link_path), "%s/l", folder);
    snprintf(root_link, sizeof(root_link), "/tmp/qb-look-%ld", (long)getpid());
    CU_ASSERT_EQUAL_FATAL(symlink(image_path, link_path), 0);
    CU_ASSERT_EQUAL_FATAL(symlink(other_path, root_link), 0);
    begin_for(&looked, STRANGER, NULL);
    CU_ASSERT_EQUAL(errno_of_look(other_path), EACCES);
    CU_ASSERT_EQUAL(errno_of_look(root_link), EACCES);
    CU_ASSERT_EQUAL(errno_of_look(none), EACCES); /* nor that there is none */
    CU_ASSERT_EQUAL(errno_of_look(folder), 0);
    CU_ASSERT_EQUAL(errno_of_look("/tmp/nonexistent"), ENOENT);
    CU_ASSERT_EQUAL(errno_of_look(image_path), 0);
    CU_ASSERT_EQUAL(errno_of_look(link_path), 0); /* leads to an image */
    CU_ASSERT_EQUAL_FATAL(chmod(folder, 0711), 0);
    CU_ASSERT_EQUAL(errno_of_look(other_path), 0);
    CU_ASSERT_EQUAL(errno_of_look(root_link), 0);
    CU_ASSERT_EQUAL(errno_of_look(none), ENOENT);
    CU_ASSERT_EQUAL_FATAL(chmod(folder, 0700), 0);
    end(&looked);
    begin_for(&looked, geteuid(), NULL);
    CU_ASSERT_EQUAL(errno_of_look(other_path), 0);
    CU_ASSERT_EQUAL(errno_of_look(none), ENOENT);
    end(&looked);
    unlink(link_path);
    unlink(root_link);
}

static void nor_what_is_outside_the_roots(void)
{
    const char *root = folder;
    struct qb_named_rules rules = {.anybody = true, .roots = &root, .n_roots = 1};
    struct qb_owners *owners;
    char none[80], outside[80];
    struct qb_err err;

    snprintf(none, sizeof(none), "%s/none", folder);
    snprintf(outside, sizeof(outside), "%s/../nonexistent", folder);
    for (unsigned i = 0; i < 2; i++, rules.n_roots = 0) {
        owners = qb_owners_new(&rules, &err);
        CU_ASSERT_PTR_NOT_NULL_FATAL(owners);
        begin_for(&looked, STRANGER, owners);
        CU_ASSERT_EQUAL(errno_of_look(other_path), 0);
        CU_ASSERT_EQUAL(errno_of_look(none), ENOENT);
        CU_ASSERT_EQUAL(errno_of_look("/etc/passwd"), rules.n_roots ? EACCES : 0);
        CU_ASSERT_EQUAL(errno_of_look(outside), rules.n_roots ? EACCES : ENOENT);
        CU_ASSERT_EQUAL(errno_of_look("/etc"), 0); /* a folder, which nobody opens */
        end(&looked);
        qb_owners_free(owners);
    }
}

static void of_another_name_it_tells_no_times_and_no_links(void)
{
    struct stat told;
    char link_path[80], *real;

    begin(&looked);
    snprintf(link_path, sizeof(link_path), "%s/l", folder);
    CU_ASSERT_EQUAL_FATAL(symlink(image_path, link_path), 0);
    CU_ASSERT_EQUAL(qb_look(blind(), other_path, &told), 0);
    CU_ASSERT_NOT_EQUAL(told.st_ino, 0);
    CU_ASSERT_NOT_EQUAL(told.st_ctim.tv_sec, 0);
    CU_ASSERT_EQUAL(told.st_size, 0);
    CU_ASSERT_EQUAL(told.st_mode, S_IFREG);
    CU_ASSERT_EQUAL(told.st_mtim.tv_sec, 0);
    CU_ASSERT_EQUAL(told.st_blocks, 0);
    CU_ASSERT_TRUE(qb_look_is_link(NULL, link_path));
    CU_ASSERT_FALSE(qb_look_is_link(blind(), link_path));
    CU_ASSERT_PTR_NULL(qb_look_real(blind(), other_path));
    CU_ASSERT_EQUAL(errno, EPERM);
    CU_ASSERT_PTR_NULL(qb_look_real_folder(blind(), "/etc/passwd"));
    real = qb_look_real_folder(blind(), image_path);
    CU_ASSERT_STRING_EQUAL(real ? real : "", folder);
    free(real);
    CU_ASSERT_EQUAL(qb_look(blind(), "/nonexistent", &told), -1);
    CU_ASSERT_EQUAL(errno, ENOENT);
    unlink(link_path);
    end(&looked);
}

/* Number 7 is the image, 8 what may be read, and 9 none; see opening.h. */
static void what_was_looked_at_ahead_holds_once(void)
{
    const size_t numbers[] = {7, 9};
    struct qb_file f, none = {.fd = -1, .path = read_path}, *files[] = {&f, &none};
    char away[80];

    begin(&looked);
    blind();
    CU_ASSERT_EQUAL_FATAL(qb_file_claim(looked.io, image_path, (struct qb_claim){0}, &f, NULL), 0);
    CU_ASSERT_EQUAL(f.uid, me().uid);
    CU_ASSERT_PTR_EQUAL(f.opener, &looked.opener);
    none.opener = f.opener;
    qb_look_ahead(files, numbers, 2);
    CU_ASSERT_TRUE(f.ahead.at > 0);
    CU_ASSERT_EQUAL(f.ahead.ino, f.ino);
    CU_ASSERT_EQUAL(none.ahead.errnum, EPERM);
    CU_ASSERT_FALSE(qb_file_still_there(&none));
    snprintf(away, sizeof(away), "%s/away", folder);
    CU_ASSERT_EQUAL(rename(image_path, away), 0);
    put(image_path);
    f.ahead.at += 1000; /* not old yet */
    CU_ASSERT_TRUE(qb_file_still_there(&f));
    CU_ASSERT_FALSE(qb_file_still_there(&f));
    qb_look_ahead(files, numbers, 1);
    CU_ASSERT_FALSE(qb_file_still_there(&f));
    CU_ASSERT_EQUAL(rename(away, image_path), 0);
    qb_look_ahead(files, numbers, 1);
    CU_ASSERT_TRUE(qb_file_still_there(&f));
    f.ahead = (struct qb_seen_ahead){.at = 1, .errnum = ENOENT}; /* too old to be believed */
    CU_ASSERT_TRUE(qb_file_still_there(&f));
    qb_file_close(&f);
    end(&looked);
}

static void requests_that_are_none_get_empty_answers(void)
{
    static struct qb_parcel p;
    struct qb_wire_look *r = (struct qb_wire_look *)p.bytes;
    struct qb_wire_ahead *a = (struct qb_wire_ahead *)p.bytes;

    begin(&looked);
    p.len = 3;
    CU_ASSERT_EQUAL(qb_helper_ask(&looked.helper, looked.opener.look, NULL, &p), 0);
    CU_ASSERT_EQUAL(p.len, 0);
    memset(r, 'x', sizeof(*r)); /* a path without an end */
    p.len = sizeof(*r);
    CU_ASSERT_EQUAL(qb_helper_ask(&looked.helper, looked.opener.look, NULL, &p), 0);
    CU_ASSERT_EQUAL(p.len, 0);
    *a = (struct qb_wire_ahead){.n = QB_PARCEL_FILES + 1};
    p.len = sizeof(*a);
    CU_ASSERT_EQUAL(qb_helper_ask(&looked.helper, looked.opener.ahead, NULL, &p), 0);
    CU_ASSERT_EQUAL(p.len, 0);
    end(&looked);
}

static void a_helper_that_is_gone_shows_nothing(void)
{
    struct stat st;
    struct qb_file f;

    begin(&looked);
    blind();
    CU_ASSERT_EQUAL_FATAL(qb_file_claim(looked.io, image_path, (struct qb_claim){0}, &f, NULL), 0);
    kill(looked.helper.pid, SIGKILL);
    CU_ASSERT_EQUAL(qb_look(&looked.opener, image_path, &st), -1);
    CU_ASSERT_EQUAL(errno, ECHILD);
    CU_ASSERT_FALSE(qb_file_still_there(&f));
    qb_file_close(&f);
    end(&looked);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(it_tells_of_an_image_what_stat_does),
        UNIT(what_no_owner_could_look_at_is_not_told),
        UNIT(nor_what_is_outside_the_roots),
        UNIT(of_another_name_it_tells_no_times_and_no_links),
        UNIT(what_was_looked_at_ahead_holds_once),
        UNIT(requests_that_are_none_get_empty_answers),
        UNIT(a_helper_that_is_gone_shows_nothing),
    };

    return opening_main("look", tests, UNIT_COUNT(tests));
}
