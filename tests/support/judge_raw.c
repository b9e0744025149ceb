/* What may be of a raw disk that becomes an image: the raw disk, to the byte, and maybe something
 * past its end, which a run that is resumed cuts off; or the image, clean, with the disk's bytes
 * and zeros behind. */
#include "judge_raw.h"

#include <stdio.h>
#include <string.h>

#include "raw_disks.h"

bool judge_is_raw(const struct judge *j)
{
    return j->s->rq.set & QB_KEY_CONVERT;
}

static bool asked(const struct judge *j, enum qb_key key)
{
    return j->s->rq.set & (unsigned)key;
}

/* "": the image's header says what was asked for. */
static const char *header_differs(const struct judge *j, const struct reading *is, uint64_t size)
{
    const struct qb_request *rq = &j->s->rq;
    struct reading_bitmaps bitmaps = {0};
    const char *why = "";

    if (is->version != (asked(j, QB_KEY_COMPAT) ? rq->compat : 3))
        why = "another version";
    if (is->refcount_bits != (asked(j, QB_KEY_REFCOUNT_BITS) ? rq->refcount_bits : 16))
        why = "another refcount width";
    if (is->cluster_size != rq->cluster_size || is->extended_l2 != rq->extended_l2)
        why = "clusters or L2 entries of another size";
    if (is->compatible != rq->lazy_refcounts ||
        is->incompatible !=
            (rq->compression_type && strcmp(rq->compression_type, "zstd") == 0 ? 8 : 0))
        why = "other feature bits";
    if (is->backing_file[0] || is->data_file[0] || is->n_layers != 1)
        why = "a backing file, data file or snapshot";
    reading_bitmaps_amend(&bitmaps, rq, size);
    if (!why[0])
        why = reading_bitmaps_differ(&is->bitmaps, &bitmaps);
    reading_bitmaps_free(&bitmaps);
    return why;
}

static bool check_image(struct judge *j, const struct image_bytes *image, const char *at)
{
    struct image_bytes disk = subject_raw_disk(j->s);
    uint64_t size = asked(j, QB_KEY_SIZE) ? j->s->rq.size : raw_sectors(disk.size);
    const char *why = raw_differs(image, &disk, size);
    struct reading is;

    if (!why[0]) {
        reading_take_image(image, NULL, &is);
        why = header_differs(j, &is, size);
        reading_free(&is);
    }
    if (why[0])
        judge_blame(j, at, why);
    return !why[0];
}

static bool check_disk(struct judge *j, const struct image_bytes *state, const char *at)
{
    struct image_bytes disk = subject_raw_disk(j->s);
    bool same = state->size >= disk.size && memcmp(state->bytes, disk.bytes, disk.size) == 0;

    if (!same)
        judge_blame(j, at, "bytes of the raw disk changed, or are gone");
    return same;
}

/* A run that is resumed: it has the disk's length, and the header that was to be written, from its
 * journal. */
static void resume(struct judge *j, const struct image_bytes *state, bool was_amended,
                   const char *at)
{
    struct image_bytes now = *state;
    struct qb_request rq = j->s->rq;
    const struct qb_mem_event *events;
    struct qb_mem_log *log;
    char where[120];
    struct run r;

    snprintf(where, sizeof(where), "%s, resumed", at);
    now.reserved = j->s->image.reserved;
    now.device = j->s->image.device;
    now.holes = j->s->image.holes;
    log = run_machine(&now);
    if (!now.device)
        rq.convert_length = subject_raw_disk(j->s).size;
    rq.convert_header = j->done.bytes;
    r = run_amend(log, 0, &rq, RUN_WHOLE);
    now = run_content(log, 0);
    if (r.rc < 0)
        judge_blame(j, where, r.result.err.text);
    else if (was_amended && (r.result.status != QB_STATUS_UNCHANGED || qb_mem_events(log, &events)))
        judge_blame(j, where, "an image was changed");
    else if (!was_amended && now.size != j->done.size)
        judge_blame(j, where, "the image has another length");
    else if (!was_amended)
        check_image(j, &now, where);
    run_free(&r);
    qb_mem_log_free(log);
}

