/* What is said of an image of which a process died. */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/result.h"
#include "opener/in_use.h"
#include "run/relay_run.h"

enum { LOCKED_TRIES = 50, LOCKED_WAIT_NS = 20 * 1000 * 1000 };

enum header { UNKNOWN, OLD, NEW, OTHER };

/* A dead process's last requests may still be under way: its lock says so. */
static int claim(const struct qb_job *job, struct qb_file *file, struct qb_err *err)
{
    const struct qb_claim how = {.writable = false,
                                 .without_locks = job->request.without_locks,
                                 .on_link = job->request.on_link};
    struct qb_io *io = NULL;
    int r = qb_io_open(QB_IO_POSIX, &io, NULL, err);

    if (r < 0)
        return r;
    r = qb_file_claim(io, job->path, how, file, err);
    for (unsigned i = 0; r < 0 && err->code == QB_E_LOCKED && i < LOCKED_TRIES; i++) {
        nanosleep(&(struct timespec){.tv_nsec = LOCKED_WAIT_NS}, NULL);
        r = qb_file_claim(io, job->path, how, file, err);
    }
    qb_io_close(io);
    return r;
}

/* It is compared with what was to be written, and not read.  A new one is made durable. */
static enum header compare(const struct qb_file *file, const struct qb_held *held,
                           struct qb_err *err)
{
    unsigned char sector[QB_RESULT_SECTOR];
    struct qb_digest digest;

    if (file->dev != held->dev || file->ino != held->ino) {
        qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "another file took its place");
        return UNKNOWN;
    }
    if (pread(file->fd, sector, sizeof(sector), 0) != (ssize_t)sizeof(sector)) {
        qb_fail_sys(err, errno, QB_NOWHERE, "cannot read its header");
        return UNKNOWN;
    }
    digest = qb_digest_of(sector, sizeof(sector));
    if (qb_digest_equal(digest, held->old_sector))
        return OLD;
    if (!qb_digest_equal(digest, held->new_sector))
        return OTHER;
    if (fdatasync(file->fd) == 0)
        return NEW;
    qb_fail_sys(err, errno, QB_NOWHERE, "amended, but not durable");
    return UNKNOWN;
}

static enum header look(const struct qb_job *job, const struct qb_held *held, struct qb_err *err)
{
    struct qb_file file;
    enum header found;

    if (claim(job, &file, err) < 0)
        return UNKNOWN;
    found = compare(&file, held, err);
    qb_file_close(&file);
    return found;
}

static const char *tail_of(const struct qb_held *held, unsigned phase)
{
    return phase >= QB_HELD_PLANNED && held->appends
               ? "as it was, but may be longer by what was appended"
               : "as it was";
}

void qb_relay_crashed(const struct qb_job *job, const struct qb_held *held,
                      const struct qb_relay_death *death, struct qb_outcome *out)
{
    unsigned phase = atomic_load(&held->phase);
    struct qb_err err = {0}, why = {0};
    enum header header = phase >= QB_HELD_FLIPS ? look(job, held, &why) : OLD;
    const char *const words[] = {
        [OTHER] = "not known to be as it was, nor amended: its header is another one",
        [NEW] = death->flipped};

    if (header == OLD && held->amended)
        header = NEW;
    *out = (struct qb_outcome){.result = {.status = QB_STATUS_FAILED,
                                          .header_sent = header != OLD || held->may_be_amended,
                                          .committed = header == NEW}};
    qb_fail(&err, QB_E_CRASHED, QB_NOWHERE,
            "the process that worked on it %s%s; the image is %s%.100s", death->how,
            death->alone ? ", and so was one that had this image alone" : "",
            header == OLD
                ? held->may_be_amended ? "as the process before it left it" : tail_of(held, phase)
            : header == UNKNOWN ? "in a state that could not be found out: "
                                : words[header],
            header == UNKNOWN ? why.text : "");
    qb_outcome_fail(out, QB_E_CRASHED, err.text);
}
