#include "record/forecast.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "host/free_space.h"
#include "util/path.h"
#include "util/text.h"

static struct qb_outlook *new_system(struct qb_foresight *f, const struct qb_batch *batch,
                                     const char *path, dev_t dev)
{
    struct qb_outlook o = {.dev = dev, .folder = qb_path_folder(path)};
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

/* Writing to a file system, to see how fast it is, is not what a dry run may do. */
double qb_foresight_rate_seconds(const struct qb_foresight *f, const struct qb_batch *batch)
{
    uint64_t needed = 0;

    for (size_t i = 0; i < f->systems.n; i++)
        needed += f->systems.items[i].needed;
    return batch->limits.rate ? (double)needed / (double)batch->limits.rate : 0;
}

/* All at once: an amend gives back what it replaces only when it is done. */
static bool is_short(const struct qb_outlook *o)
{
    return o->needed > o->free || o->free - o->needed < o->keep;
}

void qb_foresight_print(const struct qb_foresight *f, double rate_seconds, FILE *out)
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
    if (rate_seconds > 0)
        fprintf(out, "with limits.rate, writing all of it takes %s\n",
                qb_text_seconds(rate_seconds, took));
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
