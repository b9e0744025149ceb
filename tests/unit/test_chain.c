/* Backing chains of real files: of every length, and what reading through one costs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images.h"
#include "io/io.h"
#include "qcow2/chain.h"
#include "unit.h"

static char folder[] = "/tmp/qbatch-chain-XXXXXX";

static void path_of(unsigned i, char *out, size_t room)
{
    snprintf(out, room, "%s/%03u.qcow2", folder, i);
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
    if (qb_file_open(path, false, &file, err) < 0)
        return -1;
    if (qb_image_open(io, &file, &img, err) == 0) {
        r = qb_chain_open(io, path, &file, img.backing_name, img.backing_fmt, true, chain, err);
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

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_chain_of_any_length_up_to_the_limit_is_opened_and_read),
        UNIT(so_is_one_whose_headers_do_not_name_formats),
        UNIT(a_longer_chain_and_a_loop_are_refused),
    };
    int rc;

    if (!mkdtemp(folder))
        return 2;
    rc = unit_main("chain", tests, UNIT_COUNT(tests));
    rmdir(folder);
    return rc;
}
