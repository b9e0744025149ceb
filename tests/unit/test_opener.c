/* The process that opens files for a confined one: what it is given, and what it refuses. */
#include <signal.h>
#include <string.h>
#include <sys/file.h>

#include "opening.h"
#include "chain/chain.h"

static void it_opens_what_an_image_names_and_the_image_itself(void)
{
    struct qb_file f, g;
    struct opening o;

    begin(&o);
    CU_ASSERT_EQUAL_FATAL(qb_named_open(o.io, me(), me(), other_path, &f, NULL), 0);
    CU_ASSERT_EQUAL(f.size, 5);
    CU_ASSERT_EQUAL(fcntl(f.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    CU_ASSERT_TRUE(qb_named_is(o.io, me(), other_path, &f));
    CU_ASSERT_EQUAL_FATAL(qb_file_claim(o.io, image_path, (struct qb_claim){0}, &g, NULL), 0);
    CU_ASSERT_TRUE(g.writable);
    CU_ASSERT_EQUAL(fcntl(g.fd, F_GETFL) & O_ACCMODE, O_RDWR);
    CU_ASSERT_FALSE(qb_named_is(o.io, me(), other_path, &g));
    qb_file_close(&f);
    qb_file_close(&g);
    end(&o);
}

/* Its locks are those of the file that was given: the helper keeps none, at the latest when it is
 * asked again. */
static void a_claim_ends_when_the_file_is_closed(void)
{
    struct qb_parcel p = {.len = 0};
    struct opening o;
    struct qb_file f;
    int fd = open(image_path, O_RDONLY | O_CLOEXEC);

    begin(&o);
    CU_ASSERT_EQUAL_FATAL(qb_file_claim(o.io, image_path, (struct qb_claim){0}, &f, NULL), 0);
    CU_ASSERT_EQUAL(flock(fd, LOCK_EX | LOCK_NB), -1);
    qb_file_close(&f);
    CU_ASSERT_EQUAL(qb_helper_ask(&o.helper, 1, NULL, &p), 0);
    CU_ASSERT_EQUAL(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
    end(&o);
}

static void it_refuses_owners_it_does_not_know_and_paths_of_no_image(void)
{
    struct qb_naming stranger = {STRANGER, STRANGER, NULL};
    struct qb_file image = {.fd = -1, .uid = STRANGER, .gid = STRANGER}, f;
    struct qb_err err = {0};
    struct opening o;

    begin(&o);
    CU_ASSERT_EQUAL(qb_named_open(o.io, stranger, me(), other_path, &f, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    CU_ASSERT_EQUAL(qb_named_open(o.io, me(), stranger, other_path, &f, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    err.code = QB_E_NONE;
    CU_ASSERT_EQUAL(qb_named_claim(o.io, &image, other_path, (struct qb_claim){0}, &f, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    err.code = QB_E_NONE;
    CU_ASSERT_EQUAL(qb_file_claim(o.io, other_path, (struct qb_claim){0}, &f, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    err.code = QB_E_NONE;
    CU_ASSERT_EQUAL(qb_image_file_open(o.io, other_path, &f, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    end(&o);
}

/* Whatever a request is, there is an answer, and the next one is answered, too. */
static void requests_that_are_none_get_empty_answers(void)
{
    struct qb_parcel p = {.len = 0};
    struct opening o;
    struct qb_file f;

    begin(&o);
    for (unsigned errand = 0; errand < 200; errand += errand == 0 ? 3 : 1) { /* not 1 and 2 */
        for (size_t len = 0; len <= QB_PARCEL_BYTES; len = 7 * len + 3) {
            memset(p.bytes, 0xff, sizeof(p.bytes));
            p.len = len;
            CU_ASSERT_EQUAL(qb_helper_ask(&o.helper, errand, NULL, &p), 0);
            CU_ASSERT_EQUAL(p.len + p.n_fds, 0);
        }
    }
    CU_ASSERT_EQUAL_FATAL(qb_named_open(o.io, me(), me(), other_path, &f, NULL), 0);
    qb_file_close(&f);
    end(&o);
}

static void it_has_no_other_files_open(void)
{
    struct qb_parcel p = {.len = 0};
    struct opening o;
    int fd = open(image_path, O_RDONLY | O_CLOEXEC);

    begin(&o);
    CU_ASSERT_EQUAL(qb_helper_ask(&o.helper, 1, NULL, &p), 0);
    CU_ASSERT_EQUAL(p.len, 3 + channels()); /* and its sockets */
    close(fd);
    end(&o);
}

static bool stop_now(void *arg)
{
    (void)arg;
    return true;
}

static void an_errand_that_takes_long_is_told_to_stop(void)
{
    struct qb_parcel p = {.len = 0};
    struct opening o;

    begin(&o);
    qb_io_set_stop(o.io, stop_now, NULL);
    CU_ASSERT_EQUAL(qb_helper_ask(&o.helper, 2, o.io, &p), 0);
    CU_ASSERT_EQUAL(p.len, 1);
    p.len = 0;
    CU_ASSERT_EQUAL(qb_helper_ask(&o.helper, 1, NULL, &p), 0);
    CU_ASSERT_EQUAL(p.len, 3 + channels());
    end(&o);
}

static void a_helper_that_is_gone_is_an_error(void)
{
    struct qb_err err = {0};
    struct opening o;
    struct qb_file f;

    begin(&o);
    CU_ASSERT_EQUAL(kill(o.helper.pid, SIGKILL), 0);
    CU_ASSERT_EQUAL(qb_named_open(o.io, me(), me(), other_path, &f, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    end(&o);
}

/* Nobody may look for a backing file that is where it was. */
static void a_backing_file_is_not_missing_because_the_helper_is_gone(void)
{
    struct qb_chain chain = {0};
    struct qb_err err = {0};
    struct opening o;
    struct qb_file f;
    const struct qb_chain_top top = {image_path, &f, other_path, "raw"};

    CU_ASSERT_EQUAL_FATAL(qb_file_open(image_path, &f, NULL), 0);
    begin(&o);
    CU_ASSERT_EQUAL(kill(o.helper.pid, SIGKILL), 0);
    CU_ASSERT_EQUAL(qb_chain_open(o.io, &top, QB_CHAIN_WHOLE, &chain, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    qb_chain_close(&chain);
    end(&o);
    qb_file_close(&f);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(it_opens_what_an_image_names_and_the_image_itself),
        UNIT(a_claim_ends_when_the_file_is_closed),
        UNIT(it_refuses_owners_it_does_not_know_and_paths_of_no_image),
        UNIT(requests_that_are_none_get_empty_answers),
        UNIT(it_has_no_other_files_open),
        UNIT(an_errand_that_takes_long_is_told_to_stop),
        UNIT(a_helper_that_is_gone_is_an_error),
        UNIT(a_backing_file_is_not_missing_because_the_helper_is_gone),
    };

    return opening_main("opener", tests, UNIT_COUNT(tests));
}
