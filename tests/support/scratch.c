#include "scratch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

const char *scratch_folder(void)
{
    return folder;
}

const char *shared_folder(void)
{
    if (chmod(folder, 0755) < 0)
        abort();
    return folder;
}

const char *in_folder(const char *name)
{
    static char paths[4][160];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

const char *make_file(const char *name, const void *bytes, size_t n)
{
    const char *path = in_folder(name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
        abort();
    close(fd);
    return path;
}

struct qb_file open_or_die(const char *path, bool writable)
{
    struct qb_file file;
    struct qb_err err;

    if (qb_file_open(path, &file, &err) < 0 ||
        (writable && qb_file_reopen_writable(&file, &err) < 0)) {
        fprintf(stderr, "%s: %s\n", path, err.text);
        abort();
    }
    return file;
}

struct qb_io *open_kind(enum qb_io_kind kind)
{
    struct qb_io *io = NULL;
    struct qb_err err;

    if (qb_io_open(kind, &io, NULL, &err) < 0)
        return NULL;
    return io;
}

static const struct qb_range everywhere = {0, UINT64_MAX};

void unguard_for(struct qb_file *file, enum qb_phase phase)
{
    file->guard = (struct qb_guard){phase, &everywhere, 1, 0};
}

void unguard(struct qb_file *file)
{
    unguard_for(file, QB_PHASE_APPEND);
}

int run_one(struct qb_io *io, struct qb_file *f, enum qb_op op, uint64_t at, uint64_t len,
            void *buf)
{
    struct qb_req req = {f, op, at, len, buf, 0};

    if (f->guard.allowed == &everywhere) /* no phase allows all that an unguarded file may do */
        unguard_for(f, op == QB_OP_PUNCH ? QB_PHASE_SETTLE : QB_PHASE_APPEND);
    qb_io_run(io, &req, 1);
    return req.error;
}

bool spoil_ring(void)
{
    bool spoiled = false;

    for (int fd = 3; fd < 64; fd++) {
        char link[64], to[64] = "";
        int null_fd;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        if (readlink(link, to, sizeof(to) - 1) < 0 || !strstr(to, "io_uring"))
            continue;
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        spoiled = dup2(null_fd, fd) == fd;
        close(null_fd);
    }
    return spoiled;
}

int try_lock(const char *path, bool for_amend, struct qb_err *err)
{
    struct qb_file f = open_or_die(path, for_amend);
    int rc = qb_file_lock(&f, for_amend, err);

    qb_file_close(&f);
    return rc;
}

bool stop_always(void *arg)
{
    (void)arg;
    return true;
}

int scratch_main(const char *suite_name, const struct unit_test *tests, size_t n)
{
    const char *tmp = getenv("TMPDIR");
    char clean[96];
    int rc;

    snprintf(folder, sizeof(folder), "%s/qb-%.20s.XXXXXX", tmp && strlen(tmp) < 30 ? tmp : "/tmp",
             suite_name);
    if (!mkdtemp(folder))
        return 2;
    rc = unit_main(suite_name, tests, n);
    snprintf(clean, sizeof(clean), "rm -rf '%s'", folder);
    return system(clean) ? 2 : rc;
}
