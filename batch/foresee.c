#include "batch/foresee.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "batch/text.h"

uint64_t qb_min_free(const struct qb_policy *policy, uint64_t total)
{
    return policy->min_free_percent ? total / 100 * policy->min_free : policy->min_free;
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
}

static struct qb_outlook *new_system(struct qb_foresight *f, const struct qb_batch *batch,
                                     const char *path, dev_t dev)
{
    struct qb_outlook o = {.dev = dev, .folder = folder_of(path)};
    struct statvfs fs;

    if (o.folder && statvfs(path, &fs) == 0) {
        o.free = (uint64_t)fs.f_bavail * fs.f_frsize;
        o.keep = qb_min_free(&batch->policy, (uint64_t)fs.f_blocks * fs.f_frsize);
    }
    if (o.folder && qb_vec_push(&f->systems, o))
        return &f->systems.items[f->systems.n - 1];
    free(o.folder);
    return NULL;
}

static struct qb_outlook *system_of(struct qb_foresight *f, const struct qb_batch *batch,
                                    const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return NULL; /* a device has its space already */
    for (size_t i = 0; i < f->systems.n; i++)
        if (f->systems.items[i].dev == st.st_dev)
            return &f->systems.items[i];
    return new_system(f, batch, path, st.st_dev);
}

void qb_foresee(struct qb_foresight *f, const struct qb_batch *batch, const struct qb_job *job,
                const struct qb_result *r)
{
    struct qb_outlook *o;

    if (r->status != QB_STATUS_WOULD_CHANGE || r->allocated_delta <= 0)
        return;
    o = system_of(f, batch, job->path);
    if (!o)
        return;
    o->images++;
    o->needed += (uint64_t)r->allocated_delta;
    if (r->file_size_after > r->file_size_before)
        o->grows += r->file_size_after - r->file_size_before;
}

void qb_foresight_free(struct qb_foresight *f)
{
    qb_vec_each (o, &f->systems)
        free(o->folder);
    qb_vec_free(&f->systems);
}

/* ---- how long -------------------------------------------------------------------------------- */

enum { SAMPLE_BYTES = 8 << 20, PAGE_BYTES = 4096, WAVE_IMAGES = 512 };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds that this write and its sync take; negative when they fail. */
static double time_write(int fd, const void *bytes, size_t n)
{
    double from = now();

    if (pwrite(fd, bytes, n, 0) != (ssize_t)n || fdatasync(fd) < 0)
        return -1;
    return now() - from;
}

/* Tries the file system; false when it cannot be tried. */
static bool try_disk(struct qb_outlook *o)
{
    int fd = open(o->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    size_t n = (size_t)QB_MIN(o->needed, (uint64_t)SAMPLE_BYTES);
    char *bytes = fd < 0 ? NULL : malloc(SAMPLE_BYTES);
    double longer = -1;

    if (bytes) {
        memset(bytes, 'x', SAMPLE_BYTES);
        o->sync_seconds = time_write(fd, bytes, PAGE_BYTES);
        longer = time_write(fd, bytes, QB_MAX(n, (size_t)PAGE_BYTES));
    }
    if (longer > 0)
        o->bytes_per_second = (double)QB_MAX(n, (size_t)PAGE_BYTES) / longer;
    if (fd >= 0)
        close(fd);
    free(bytes);
    return o->sync_seconds > 0 && longer > 0;
}

double qb_foresight_seconds(struct qb_foresight *f, const struct qb_batch *batch,
                            double dry_run_seconds)
{
    double seconds = dry_run_seconds, needed = 0;

    if (f->systems.n == 0)
        return -1;
    qb_vec_each (o, &f->systems) {
        if (!try_disk(o))
            return -1;
        needed += (double)o->needed;
        seconds += (double)o->needed / o->bytes_per_second +
                   2 * o->sync_seconds * (double)qb_div_up(o->images, WAVE_IMAGES);
    }
    if (batch->limits.rate)
        seconds = QB_MAX(seconds, needed / (double)batch->limits.rate);
    return seconds;
}

/* All at once: an amend gives back what it replaces only when it is done. */
static bool is_short(const struct qb_outlook *o)
{
    return o->needed > o->free || o->free - o->needed < o->keep;
}

void qb_foresight_print(const struct qb_foresight *f, double expected_seconds, FILE *out)
{
    char took[QB_TEXT_NUMBER];

    for (size_t i = 0; i < f->systems.n; i++) {
        const struct qb_outlook *o = &f->systems.items[i];
        char images[QB_TEXT_NUMBER], needed[QB_TEXT_NUMBER], grows[QB_TEXT_NUMBER],
            left[QB_TEXT_NUMBER];

        fputs("space on the file system of ", out);
        qb_text_safe(out, o->folder);
        fprintf(out, ": %s image%s need%s up to %s, files grow by %s; %s are free%s\n",
                qb_text_count(o->images, images), o->images == 1 ? "" : "s",
                o->images == 1 ? "s" : "", qb_text_size(o->needed, needed),
                qb_text_size(o->grows, grows), qb_text_size(o->free, left),
                !is_short(o) ? ""
                : o->keep    ? ": TOO LITTLE, with policy.min_free"
                             : ": TOO LITTLE");
    }
    if (expected_seconds > 0)
        fprintf(out, "the run would take about %s\n", qb_text_seconds(expected_seconds, took));
}

void qb_foresight_json(const struct qb_foresight *f, struct qb_json *o)
{
    struct qb_json list = qb_json_list();

    for (size_t i = 0; i < f->systems.n; i++) {
        const struct qb_outlook *s = &f->systems.items[i];
        struct qb_json system = qb_json_object();

        qb_json_path(&system, s->folder);
        qb_json_number(&system, "images", s->images);
        qb_json_number(&system, "needed_bytes", s->needed);
        qb_json_number(&system, "file_growth_bytes", s->grows);
        qb_json_number(&system, "free_bytes", s->free);
        qb_json_number(&system, "min_free_bytes", s->keep);
        qb_json_bool(&system, "enough", !is_short(s));
        qb_json_append(&list, system);
    }
    qb_json_child(o, "filesystems", list);
}
