/* Opening image files: what is refused, what a replaced file looks like, where holes are. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "scratch.h"
#include "unit.h"
#include "opener/look.h"

static void refuses_with(const char *path, enum qb_code code, const char *text)
{
    struct qb_file file = {.size = 77};
    struct qb_err err = {0};

    CU_ASSERT_EQUAL(qb_file_open(path, &file, &err), -1);
    CU_ASSERT_EQUAL(err.code, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, text));
    CU_ASSERT_EQUAL(file.size, 77);
    CU_ASSERT_EQUAL(qb_file_open(path, &file, NULL), -1);
}

static void open_refuses_what_is_no_image_without_waiting(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);

    mkfifo(in_folder("fifo"), 0600);
    memcpy(name.sun_path, in_folder("sock"), strlen(in_folder("sock")) + 1);
    CU_ASSERT_EQUAL_FATAL(bind(sock, (struct sockaddr *)&name, sizeof(name)), 0);
    close(sock);

    refuses_with(scratch_folder(), QB_E_NOT_QCOW2, "is a directory");
    refuses_with(in_folder("fifo"), QB_E_NOT_QCOW2, "is a FIFO");
    refuses_with(in_folder("sock"), QB_E_NOT_QCOW2, "is a socket");
    refuses_with("/dev/null", QB_E_NOT_QCOW2, "is a character device");
    refuses_with(in_folder("absent"), QB_E_NOT_FOUND, "cannot open");
    refuses_with("", QB_E_NOT_FOUND, "cannot open");
}

static void open_starts_with_nothing_allowed(void)
{
    struct qb_file f = open_or_die(make_file("plain", "hello", 5), true);

    CU_ASSERT_EQUAL(f.size, 5);
    CU_ASSERT_EQUAL(f.guard.phase, QB_PHASE_READ);
    CU_ASSERT_FALSE(f.is_block_device);
    CU_ASSERT_TRUE(f.writable);
    qb_file_make_blocking(&f);
    CU_ASSERT_EQUAL(fcntl(f.fd, F_GETFL) & O_NONBLOCK, 0);
    CU_ASSERT_EQUAL(fcntl(f.fd, F_GETFD), FD_CLOEXEC);
    qb_file_close(&f);
    CU_ASSERT_EQUAL(f.fd, -1);
    qb_file_close(&f);
}

/* The journal, which is synced beside images; a resumed one has written nothing by then. */
static void what_is_appended_to_is_appended_to_afterwards(void)
{
    int fd = open(make_file("appended", "hello", 5), O_WRONLY | O_APPEND | O_NONBLOCK);
    struct qb_file f = {.fd = fd};

    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(qb_file_make_blocking(&f), fd);
    CU_ASSERT_EQUAL(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_APPEND), O_APPEND);
    close(fd);
}

static void closing_an_empty_struct_leaves_standard_input_open(void)
{
    struct qb_file f = {0};

    qb_file_close(&f);
    CU_ASSERT_NOT_EQUAL(fcntl(STDIN_FILENO, F_GETFD), -1);
}

static void still_there_notices_a_replaced_file(void)
{
    struct qb_file f = open_or_die(make_file("here", "a", 1), false);

    CU_ASSERT_TRUE(qb_file_still_there(&f));
    make_file("other", "b", 1);
    CU_ASSERT_EQUAL_FATAL(rename(in_folder("other"), in_folder("here")), 0);
    CU_ASSERT_FALSE(qb_file_still_there(&f));
    unlink(in_folder("here"));
    CU_ASSERT_FALSE(qb_file_still_there(&f));
    qb_file_close(&f);
}

static void holes_are_known_and_forgotten_when_written(void)
{
    struct qb_file f = open_or_die(make_file("sparse", "", 0), true);
    struct qb_io *io = open_kind(QB_IO_POSIX);
    char data[65536];

    memset(data, 'x', sizeof(data));
    unguard(&f);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, 8 << 20, 0, NULL), 0);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, 1 << 20, sizeof(data), data), 0);
    if (lseek(f.fd, 0, SEEK_DATA) == 1 << 20) { /* else this file system does not tell */
        CU_ASSERT_TRUE(qb_file_is_hole(&f, 0, 1 << 20));
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 0, (1 << 20) + 1));
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 1 << 20, 1));
        CU_ASSERT_TRUE(qb_file_is_hole(&f, 2 << 20, 6 << 20));
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 2 << 20, (6 << 20) + 1));
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 8 << 20, 1));
        CU_ASSERT_TRUE(qb_file_is_hole(&f, 4 << 20, 65536));
        CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, 4 << 20, sizeof(data), data), 0);
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 4 << 20, 65536));
        CU_ASSERT_TRUE(qb_file_allocated(&f) < 1 << 20);
    }
    CU_ASSERT_FALSE(qb_file_is_hole(&f, UINT64_MAX, 2));
    qb_io_close(io);
    qb_file_close(&f);
}

static void a_cut_and_a_punch_change_what_is_known(void)
{
    struct qb_file f = open_or_die(make_file("cut", "", 0), true);
    struct qb_io *io = open_kind(QB_IO_POSIX);
    char data[65536];

    memset(data, 'x', sizeof(data));
    unguard(&f);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, 8 << 20, 0, NULL), 0);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, 1 << 20, sizeof(data), data), 0);
    if (lseek(f.fd, 0, SEEK_DATA) == 1 << 20) { /* else this file system does not tell */
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 1 << 20, sizeof(data)));
        CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, 1 << 19, 0, NULL), 0);
        CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, 8 << 20, 0, NULL), 0);
        CU_ASSERT_TRUE(qb_file_is_hole(&f, 1 << 20, sizeof(data)));
    }
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_PUNCH, 7 << 20, 2 << 20, NULL), 0);
    CU_ASSERT_EQUAL(f.size, 8 << 20);
    qb_io_close(io);
    qb_file_close(&f);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(open_refuses_what_is_no_image_without_waiting),
        UNIT(open_starts_with_nothing_allowed),
        UNIT(what_is_appended_to_is_appended_to_afterwards),
        UNIT(closing_an_empty_struct_leaves_standard_input_open),
        UNIT(still_there_notices_a_replaced_file),
        UNIT(holes_are_known_and_forgotten_when_written),
        UNIT(a_cut_and_a_punch_change_what_is_known),
    };

    return scratch_main("file", tests, UNIT_COUNT(tests));
}
