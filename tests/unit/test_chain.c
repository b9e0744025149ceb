/* Backing chains of real files: of every length, and what reading through one costs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "images.h"
#include "io/io.h"
#include "chain/chain.h"
#include "scratch.h"

static void path_of(unsigned i, char *out, size_t room)
{
    snprintf(out, room, "%s/%03u.qcow2", scratch_folder(), i);
}

static void write_image(unsigned i, const struct image_shape *shape, const char *script)
{
    struct image_bytes image = image_make(shape, script);
    char path[64];
    FILE *f;

    path_of(i, path, sizeof(path));
    f = fopen(path, "wb");
    CU_ASSERT_FATAL(f != NULL);
    CU_ASSERT_EQUAL(fwrite(image.bytes, 1, image.size, f), image.size);
    CU_ASSERT_EQUAL(fclose(f), 0);
    image_bytes_free(&image);
}

/* Files 0 to n, each with the next as its backing file; the last has none and holds data. */
static void make_chain(unsigned n, bool with_format)
{
    for (unsigned i = 0; i <= n; i++) {
        struct image_shape shape = {
            .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 64 << 10};
        char name[16];

        snprintf(name, sizeof(name), "%03u.qcow2", i + 1);
        if (i < n) {
            shape.backing_file = name;
            shape.backing_fmt = with_format ? "qcow2" : NULL;
        }
        write_image(i, &shape, i < n ? "" : "d9c3");
    }
}

static void remove_chain(unsigned n)
{
    char path[64];

    for (unsigned i = 0; i <= n; i++) {
        path_of(i, path, sizeof(path));
        unlink(path);
    }
}

/* Opens what lies below file `first`; the length of the chain, or -1. */
static int open_from(struct qb_io *io, unsigned first, struct qb_chain *chain, struct qb_err *err)
{
    struct qb_file file;
    struct qb_image img;
    char path[64];
    int r = -1;

    path_of(first, path, sizeof(path));
    if (qb_file_open(path, &file, err) < 0)
        return -1;
    if (qb_image_open(io, &file, &img, err) == 0) {
        r = qb_chain_open(io,
                          &(struct qb_chain_top){path, &file, img.backing_name, img.backing_fmt},
                          QB_CHAIN_WHOLE, chain, err);
        qb_image_close(&img);
    }
    qb_file_close(&file);
    return r < 0 ? -1 : (int)chain->n;
}

static void chains_of_every_length(bool with_format)
{
    struct qb_io *io;
    struct qb_err err;
    uint8_t from_base[512], buf[512];

    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, &err), 0);
    make_chain(QB_CHAIN_MAX_DEPTH, with_format);
    for (unsigned n = 1; n <= QB_CHAIN_MAX_DEPTH; n++) {
        struct qb_chain chain = {0};

        CU_ASSERT_EQUAL_FATAL(open_from(io, QB_CHAIN_MAX_DEPTH - n, &chain, &err), (int)n);
        for (unsigned i = 0; i < n; i++)
            CU_ASSERT(qb_chain_is_qcow2(&chain, i));
        CU_ASSERT_EQUAL(qb_chain_size(&chain), 64 << 10);
        CU_ASSERT_EQUAL(qb_chain_read(io, &chain, 0, 512, n == 1 ? from_base : buf, &err), 0);
        CU_ASSERT(n == 1 || memcmp(buf, from_base, 512) == 0);
        qb_chain_close(&chain);
    }
    remove_chain(QB_CHAIN_MAX_DEPTH);
    qb_io_close(io);
}

static void a_chain_of_any_length_up_to_the_limit_is_opened_and_read(void)
{
    chains_of_every_length(true);
}

static void so_is_one_whose_headers_do_not_name_formats(void)
{
    chains_of_every_length(false);
}

static void a_longer_chain_and_a_loop_are_refused(void)
{
    const unsigned n = QB_CHAIN_MAX_DEPTH + 1;
    struct qb_chain chain = {0};
    struct qb_io *io;
    struct qb_err err;
    char first[64], last[64];

    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, &err), 0);
    make_chain(n, true);
    CU_ASSERT_EQUAL(open_from(io, 0, &chain, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_UNSUPPORTED);
    path_of(n, last, sizeof(last));
    path_of(n - 20, first, sizeof(first));
    CU_ASSERT_EQUAL(unlink(last), 0);
    CU_ASSERT_EQUAL(symlink(first, last), 0);
    CU_ASSERT_EQUAL(open_from(io, n - 30, &chain, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_BACKING_LOOP);
    remove_chain(n);
    qb_io_close(io);
}

/* A writer's locks, then too many open files, then neither; each is told from the file's absence.
 */
static void a_data_file_that_cannot_be_had_stays_closed(void)
{
    static const struct image_shape overlay = {.version = 3,
                                               .cluster_bits = 9,
                                               .refcount_order = 4,
                                               .size = 64 << 10,
                                               .backing_file = "001.qcow2",
                                               .backing_fmt = "qcow2"};
    struct image_shape base = {
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 64 << 10};
    char name[128];
    struct qb_chain chain = {0};
    struct rlimit before, few;
    struct qb_err err = {0};
    struct qb_io *io;
    struct flock held = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1};
    struct flock own = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};
    uint8_t buf[512];
    int fd;

    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, &err), 0);
    snprintf(name, sizeof(name), "%s/data", scratch_folder());
    base.data_file = name;
    write_image(0, &overlay, "");
    write_image(1, &base, "d9");
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    memset(buf, 7, sizeof(buf));
    CU_ASSERT_EQUAL(write(fd, buf, sizeof(buf)), (ssize_t)sizeof(buf));
    CU_ASSERT_EQUAL(fcntl(fd, F_OFD_SETLK, &held) + fcntl(fd, F_OFD_SETLK, &own), 0);
    CU_ASSERT_EQUAL_FATAL(open_from(io, 0, &chain, &err), 1);
    for (int again = 0; again < 2; again++) {
        CU_ASSERT_EQUAL(qb_chain_read(io, &chain, 0, sizeof(buf), buf, &err), -1);
        CU_ASSERT_EQUAL(err.code, QB_E_LOCKED);
    }
    close(fd);
    getrlimit(RLIMIT_NOFILE, &before);
    few = (struct rlimit){3, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
    CU_ASSERT_EQUAL(qb_chain_read(io, &chain, 0, sizeof(buf), buf, &err), -1);
    CU_ASSERT_EQUAL(err.sys_errno, EMFILE); /* by which a run knows that others are in the way */
    setrlimit(RLIMIT_NOFILE, &before);
    CU_ASSERT_EQUAL(qb_chain_read(io, &chain, 0, sizeof(buf), buf, &err), 0);
    CU_ASSERT(buf[0] == 7 && buf[511] == 7);
    qb_chain_close(&chain);
    qb_io_close(io);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_chain_of_any_length_up_to_the_limit_is_opened_and_read),
        UNIT(so_is_one_whose_headers_do_not_name_formats),
        UNIT(a_data_file_that_cannot_be_had_stays_closed),
        UNIT(a_longer_chain_and_a_loop_are_refused),
    };

    return scratch_main("chain", tests, UNIT_COUNT(tests));
}
