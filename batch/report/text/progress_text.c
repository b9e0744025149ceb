/* What the progress of a run looks like: as a line for a terminal of any width, as lines for the
 * images that take long, as JSON. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "util/json.h"
#include "text/progress.h"
#include "util/text.h"

enum { BAR_MAX = 30, BAR_MIN = 8, PART_MAX = 80, PARTS = 8 };

#define SLOW_SECONDS 3.0

static void draw_bar(char *out, unsigned width, double share)
{
    unsigned filled = (unsigned)(share * width);

    memset(out, '#', filled);
    memset(out + filled, '-', width - filled);
    out[width] = '\0';
}

/* Never all of it: when everything is done the line is gone. */
static double share_of(const struct qb_meter *meter, size_t total)
{
    return qb_min_double(qb_meter_share(meter, total), 0.99);
}

/* By how fast the work has gone since there was some; what was read before does not count.  Nobody
 * knows how long a run waits. */
static double rest_seconds(const struct qb_meter *meter, double share, const struct qb_elapsed *e)
{
    return !atomic_load(&meter->waits) && e->working > 1 && share > 0.002
               ? e->working * (1 - share) / share
               : -1;
}

static size_t put_wait(char *out, size_t size, const char *waits_for)
{
    bool paused = strcmp(waits_for, qb_waiting_name(QB_WAITS_PAUSED)) == 0;

    return (size_t)snprintf(out, size, ", %s%s", paused ? "" : "waiting for ", waits_for);
}

static size_t add_rates(const struct qb_meter *meter, double seconds, char parts[][PART_MAX])
{
    uint64_t clusters = atomic_load(&meter->clusters), written = atomic_load(&meter->written);
    size_t done = atomic_load(&meter->done), n = 0;
    char a[QB_TEXT_NUMBER];

    if (seconds <= 1)
        return 0;
    if (done)
        snprintf(parts[n++], PART_MAX, "  %s/s",
                 qb_text_count((uint64_t)((double)done / seconds), a));
    if (written)
        snprintf(parts[n++], PART_MAX, "  %s/s",
                 qb_text_size((uint64_t)((double)written / seconds), a));
    if (clusters)
        snprintf(parts[n++], PART_MAX, "  %s clusters/s",
                 qb_text_count((uint64_t)((double)clusters / seconds), a));
    return n;
}

/* The parts of the line, the most important first; returns how many are not empty. */
static size_t parts_of(const struct qb_meter *meter, size_t total, const struct qb_elapsed *e,
                       char parts[PARTS][PART_MAX])
{
    size_t done = atomic_load(&meter->done), failed = atomic_load(&meter->failed), n = 0;
    double share = share_of(meter, total), rest = rest_seconds(meter, share, e);
    const char *waits_for = qb_waiting_name(atomic_load(&meter->waits));
    unsigned steps = atomic_load(&meter->steps);
    char a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER];

    snprintf(parts[n++], PART_MAX, " %3u%%  %s of %s images", (unsigned)(share * 100),
             qb_text_count(done, a), qb_text_count(total, b));
    if (steps)
        snprintf(parts[n++], PART_MAX, ", step %u of %u", atomic_load(&meter->step), steps);
    if (failed)
        snprintf(parts[n++], PART_MAX, ", %s failed", qb_text_count(failed, a));
    if (waits_for) {
        put_wait(parts[n++], PART_MAX, waits_for);
        return n;
    }
    if (rest >= 0)
        snprintf(parts[n++], PART_MAX, "  ETA %s", qb_text_seconds(rest, a));
    return n + add_rates(meter, e->seconds, parts + n);
}

void qb_progress_line(char *out, size_t size, unsigned columns, const struct qb_meter *meter,
                      size_t total, struct qb_elapsed e)
{
    char parts[PARTS][PART_MAX], bar[BAR_MAX + 1];
    size_t n = parts_of(meter, total, &e, parts), used = 0, shown = 0, room;

    columns = (unsigned)QB_MIN((size_t)columns, size - 1);
    room =
        columns > 1 ? columns - 1 : 0; /* the last column stays free: some terminals wrap there */
    while (shown < n && used + strlen(parts[shown]) <= room)
        used += strlen(parts[shown++]);
    *out = '\0';
    if (room >= used + BAR_MIN + 2 && shown > 0) {
        unsigned width = (unsigned)QB_MIN(room - used - 2, (size_t)BAR_MAX);

        draw_bar(bar, width, share_of(meter, total));
        snprintf(out, size, "[%s]", bar);
    }
    for (size_t i = 0; i < shown; i++)
        strcat(out, parts[i]);
    if (shown == 0 && n > 0)
        snprintf(out, room + 1, "%s", parts[0]);
}