void judge_raw_state(struct judge *j, const struct image_bytes *state, enum verdict allowed,
                     const char *at)
{
    struct image_bytes disk = subject_raw_disk(j->s);
    uint64_t n = disk.size < RAW_SECTOR ? disk.size : RAW_SECTOR;
    bool old = state->size >= n && memcmp(state->bytes, disk.bytes, n) == 0;
    bool amended =
        state->size >= RAW_SECTOR && memcmp(state->bytes, j->done.bytes, RAW_SECTOR) == 0;

    j->states++;
    if (!old && !amended)
        judge_blame(j, at, "the first sector is neither the disk's nor the image's");
    else if (!(allowed & (old ? OLD : AMENDED)))
        judge_blame(j, at, old ? "it is the raw disk still" : "it is the image already");
    else if (old ? check_disk(j, state, at) : check_image(j, state, at))
        resume(j, state, amended, at);
}

/* What looks like an image is refused, and a device may be too short; nothing else is. */
static void check_refusal(struct judge *j, const struct qb_mem_log *log)
{
    const struct qb_failure *err = &j->run.result.err;
    const struct qb_mem_event *events;
    bool like_an_image =
        j->s->image.size >= RAW_SECTOR && memcmp(j->s->image.bytes, "QFI\xfb", 4) == 0;

    if (qb_mem_events(log, &events))
        judge_blame(j, "refused", "something was written");
    if (err->code != (like_an_image ? QB_E_REFUSED : QB_E_NO_SPACE) ||
        (!like_an_image && !j->s->image.device))
        judge_blame(j, "refused", err->text);
}

/* Nothing of the disk is written or freed but its first sector, and that once. */
static void check_events(struct judge *j, const struct qb_mem_log *log)
{
    uint64_t end = subject_raw_disk(j->s).size;
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events), flips = 0;

    for (size_t i = 0; i < n; i++) {
        const struct qb_mem_event *e = &events[i];
        bool flip = e->op == QB_OP_WRITE && e->offset == 0 && e->len == RAW_SECTOR;

        flips += flip;
        if (!flip && e->op != QB_OP_SYNC && e->offset < end)
            judge_blame(j, "in peace", "the disk itself was written, or cut");
    }
    if (flips != 1)
        judge_blame(j, "in peace", "not one flip");
}

static void check_census(struct judge *j)
{
    uint64_t corruptions = 0, leaks = 0;
    char why[200];

    if (!run_census(&j->done, &corruptions, &leaks, why, sizeof(why)) || corruptions || leaks)
        judge_blame(j, "in peace", why[0] ? why : "the census finds leaks");
}

void judge_raw_begin(struct judge *j, struct qb_mem_log *log)
{
    struct image_bytes now;

    j->run = run_amend(log, 0, &j->s->rq, RUN_WHOLE);
    j->amends = j->run.result.status == QB_STATUS_CHANGED;
    now = run_content(log, 0);
    j->done = image_bytes_copy(&now);
    judge_take_headers(j, log);
    if (!j->amends) {
        check_refusal(j, log);
        return;
    }
    judge_raw_state(j, &j->done, AMENDED, "in peace");
    check_events(j, log);
    check_census(j);
    if (j->done.size % RAW_SECTOR)
        judge_blame(j, "in peace", "a length that is not a multiple of 512");
}

void judge_raw_untouched(struct judge *j, const struct image_bytes *now, bool cut, const char *at)
{
    struct image_bytes disk = subject_raw_disk(j->s);

    if (check_disk(j, now, at) && cut && now->size != disk.size && now->size != j->s->image.size)
        judge_blame(j, at, "the file's length was not restored");
}
