#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>

#include "run/run.h"

enum { FULL_WAVE = 100 }; /* fleets from this size on have small images */

/* The image has been through it before: an amend of it ended with a power cut. */
static void crash_before(struct subject *s, struct dice *dice)
{
    struct qb_mem_log *log = run_machine(s->image.bytes, s->image.size, s->image.reserved);
    unsigned char *bytes;
    struct run r;
    uint64_t size;
    size_t flip;

    r = run_amend(log, 0, &s->rq, RUN_WHOLE);
    run_free(&r);
    flip = judge_flip(log, 0);
    if (qb_mem_replay(log, 0, 0, roll(dice, (unsigned)flip + 1), roll(dice, 1000), &bytes, &size) <
        0)
        abort();
    image_bytes_free(&s->image);
    s->image = (struct image_bytes){bytes, size, s->image.reserved};
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
    image->subject = subject_any(seed, f->n >= FULL_WAVE);
    if (roll(&f->dice, 8) == 0)
        crash_before(&image->subject, &f->dice);
    judge_begin(&image->judge, &image->subject, NULL);
}

void fleet_make(struct fleet *f, uint64_t seed, unsigned n)
{
    *f = (struct fleet){.dice = dice_of(seed)};
    f->n = n ? n : draw_count(&f->dice);
    f->wave_max = f->n >= FULL_WAVE ? 512 : 1 + roll(&f->dice, f->n < 12 ? 4 : 16);
    f->stops = roll(&f->dice, 10) == 0;
    f->images = calloc(f->n, sizeof(*f->images));
    if (!f->images)
        abort();
    for (unsigned i = 0; i < f->n; i++)
        draw_image(f, &f->images[i], seed * 1000 + i);
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
        f->images[i].told = SIZE_MAX;
    }
}

static void fill_batch(struct fleet *f)
{
    char path[HOST_PATH];

    qb_batch_free(&f->batch);
    qb_batch_init(&f->batch);
    f->batch.policy.sync = QB_SYNC_FILE;
    for (unsigned i = 0; i < f->n; i++) {
        host_path(i, path);
        if (!qb_batch_add(&f->batch, path, 0, &f->images[i].subject.rq))
            abort();
    }
}

void fleet_prepare(struct fleet *f)
{
    new_disks(f);
    fill_batch(f);
}

int fleet_start(struct fleet *f, struct host *host, struct qb_err *err)
{
    const struct qb_run_options options = {.jobs = 1, .stopped = host_stopped};
    const struct qb_listener listener = {.arg = f, .image = note};
    int rc;

    host->dice = f->dice;
    if (f->stops)
        host->stops = 1 + roll(&host->dice, 50 * f->n);
    if (roll(&host->dice, 6) == 0)
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

/* `before` is what is durable, and of the events [sure, upto) any may have reached the disk. */
static void cut_here(const struct fleet *f, struct fleet_image *image, const struct device *d,
                     const struct qb_mem_bytes *before, size_t sure, size_t upto, unsigned tears)
{
    enum verdict may_be = allowed(f, image, d, upto);
    struct qb_mem_bytes disk = {0};
    char at[80];

    for (unsigned k = 0; k <= (sure < upto ? tears : 0); k++) {
        copy_bytes(&disk, before->bytes, before->size);
        if (k == 0)
            device_keep(d, sure, upto, &disk);
        else
            device_tear(d, sure, upto, f->dice.state + upto * 1000 + k, &disk);
        snprintf(at, sizeof(at), "power cut after %zu events, way %u", upto, k);
        if (judge_is_new(&image->judge, disk.bytes, disk.size))
            judge_state(&image->judge, disk.bytes, disk.size, may_be, at);
    }
    free(disk.bytes);
}

void fleet_judge(struct fleet *f, unsigned i, const struct device *d, size_t first, unsigned tears)
{
    struct fleet_image *image = &f->images[i];
    struct qb_mem_bytes before = {0};
    size_t sure = 0;

    copy_bytes(&before, image->subject.image.bytes, image->subject.image.size);
    for (size_t upto = 0; upto <= d->n; upto++) {
        if (upto >= first)
            cut_here(f, image, d, &before, sure, upto, tears);
        if (upto < d->n && d->events[upto]->op == QB_OP_SYNC) {
            device_keep(d, sure, upto, &before);
            sure = upto + 1;
        }
    }
    free(before.bytes);
}
