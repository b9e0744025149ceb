/* Metrics of the last run of a manifest, for the textfile collector of Prometheus' node exporter.
 *
 * The collector's rules: the file appears whole, ends in .prom, has no timestamps of samples, and
 * all files agree on the help of a metric.  Every status and error is there, also at 0, so that a
 * rule that watches one never looks at a series that is missing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shard/shard.h"
#include "sink/metrics.h"
#include "util/text.h"

static const char *name_of(const struct qb_batch *batch, bool of_check)
{
    return batch->name ? batch->name : of_check ? "images" : "amend";
}

/* ---- the file's name ------------------------------------------------------------------------- */

/* FNV-1a: two names that differ in what a file name cannot hold shall not be one. */
static unsigned fingerprint(const char *s)
{
    uint32_t h = 2166136261u;

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

/* A check has a file of its own: what it says does not replace what a run said.  So has each shard,
 * whose series differ by their label. */
static char *place(const char *folder, const struct qb_batch *batch, bool of_check)
{
    static const char *const kept = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                    "._-";
    const char *name = name_of(batch, of_check);
    struct qb_shard shard = batch->origin.shard;
    char plain[101], print[12] = "", part[40] = "", *path = NULL;
    struct stat st;
    size_t n = 0;

    if (stat(folder, &st) < 0)
        return NULL;
    if (!S_ISDIR(st.st_mode))
        return errno = ENOTDIR, NULL;
    for (; name[n] && n < sizeof(plain) - 1; n++)
        plain[n] = name[n];
    plain[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if (!strchr(kept, plain[i]))
            plain[i] = '_';
    if (strcmp(plain, name) != 0)
        snprintf(print, sizeof(print), "-%08x", fingerprint(name));
    if (shard.of)
        snprintf(part, sizeof(part), "-shard-%u-of-%u", shard.number, shard.of);
    return asprintf(&path, "%s/qbatch-%s%s%s%s.prom", folder, plain, print, part,
                    of_check ? "-check" : "") < 0
               ? NULL
               : path;
}

/* ---- samples --------------------------------------------------------------------------------- */

static void put_label_text(FILE *f, const char *s)
{
    while (*s) {
        size_t len = qb_text_utf8(s);

        if (*s == '\\' || *s == '"')
            fprintf(f, "\\%c", *s);
        else if (*s == '\n')
            fputs("\\n", f);
        else
            fwrite(len ? s : "\xef\xbf\xbd", 1, len ? len : 3, f);
        s += len ? len : 1;
    }
}

void qb_metrics_begin(const struct qb_metrics *m, const char *metric, const char *help)
{
    fprintf(m->f, "# HELP qbatch_%s %s\n# TYPE qbatch_%s gauge\n", metric, help, metric);
}

void qb_metrics_sample(const struct qb_metrics *m, const char *metric, const char *label,
                       const char *value, double d)
{
    char shard[QB_SHARD_TEXT];

    fprintf(m->f, "qbatch_%s{manifest=\"", metric);
    put_label_text(m->f, m->name);
    fputc('"', m->f);
    if (m->shard.of)
        fprintf(m->f, ",shard=\"%s\"", qb_shard_text(m->shard, shard));
    if (label)
        fprintf(m->f, ",%s=\"%s\"", label, value);
    fprintf(m->f, "} %.15g\n", d);
}

void qb_metrics_single(const struct qb_metrics *m, const char *metric, const char *help, double d)
{
    qb_metrics_begin(m, metric, help);
    qb_metrics_sample(m, metric, NULL, NULL, d);
}

static void put_images(const struct qb_metrics *m, const struct qb_summary *sum)
{
    qb_metrics_begin(m, "last_run_images", "Images of the last run, by what became of them.");
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        qb_metrics_sample(m, "last_run_images", "status", qb_status_names[i],
                          (double)sum->by_status[i]);
    qb_metrics_begin(m, "last_run_errors", "Images of the last run with an error, by its code.");
    for (int i = QB_E_NONE + 1; i < QB_E_COUNT; i++)
        qb_metrics_sample(m, "last_run_errors", "code", qb_code_name((enum qb_code)i),
                          (double)sum->by_code[i]);
}

/* Of a rollout: where it is, so that one that waits for an answer can be alerted of. */
static void put_rollout(const struct qb_metrics *m, const struct qb_rollout_sum *rollout)
{
    if (!rollout->n)
        return;
    qb_metrics_single(m, "last_run_rollout_steps", "Steps of the last run's rollout.", rollout->n);
    qb_metrics_single(m, "last_run_rollout_step", "The last of them that was begun.",
                      rollout->step + 1);
    qb_metrics_begin(
        m, "last_run_rollout_verdict",
        "The verdict on that step: 1 for the one that it is, none while it is not judged.");
    for (int i = 0; i < QB_GATE_COUNT; i++)
        qb_metrics_sample(m, "last_run_rollout_verdict", "verdict", qb_gate_names[i],
                          rollout->steps[rollout->step].verdict == (enum qb_gate_says)i);
}

static void put_io(const struct qb_metrics *m, const struct qb_io_stats *io)
{
    qb_metrics_single(m, "last_run_read_bytes", "Bytes the last run read from images.",
                      (double)io->read_bytes);
    qb_metrics_single(m, "last_run_written_bytes", "Bytes the last run wrote to images.",
                      (double)io->write_bytes);
    qb_metrics_single(m, "last_run_zeroed_bytes",
                      "Bytes the last run made read zero without writing them.",
                      (double)io->zeroed_bytes);
    qb_metrics_single(m, "last_run_read_operations", "Reads of the last run.",
                      (double)io->read_ops);
    qb_metrics_single(m, "last_run_write_operations", "Writes of the last run.",
                      (double)io->write_ops);
}

static double end_of(const struct qb_telling *t)
{
    return t->sum->started + t->sum->seconds;
}

/* What the file that is replaced said of this manifest: its last success.  Without one, 0. */
static double last_success(const char *path)
{
    static const char metric[] = "qbatch_last_success_timestamp_seconds{";
    FILE *f = path ? fopen(path, "re") : NULL;
    double at = 0;
    char line[1024];

    while (f && fgets(line, sizeof(line), f)) {
        const char *value = strrchr(line, ' ');

        if (strncmp(line, metric, sizeof(metric) - 1) == 0 && value)
            at = strtod(value + 1, NULL);
    }
    if (f)
        fclose(f);
    return at > 0 && at < 1e12 ? at : 0;
}

struct state {
    struct qb_metrics_check check; /* of a check; first: its functions are given the state */
    double last_success;
};

/* The file may not be opened later. */
static void opened(struct qb_sink *s)
{
    ((struct state *)s->state)->last_success = last_success(s->file.path);
}

/* A dry run changes nothing, so it does not count as the success that an alert waits for. */
static void put_success(const struct qb_sink *s, const struct qb_metrics *m,
                        const struct qb_telling *t)
{
    bool success = t->exit_code == QB_EXIT_OK && !t->sum->dry_run;

    qb_metrics_single(
        m, "last_success_timestamp_seconds",
        "When a run that was no dry run last ended with exit code 0, in unixtime; 0 if none "
        "did.",
        success ? end_of(t) : ((const struct state *)s->state)->last_success);
}

/* The run, with the manifest's labels as labels of the metric. */
static void put_info(const struct qb_metrics *m, const struct qb_batch *batch)
{
    char shard[QB_SHARD_TEXT];

    qb_metrics_begin(m, "last_run_origin",
                     "The last run, its caller and the labels of its manifest; always 1.");
    fputs("qbatch_last_run_origin{manifest=\"", m->f);
    put_label_text(m->f, m->name);
    if (batch->origin.shard.of)
        fprintf(m->f, "\",shard=\"%s", qb_shard_text(batch->origin.shard, shard));
    fputs("\",run=\"", m->f);
    put_label_text(m->f, batch->run_id);
    fputs("\",caller=\"", m->f);
    put_label_text(m->f, batch->origin.caller ? batch->origin.caller : "");
    fputc('"', m->f);
    for (size_t i = 0; i < batch->origin.labels.n; i++) {
        fprintf(m->f, ",label_%s=\"", batch->origin.labels.items[i].key);
        put_label_text(m->f, batch->origin.labels.items[i].value);
        fputc('"', m->f);
    }
    fputs("} 1\n", m->f);
}

static void image(struct qb_sink *s, const struct qb_telling *t, size_t job,
                  const struct qb_outcome *outcome, const struct qb_sink_text *text)
{
    (void)s, (void)t, (void)job, (void)outcome, (void)text; /* counted for all */
}

static void end(struct qb_sink *s, const struct qb_telling *t)
{
    const struct qb_summary *sum = t->sum;
    struct qb_metrics m = {s->file.f, name_of(t->batch, false), t->batch->origin.shard};

    qb_metrics_single(
        &m, "last_run_exit_code",
        "Exit code of the last run: 0 all have the requested properties, 1 some failed, 3 some "
        "skipped, 4 changes "
        "pending, 5 an amended image failed verification, 75 interrupted.",
        t->exit_code);
    qb_metrics_single(&m, "last_run_dry_run", "Whether the last run only planned.", sum->dry_run);
    qb_metrics_single(
        &m, "last_run_owner_must_read",
        "Whether the last run opened only backing files that the owners of images could read.",
        !t->batch->policy.owner_need_not_read);
    qb_metrics_single(&m, "last_run_start_timestamp_seconds",
                      "When the last run began, in unixtime.", sum->started);
    qb_metrics_single(&m, "last_run_end_timestamp_seconds", "When the last run ended, in unixtime.",
                      sum->started + sum->seconds);
    qb_metrics_single(&m, "last_run_duration_seconds", "How long the last run took.", sum->seconds);
    put_success(s, &m, t);
    put_info(&m, t->batch);
    put_images(&m, sum);
    put_rollout(&m, &sum->rollout);
    qb_metrics_single(&m, "last_run_leaked_clusters",
                      "Leaked clusters found in images of the last run.",
                      (double)sum->leaked_clusters);
    qb_metrics_single(&m, "last_run_leaked_bytes",
                      "Bytes of leaked clusters found in images of the last run.",
                      (double)sum->leaked_bytes);
    put_io(&m, &sum->io);
}

static void checked_end(struct qb_sink *s, const struct qb_check_telling *t)
{
    const struct qb_metrics m = {s->file.f, name_of(t->batch, true), t->batch->origin.shard};

    qb_metrics_check_end(&m, s->state, t);
}

extern const struct qb_sink_kind qb_sink_prometheus;

const struct qb_sink_kind qb_sink_prometheus = {
    .what = "metrics",
    .begins = "# HELP qbatch_",
    .state_size = sizeof(struct state),
    .opened = opened,
    .place = place,
    .image = image,
    .end = end,
    .checked = qb_metrics_checked,
    .checked_take = qb_metrics_check_take,
    .checked_end = checked_end,
};
