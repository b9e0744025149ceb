/* The process that opens files: many of them at a time. */
#include <pthread.h>
#include <string.h>
#include <sys/file.h>

#include "opening.h"
#include "opener/look.h"

static void several_images_are_claimed_at_once(void)
{
    struct qb_to_claim images[] = {{.number = 7, .path = image_path},
                                   {.number = 9, .path = other_path},
                                   {.number = 8, .path = read_path},
                                   {.number = SIZE_MAX, .path = other_path}};
    int fd = open(image_path, O_RDONLY | O_CLOEXEC);
    struct opening o;
    struct qb_file f;

    begin(&o);
    qb_opener_claim(o.io, QB_OPENING_CLAIM, images, 4);
    CU_ASSERT_TRUE_FATAL(images[0].file.fd >= 0 && images[2].file.fd >= 0);
    CU_ASSERT_TRUE(images[1].file.fd < 0 && images[3].file.fd < 0);
    CU_ASSERT_TRUE(qb_file_still_there(&images[0].file) && qb_file_still_there(&images[2].file));
    CU_ASSERT_TRUE(images[0].file.writable);
    CU_ASSERT_EQUAL(images[0].file.size, 5);
    CU_ASSERT_STRING_EQUAL(images[2].file.path, read_path);
    CU_ASSERT_EQUAL(flock(fd, LOCK_EX | LOCK_NB), -1);
    CU_ASSERT_FALSE(images[0].file.has_direct);
    qb_opener_direct(o.io, &images[0].file);
    if (images[0].file.has_direct) /* not on every file system */
        CU_ASSERT_EQUAL(fcntl(images[0].file.direct, F_GETFL) & O_ACCMODE, O_RDWR);
    images[2].file.ino++;
    qb_opener_direct(o.io, &images[2].file);
    CU_ASSERT_FALSE(images[2].file.has_direct);
    CU_ASSERT_EQUAL(qb_file_claim(o.io, image_path, (struct qb_claim){0}, &f, NULL), -1);
    for (size_t i = 0; i < 4; i++)
        qb_file_close(&images[i].file);
    close(fd);
    end(&o);
}

static void claims_that_are_none_get_empty_answers(void)
{
    struct qb_to_claim images[] = {{.number = 7, .path = image_path}};
    struct qb_parcel p;
    struct opening o;

    begin(&o);
    for (uint32_t n = QB_PARCEL_FILES - 1; n != 0; n *= 2) {
        struct qb_wire_claims c = {.what = QB_OPENING_CLAIM, .n = n};

        memset(c.numbers, 0xff, sizeof(c.numbers));
        for (size_t short_by = 0; short_by < 2; short_by++) {
            memcpy(p.bytes, &c, sizeof(c));
            p.len = sizeof(c) - short_by;
            CU_ASSERT_EQUAL(qb_helper_ask(&o.helper, o.opener.claims, NULL, &p), 0);
            CU_ASSERT_EQUAL(p.n_fds, 0);
            CU_ASSERT_EQUAL(
                p.len, n <= QB_PARCEL_FILES && !short_by ? n * sizeof(struct qb_wire_file) : 0);
        }
    }
    for (uint32_t what = 0; what <= QB_OPENINGS; what++) {
        struct qb_wire_claims c = {.what = what, .n = 1, .numbers = {7}};
        bool is_known = what == QB_OPENING_CLAIM || what == QB_OPENING_IMAGE;

        memcpy(p.bytes, &c, p.len = sizeof(c));
        CU_ASSERT_EQUAL(qb_helper_ask(&o.helper, o.opener.claims, NULL, &p), 0);
        CU_ASSERT_EQUAL(p.n_fds, is_known);
        qb_parcel_drop(&p);
    }
    qb_opener_claim(o.io, QB_OPENING_CLAIM, images, 1);
    CU_ASSERT_TRUE(images[0].file.fd >= 0);
    qb_file_close(&images[0].file);
    end(&o);
}

static void many_are_opened_to_be_read_and_not_locked(void)
{
    struct qb_to_claim images[] = {{.number = 7, .path = image_path},
                                   {.number = 9, .path = other_path},
                                   {.number = 8, .path = read_path}};
    int fd = open(image_path, O_RDONLY | O_CLOEXEC);
    struct qb_file file;
    struct opening o;

    begin(&o);
    CU_ASSERT_EQUAL(flock(fd, LOCK_EX | LOCK_NB), 0);
    qb_opener_claim(o.io, QB_OPENING_IMAGE, images, 3);
    CU_ASSERT_TRUE_FATAL(images[0].file.fd >= 0 && images[2].file.fd >= 0);
    CU_ASSERT_TRUE(images[1].file.fd < 0);
    CU_ASSERT_EQUAL(fcntl(images[0].file.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    CU_ASSERT_FALSE(images[0].file.writable);
    CU_ASSERT_EQUAL_FATAL(qb_image_file_begin(o.io, image_path, &images[0].file, true, &file, NULL),
                          0);
    CU_ASSERT_EQUAL(images[0].file.fd, -1);
    CU_ASSERT_EQUAL(file.size, 5);
    qb_file_close(&file);
    images[2].file.ino++;
    CU_ASSERT_EQUAL(qb_image_file_begin(o.io, read_path, &images[2].file, true, &file, NULL), -1);
    qb_file_close(&file);
    close(fd);
    end(&o);
}

static void what_may_be_read_is_not_claimed(void)
{
    struct qb_err err = {0};
    struct opening o;
    struct qb_file f;

    begin(&o);
    CU_ASSERT_EQUAL_FATAL(qb_image_file_open(o.io, read_path, &f, NULL), 0);
    CU_ASSERT_EQUAL(fcntl(f.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    qb_opener_direct(o.io, &f);
    CU_ASSERT_FALSE(f.has_direct);
    qb_file_close(&f);
    CU_ASSERT_EQUAL(qb_file_claim(o.io, read_path, (struct qb_claim){0}, &f, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    end(&o);
}

struct asking {
    struct opening *o;
    unsigned failed;
};

static void *ask_often(void *arg)
{
    struct asking *a = arg;

    for (unsigned i = 0; i < 200; i++) {
        struct qb_file f;

        if (qb_named_open(a->o->io, me(), me(), other_path, &f, NULL) < 0)
            a->failed++;
        else
            qb_file_close(&f);
    }
    return NULL;
}

/* More than it has channels. */
static void many_threads_ask_at_a_time(void)
{
    struct asking asking[3];
    pthread_t threads[3];
    struct opening o;

    begin(&o);
    for (size_t i = 0; i < 3; i++) {
        asking[i] = (struct asking){.o = &o};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, ask_often, &asking[i]), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(asking[i].failed, 0);
    }
    end(&o);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(several_images_are_claimed_at_once),
        UNIT(claims_that_are_none_get_empty_answers),
        UNIT(many_are_opened_to_be_read_and_not_locked),
        UNIT(what_may_be_read_is_not_claimed),
        UNIT(many_threads_ask_at_a_time),
    };

    return opening_main("opener_many", tests, UNIT_COUNT(tests));
}
