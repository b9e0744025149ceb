#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>

#include "must.h"
#include "run/run.h"

enum {
    FULL_WAVE = 100,   /* fleets from this size on have small images */
    ONE_WITH_DATA = 6, /* of so many images has a data file */
    ONE_IN_ROOM = 3,   /* ... is amended in the room inside it */
    ONE_RAW = 10,      /* ... is a raw disk, which becomes an image */
};

/* The image has been through it before: an amend of it ended with a power cut. */
static void crash_before(struct subject *s, struct dice *dice)
{
    struct qb_mem_log *log = run_machine(&s->image);
    unsigned data = qb_mem_data_of(log, 0);
    struct image_bytes then = {.damaged = s->image.damaged,
                               .reserved = s->image.reserved,
                               .device = s->image.device,
                               .holes = s->image.holes};
    unsigned upto, seed;
    struct run r;

    r = run_amend(log, 0, &s->rq, RUN_WHOLE);
    run_free(&r);
    seed = roll(dice, 1000);
    upto = roll(dice, (unsigned)judge_flip(log, 0) + 1);
    if (qb_mem_replay(log, 0, 0, upto, seed, &then.bytes, &then.size) < 0)
        abort();
    if (data != QB_MEM_EVERY_DISK &&
        qb_mem_replay(log, data, 0, upto, seed / 2, &then.data, &then.data_size) < 0)
        abort();
    if (s->image.data && !then.data)
        then.data = must(calloc(1, 1));
    if (s->rq.set & QB_KEY_CONVERT && !then.device)
        s->rq.convert_length = s->image.size; /* as the journal has it */
    image_bytes_free(&s->image);
    s->image = then;
    qb_mem_log_free(log);
}

static unsigned draw_count(struct dice *dice)
{
    unsigned kind = roll(dice, 200);

    if (kind == 0)
        return 400 + roll(dice, 200);
    if (kind < 10)
        return 20 + roll(dice, 60);
    return kind < 60 ? 4 + roll(dice, 16) : 1 + roll(dice, 6);
}

static void draw_image(struct fleet *f, struct fleet_image *image, uint64_t seed)
{
    struct dice others =
        dice_of(seed + 0x46494c45); /* so that the rest stays what it was without */
    bool small = f->n >= FULL_WAVE;

    image->subject = roll(&others, ONE_WITH_DATA) ? subject_any(seed, small, true)
                                                  : subject_with_data(seed, small, true);
    if (roll(&others, ONE_IN_ROOM) == 0)
        subject_into_room(&image->subject, seed);
    if (roll(&others, ONE_RAW) == 0 || f->all_raw) {
        subject_free(&image->subject);
        image->subject = subject_raw(seed, small);
    }
    if (roll(&f->dice, 8) == 0)
        crash_before(&image->subject, &f->dice);
    judge_begin(&image->judge, &image->subject, NULL);
}

static void make(struct fleet *f, uint64_t seed, unsigned n, bool all_raw)
{
    *f = (struct fleet){.dice = dice_of(seed), .all_raw = all_raw};
    f->n = n ? n : draw_count(&f->dice);
    f->wave_max = f->n >= FULL_WAVE ? 512 : 1 + roll(&f->dice, f->n < 12 ? 4 : 16);
    f->stops = roll(&f->dice, 10) == 0;
    f->images = calloc(f->n, sizeof(*f->images));
    if (!f->images)
        abort();
    for (unsigned i = 0; i < f->n; i++)
        draw_image(f, &f->images[i], seed * 1000 + i);
}

void fleet_make(struct fleet *f, uint64_t seed, unsigned n)
{
    make(f, seed, n, false);
}

void fleet_make_raw(struct fleet *f, uint64_t seed)
{
    make(f, seed, 0, true);
}

void fleet_free(struct fleet *f)
{
    for (unsigned i = 0; i < f->n; i++) {
        judge_end(&f->images[i].judge);
        subject_free(&f->images[i].subject);
    }
    free(f->images);
    qb_batch_free(&f->batch);
    qb_mem_log_free(f->log);
}

