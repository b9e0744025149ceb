/* Two files exchange their names, and one is kept under a third: what is refused, what somebody
 * does meanwhile, and that doing it again finishes it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "files/put_back.h"
#include "scratch.h"

int __real_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);

static const char *intruder; /* takes the place of the image just before the first exchange */
static unsigned calls, fails_at;

/* The linker leads the program's calls here. */
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    if (intruder) {
        CU_ASSERT_EQUAL(renameat(from_dir, intruder, from_dir, "image"), 0);
        intruder = NULL;
    }
    if (++calls == fails_at) {
        errno = EINVAL;
        return -1;
    }
    return __real_renameat2(from_dir, from, to_dir, to, flags);
}

struct scene {
    struct qb_file image, clone;
    struct qb_put_back names;
};

static void begin(struct scene *s)
{
    unlink(in_folder("aside"));
    unlink(in_folder("second"));
    calls = fails_at = 0;
    s->image = open_or_die(make_file("image", "amended", 7), false);
    s->clone = open_or_die(make_file("clone", "as before", 9), false);
    s->names = (struct qb_put_back){.dir = open(scratch_folder(), O_PATH | O_DIRECTORY | O_CLOEXEC),
                                    .name = "image",
                                    .from = "clone",
                                    .aside = "aside",
                                    .there = &s->image,
                                    .back = &s->clone};
}

static void end(struct scene *s)
{
    close(s->names.dir);
    qb_file_close(&s->image);
    qb_file_close(&s->clone);
}

/* "" where no file has this name. */
static const char *text_of(const char *name)
{
    static char text[4][64];
    static unsigned next;
    char *out = text[next++ % 4];
    int fd = open(in_folder(name), O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, sizeof(text[0]) - 1);

    out[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        close(fd);
    return out;
}

static void the_two_files_exchange_their_names(void)
{
    struct qb_err err = {0};
    struct scene s;
    struct stat st;

    begin(&s);
    CU_ASSERT_EQUAL(qb_put_back_check(&s.names, &err), 0);
    CU_ASSERT_EQUAL(qb_put_back(&s.names, &err), 0);
    CU_ASSERT_STRING_EQUAL(text_of("image"), "as before");
    CU_ASSERT_STRING_EQUAL(text_of("clone"), "amended");
    for (unsigned i = 0; i < 2; i++) { /* the second time it is there already */
        CU_ASSERT_EQUAL(qb_put_aside(&s.names, s.image.ino, &st, &err), 0);
        CU_ASSERT_EQUAL(st.st_ino, s.image.ino);
        CU_ASSERT_STRING_EQUAL(text_of("aside"), "amended");
        CU_ASSERT_STRING_EQUAL(text_of("clone"), "");
    }
    end(&s);
}

static void a_file_that_comes_in_between_stays(void)
{
    struct qb_err err = {0};
    struct scene s;

    begin(&s);
    make_file("second", "of another", 10);
    intruder = "second";
    CU_ASSERT_EQUAL(qb_put_back(&s.names, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_CHANGED);
    CU_ASSERT_STRING_EQUAL(text_of("image"), "of another");
    CU_ASSERT_STRING_EQUAL(text_of("clone"), "as before");
    end(&s);
}

static void what_is_refused_changes_no_name(void)
{
    struct qb_err err = {0};
    struct scene s;

    begin(&s);
    CU_ASSERT_EQUAL(link(in_folder("image"), in_folder("second")), 0);
    CU_ASSERT_EQUAL(qb_put_back(&s.names, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_REFUSED);
    unlink(in_folder("second"));
    make_file("aside", "mine", 4);
    CU_ASSERT_EQUAL(qb_put_back(&s.names, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_REFUSED);
    unlink(in_folder("aside"));
    make_file("second", "of another", 10);
    CU_ASSERT_EQUAL(rename(in_folder("second"), in_folder("clone")), 0);
    CU_ASSERT_EQUAL(qb_put_back(&s.names, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_CHANGED);
    CU_ASSERT_EQUAL(calls, 0);
    CU_ASSERT_STRING_EQUAL(text_of("image"), "amended");
    CU_ASSERT_STRING_EQUAL(text_of("clone"), "of another");
    end(&s);

    begin(&s);
    fails_at = 1;
    CU_ASSERT_EQUAL(qb_put_back(&s.names, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_UNSUPPORTED);
    CU_ASSERT_STRING_EQUAL(text_of("image"), "amended");
    end(&s);
}

static void nothing_else_is_moved_or_replaced(void)
{
    struct qb_err err = {0};
    struct scene s;
    struct stat st;

    begin(&s);
    CU_ASSERT_EQUAL(qb_put_aside(&s.names, s.image.ino, &st, &err), 0); /* `clone` is another one */
    CU_ASSERT_EQUAL(st.st_ino, 0);
    CU_ASSERT_STRING_EQUAL(text_of("clone"), "as before");
    CU_ASSERT_EQUAL(qb_put_back(&s.names, &err), 0);
    make_file("aside", "mine", 4);
    CU_ASSERT_EQUAL(qb_put_aside(&s.names, s.image.ino, &st, &err), -1);
    CU_ASSERT_STRING_EQUAL(text_of("aside"), "mine");
    CU_ASSERT_STRING_EQUAL(text_of("clone"), "amended");
    end(&s);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(the_two_files_exchange_their_names),
        UNIT(a_file_that_comes_in_between_stays),
        UNIT(what_is_refused_changes_no_name),
        UNIT(nothing_else_is_moved_or_replaced),
    };

    return scratch_main("put_back", tests, UNIT_COUNT(tests));
}