/* As much of the path's end as there is room for. */
static void put_end(char *out, size_t size, const char *path, size_t columns)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    const char *from;

    *out = '\0';
    if (!f)
        return;
    qb_text_safe(f, path);
    fclose(f);
    from = text;
    while (qb_text_columns(from) + (from > text ? 3 : 0) > columns && *from)
        from += qb_text_utf8(from) ? qb_text_utf8(from) : 1;
    snprintf(out, size, "%s%s", from > text ? "..." : "", from);
    free(text);
}

bool qb_progress_slow(char *out, size_t size, unsigned columns, const struct qb_meter *meter,
                      const struct qb_batch *batch, size_t i)
{
    const struct qb_busy *b = &meter->busy[i];
    size_t job = atomic_load(&b->job), used;
    const char *doing = qb_doing_name(atomic_load(&b->doing));
    char took[QB_TEXT_NUMBER], head[PART_MAX];
    double seconds = qb_now() - (double)atomic_load(&b->since_ms) / 1e3;

    if (job == 0 || job > batch->n_jobs || !doing || seconds < SLOW_SECONDS || columns < 24)
        return false;
    used =
        (size_t)snprintf(head, sizeof(head), "  %s, %s: ", doing, qb_text_seconds(seconds, took));
    if (used + 12 > columns)
        return false;
    snprintf(out, size, "%s", head);
    put_end(out + used, size - used, batch->jobs[job - 1].path, columns - 1 - used);
    return true;
}

size_t qb_progress_status(char *out, size_t size, const struct qb_meter *meter, size_t total,
                          struct qb_elapsed e)
{
    double share = share_of(meter, total), rest = rest_seconds(meter, share, &e);
    const char *waits_for = qb_waiting_name(atomic_load(&meter->waits));
    uint64_t written = atomic_load(&meter->written);
    char a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER];
    size_t done = atomic_load(&meter->done);
    size_t used = (size_t)snprintf(out, size, "%zu of %zu images, %zu failed, %u%%", done, total,
                                   atomic_load(&meter->failed),
                                   done == total ? 100 : (unsigned)(share * 100));

    if (written)
        used += (size_t)snprintf(out + used, size - used, ", %s of %s written",
                                 qb_text_size(written, a),
                                 qb_text_size(qb_max(atomic_load(&meter->planned), written), b));
    if (waits_for)
        used += put_wait(out + used, size - used, waits_for);
    if (rest >= 0 && done < total)
        used += (size_t)snprintf(out + used, size - used, ", ETA %s", qb_text_seconds(rest, a));
    return used;
}

void qb_progress_json(FILE *f, const struct qb_meter *meter, size_t total, struct qb_elapsed e)
{
    struct qb_json o = qb_json_object();
    double share = share_of(meter, total), rest = rest_seconds(meter, share, &e);

    qb_json_text(&o, "type", "progress");
    qb_json_number(&o, "images", total);
    qb_json_number(&o, "done", atomic_load(&meter->done));
    qb_json_number(&o, "failed", atomic_load(&meter->failed));
    qb_json_real(&o, "share", total && atomic_load(&meter->done) == total ? 1 : share);
    qb_json_real(&o, "elapsed_seconds", e.seconds);
    if (rest >= 0)
        qb_json_real(&o, "eta_seconds", rest);
    else
        qb_json_null(&o, "eta_seconds");
    qb_json_text(&o, "waits_for", qb_waiting_name(atomic_load(&meter->waits)));
    if (atomic_load(&meter->steps)) {
        qb_json_number(&o, "step", atomic_load(&meter->step));
        qb_json_number(&o, "steps", atomic_load(&meter->steps));
    }
    qb_json_number(&o, "clusters", atomic_load(&meter->clusters));
    qb_json_number(&o, "written_bytes", atomic_load(&meter->written));
    qb_json_number(&o, "planned_bytes", atomic_load(&meter->planned));
    qb_json_line(f, o);
    fflush(f);
}
