#include "undo_raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge_raw.h"
#include "undo/undo.h"

enum { SECTOR = 512, TEARS = 3 };

static const struct qb_claim writable = {.writable = true};

/* What the run's journal says of a conversion. */
struct record {
    uint8_t old[SECTOR], now[SECTOR];
    struct qb_proof proof; /* owned */
    struct qb_undo_facts facts;
};

static int sync_file(struct qb_io *io, struct qb_file *file)
{
    int errnum = 0;

    qb_io_barrier(io, &file, 1, QB_SYNC_FILE, &errnum);
    return errnum;
}

static int note_record(struct qb_amend *a, struct record *r)
{
    struct qb_amend_facts facts = qb_amend_facts(a);

    memcpy(r->old, facts.old_sector, SECTOR);
    memcpy(r->now, facts.new_sector, SECTOR);
    r->facts = (struct qb_undo_facts){.old_sector = r->old,
                                      .new_sector = r->now,
                                      .old_length = facts.old_length,
                                      .proof = &r->proof};
    return qb_proof_copy(qb_amend_proof(a), &r->proof, qb_amend_err(a));
}

static int convert(struct qb_io *io, const char *path, const struct qb_request *rq,
                   struct record *r, char *why)
{
    struct qb_amend *a = qb_amend_new(path);
    int rc;

    qb_amend_expect(a, rq);
    rc = qb_amend_open(a, io, writable, NULL) < 0 || qb_amend_plan(a, io, rq) < 0 ||
                 qb_amend_remember(a, io) < 0 || qb_amend_append(a, io) < 0 ||
                 note_record(a, r) < 0 || sync_file(io, qb_amend_file(a)) ||
                 qb_amend_flip(a, io) < 0 || qb_amend_flipped(a, sync_file(io, qb_amend_file(a)))
             ? -1
             : 0;
    snprintf(why, 100, "%.99s", rc < 0 ? qb_amend_err(a)->text : "");
    qb_amend_close(a);
    return rc;
}

static int undo(struct qb_io *io, const char *path, const struct record *r, char *why)
{
    struct qb_undo *u = qb_undo_new(path);
    int rc;

    rc = qb_undo_check(u, io, &r->facts, writable) < 0 || qb_undo_flip(u, io) < 0 ||
                 qb_undo_flipped(u, io, sync_file(io, qb_undo_file(u))) < 0
             ? -1
             : 0;
    snprintf(why, 100, "%.99s", rc < 0 ? qb_undo_err(u)->text : "");
    qb_undo_close(u);
    return rc;
}

/* ---- power cuts ------------------------------------------------------------------------------ */

static size_t last_sync(const struct qb_mem_event *events, size_t from, size_t upto)
{
    while (upto > from && events[upto - 1].op != QB_OP_SYNC)
        upto--;
    return upto;
}

/* The undo's events are those from number `from` on, and its write is the first of them. */
static void cut(struct judge *j, const struct qb_mem_log *log, size_t from)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);

    for (size_t upto = from; upto <= n; upto++) {
        size_t sure = last_sync(events, from, upto);
        enum verdict may_be = upto == from ? AMENDED : sure > from ? OLD : EITHER;

        for (unsigned k = 0; k <= (sure < upto ? TEARS : 0); k++) {
            struct image_bytes state = {0};
            char at[60];

            snprintf(at, sizeof(at), "undo, power cut after %zu events, way %u", upto - from, k);
            if (qb_mem_replay(log, 0, sure, upto, k ? k * 1000003 + upto : 0, &state.bytes,
                              &state.size) < 0)
                abort();
            judge_state(j, &state, may_be, at);
            image_bytes_free(&state);
        }
    }
}

void undo_raw_judge(struct fleet_image *image)
{
    struct judge *j = &image->judge;
    struct record record = {.old = {0}};
    struct image_bytes disk, now;
    const struct qb_mem_event *events;
    struct host host = {0};
    char path[HOST_PATH], why[100];
    struct qb_io *io;
    size_t from;

    if (!judge_is_raw(j) || !image->subject.rq.keep_undo)
        return;
    disk = subject_raw_disk(&image->subject);
    host.log = run_machine(&image->subject.image);
    host_path(0, path);
    host_enter(&host);
    io = run_io(host.log);
    if (convert(io, path, &image->subject.rq, &record, why) < 0)
        judge_blame(j, "before an undo", why);
    from = qb_mem_events(host.log, &events);
    if (undo(io, path, &record, why) < 0)
        judge_blame(j, "undo", why);
    host_leave();
    now = run_content(host.log, 0);
    if (now.size != (image->subject.image.device ? image->subject.image.size : disk.size) ||
        memcmp(now.bytes, disk.bytes, disk.size) != 0)
        judge_blame(j, "undo", "the raw disk is not there again");
    cut(j, host.log, from);
    qb_proof_free(&record.proof);
    qb_io_close(io);
    qb_mem_log_free(host.log);
}