/* ---- the run --------------------------------------------------------------------------------- */

static void note(void *arg, size_t job, const struct qb_outcome *outcome)
{
    struct fleet *f = arg;
    const struct qb_mem_event *events;

    f->images[job].status = outcome->result.status;
    f->images[job].reclaim_errno = outcome->result.reclaim_errno;
    f->images[job].err = qb_err_of(&outcome->result.err);
    f->images[job].told = qb_mem_events(f->log, &events);
}

static void new_disks(struct fleet *f)
{
    struct qb_file file;

    qb_mem_log_free(f->log);
    f->log = qb_mem_log_new();
    for (unsigned i = 0; i < f->n; i++) {
        const struct image_bytes *image = &f->images[i].subject.image;

        if (!f->log || qb_mem_file(f->log, image->bytes, image->size, &file) < 0)
            abort();
        qb_file_close(&file);
        if (image->reserved)
            qb_mem_reserve(f->log, i);
        if (image->device)
            qb_mem_make_device(f->log, i);
        if (image->holes)
            qb_mem_make_holes(f->log, i);
        f->images[i].told = SIZE_MAX;
    }
    for (unsigned i = 0; i < f->n;
         i++) { /* behind all images, whose numbers are those of the jobs */
        const struct image_bytes *image = &f->images[i].subject.image;

        if (image->data && qb_mem_data_file(f->log, i, image->data, image->data_size) < 0)
            abort();
    }
}

static void fill_batch(struct fleet *f)
{
    char path[HOST_PATH];

    qb_batch_free(&f->batch);
    qb_batch_init(&f->batch);
    f->batch.policy.sync = QB_SYNC_FILE;
    for (unsigned i = 0; i < f->n; i++) {
        const struct qb_request *rq = &f->images[i].subject.rq;

        if (rq->now) /* the same of all: the run counts ages from one moment */
            f->batch.ages_from = rq->now;
        host_path(i, path);
        if (!qb_batch_add(&f->batch, path, 0, rq))
            abort();
        f->batch.jobs[i].abandoned_from = rq->convert_length;
    }
}

void fleet_prepare(struct fleet *f)
{
    new_disks(f);
    fill_batch(f);
}

static bool any_heavy(const struct fleet *f)
{
    for (unsigned i = 0; i < f->n; i++)
        if (f->images[i].subject.heavy)
            return true;
    return false;
}

int fleet_start(struct fleet *f, struct host *host, struct qb_err *err)
{
    const struct qb_run_options options = {.jobs = 1, .stopped = host_stopped};
    const struct qb_listener listener = {.arg = f, .image = note};
    int rc;

    host->dice = f->dice;
    if (f->stops)
        host->stops = 1 + roll(&host->dice, 50 * f->n);
    if (roll(&host->dice, 6) == 0 && !any_heavy(f))
        f->batch.limits.memory_bytes =
            (1u << 20) + roll(&host->dice, 64 << 10); /* few plans at once, any by itself */
    host->log = f->log;
    host->wave_max = f->wave_max;
    host_enter(host);
    rc = qb_run(&f->batch, &options, &listener, err);
    host_leave();
    return rc;
}

int fleet_run(struct fleet *f, struct host *host, struct qb_err *err)
{
    fleet_prepare(f);
    return fleet_start(f, host, err);
}

void fleet_compare(struct fleet *f)
{
    for (unsigned i = 0; i < f->n; i++) {
        struct fleet_image *image = &f->images[i];
        const struct qb_result *peace = &image->judge.run.result;

        if (f->stops && image->status == QB_STATUS_INTERRUPTED)
            continue;
        if (image->status != peace->status || image->err.code != peace->err.code)
            judge_blame(&image->judge, "in its fleet",
                        image->err.text[0] ? image->err.text : "it ended in another way");
    }
}

/* ---- power cuts ------------------------------------------------------------------------------ */

