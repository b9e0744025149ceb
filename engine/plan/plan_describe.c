/* Describes a plan for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "plan/plan.h"
#include "plan/snapshot_choice.h"

static void describe_data(const struct qb_plan_data *d, void (*line)(void *arg, const char *text),
                          void *arg)
{
    char text[200];

    if (!d->writes)
        return;
    if (d->appended != d->old) {
        snprintf(text, sizeof(text), "append: data file length %" PRIu64 " -> %" PRIu64, d->old,
                 d->appended);
        line(arg, text);
    }
    snprintf(text, sizeof(text), "append: data file reads zero at 0x%" PRIx64 "-0x%" PRIx64,
             d->zeros.first, d->zeros.end);
    line(arg, text);
    if (d->bytes) {
        snprintf(text, sizeof(text), "append: the last cluster in the data file at 0x%" PRIx64,
                 d->bytes_at);
        line(arg, text);
    }
}

/* The first ones: an image may have 65,536. */
static void describe_snapshots(const struct qb_plan *p, void (*line)(void *arg, const char *text),
                               void *arg)
{
    const struct qb_snapshot_table *t = &p->in.img->snapshots;
    unsigned n = 0;
    char text[200];

    for (size_t i = 0; p->target.deleted && i < t->list.n && n < QB_SNAPSHOTS_LISTED; i++) {
        const struct qb_snapshot *s = &t->list.items[i];
        struct qb_snapshot_name name = qb_snapshot_name(s);

        if (qb_target_keeps(&p->target, i))
            continue;
        n++;
        snprintf(text, sizeof(text), "delete: snapshot \"%.*s\"", QB_MIN(name.len, 150), name.text);
        for (char *c = strchr(text, '\n'); c; c = strchr(c, '\n'))
            *c = ' ';
        line(arg, text);
    }
}

void qb_plan_describe(const struct qb_plan *p, void (*line)(void *arg, const char *text), void *arg)
{
    char text[200];

    describe_snapshots(p, line, arg);
    if (p->sector.name_at) {
        snprintf(text, sizeof(text), "append: backing file name at 0x%" PRIx64, p->sector.name_at);
        line(arg, text);
    }
    if (p->size.appended != p->size.old) {
        snprintf(text, sizeof(text), "append: file length %" PRIu64 " -> %" PRIu64, p->size.old,
                 p->size.appended);
        line(arg, text);
    }
    for (size_t i = 0; i < p->place.steps.n; i++) {
        snprintf(text, sizeof(text), "append: %s %zu at 0x%" PRIx64, p->place.steps.items[i].what,
                 p->place.steps.items[i].index, p->place.steps.items[i].offset);
        line(arg, text);
    }
    qb_vec_each (e, &p->zeros.extents) {
        snprintf(text, sizeof(text), "append: %" PRIu64 " bytes of zeros at 0x%" PRIx64,
                 e->n * p->geom.cluster_size, e->offset);
        line(arg, text);
    }
    describe_data(&p->data, line, arg);
    line(arg, "flip: sector 0");
    if (p->size.final < p->size.appended) {
        snprintf(text, sizeof(text), "settle: file length %" PRIu64 " -> %" PRIu64,
                 p->size.appended, p->size.final);
        line(arg, text);
    }
    for (size_t i = 0; i < p->freed.punches.n; i++) {
        snprintf(text, sizeof(text), "settle: punch 0x%" PRIx64 "-0x%" PRIx64,
                 p->freed.punches.items[i].first, p->freed.punches.items[i].end);
        line(arg, text);
    }
    if (p->data.cuts) {
        snprintf(text, sizeof(text), "settle: data file length %" PRIu64 " -> %" PRIu64,
                 p->data.old, p->data.final);
        line(arg, text);
    }
}