/* What the disk may hold when the power goes after `upto` of its events, and before the next. */
static enum verdict allowed(const struct fleet *f, const struct fleet_image *image,
                            const struct device *d, size_t upto)
{
    const struct qb_mem_event *events;
    size_t then = upto < d->n ? d->when[upto] : qb_mem_events(f->log, &events);

    if (upto <= device_flip(d))
        return OLD;
    return image->status == QB_STATUS_CHANGED && image->told <= then ? AMENDED : EITHER;
}

static void copy_bytes(struct qb_mem_bytes *to, const void *bytes, uint64_t size)
{
    to->size = 0;
    if (qb_mem_bytes_write(to, 0, bytes, size))
        abort();
}

/* What is durable of an image's two disks, and how many events that is of each. */
struct durable {
    struct qb_mem_bytes disks[DEVICE_SIDES];
    size_t events[DEVICE_SIDES];
};

static void free_disks(struct qb_mem_bytes disks[DEVICE_SIDES])
{
    for (unsigned side = 0; side < DEVICE_SIDES; side++)
        free(disks[side].bytes);
}

/* Way 0: all of the events before `upto` reached its disk; else any did, of each side by itself.
 * Where there is a data file, the two next ways are that one side lost all and the other nothing.
 */
static void draw_side(const struct fleet *f, const struct device *d, const struct durable *sure,
                      unsigned side, size_t upto, unsigned way, bool has_data,
                      struct qb_mem_bytes *disk)
{
    size_t first = sure->events[side];

    copy_bytes(disk, sure->disks[side].bytes, sure->disks[side].size);
    if (has_data && (way == 1 || way == 2))
        device_keep(d, side, first, way - 1 == side ? first : upto, disk);
    else if (way == 0)
        device_keep(d, side, first, upto, disk);
    else
        device_tear(d, side, first, upto, f->dice.state + upto * 1000 + way + side * 77777, disk);
}

/* What is durable, and any of the other events before `upto`. */
static void cut_here(const struct fleet *f, struct fleet_image *image, const struct device *d,
                     const struct durable *sure, size_t upto, unsigned tears)
{
    bool has_data = image->subject.image.data,
         torn = sure->events[DEVICE_IMAGE] < upto || (has_data && sure->events[DEVICE_DATA] < upto);
    enum verdict may_be = allowed(f, image, d, upto);
    struct qb_mem_bytes disks[DEVICE_SIDES] = {0};
    struct image_bytes state = {0};
    char at[80];

    for (unsigned k = 0; k <= (torn ? tears + 2 * has_data : 0); k++) {
        for (unsigned side = 0; side < DEVICE_SIDES; side++)
            draw_side(f, d, sure, side, upto, k, has_data, &disks[side]);
        snprintf(at, sizeof(at), "power cut after %zu events, way %u", upto, k);
        state.bytes = disks[DEVICE_IMAGE].bytes;
        state.size = disks[DEVICE_IMAGE].size;
        if (has_data) {
            state.data = disks[DEVICE_DATA].bytes ? disks[DEVICE_DATA].bytes : state.bytes;
            state.data_size = disks[DEVICE_DATA].size;
        }
        judge_try(&image->judge, &state, may_be, at);
    }
    free_disks(disks);
}

void fleet_judge(struct fleet *f, unsigned i, const struct device *d, size_t first, unsigned tears)
{
    struct fleet_image *image = &f->images[i];
    const struct image_bytes *old = &image->subject.image;
    struct durable sure = {0};

    copy_bytes(&sure.disks[DEVICE_IMAGE], old->bytes, old->size);
    if (old->data)
        copy_bytes(&sure.disks[DEVICE_DATA], old->data, old->data_size);
    for (size_t upto = 0; upto <= d->n; upto++) {
        if (upto >= first)
            cut_here(f, image, d, &sure, upto, tears);
        if (upto < d->n && d->events[upto]->op == QB_OP_SYNC) {
            unsigned side = device_side(d, d->events[upto]);

            device_keep(d, side, sure.events[side], upto, &sure.disks[side]);
            sure.events[side] = upto + 1;
        }
    }
    free_disks(sure.disks);
}
