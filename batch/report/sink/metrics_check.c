/* The metrics of a check.  Every verdict and finding is there, also at 0, as in those of a run. */
#include <errno.h>
#include <string.h>

#include "sink/metrics.h"

/* What a worker hands over of an image. */
struct note {
    uint64_t has[QB_DEFECT_COUNT]; /* 0 or 1 */
    uint64_t leaks, leaked_bytes;
};

int qb_metrics_checked(FILE *f, const struct qb_batch *batch, const struct qb_checked *c)
{
    struct note note = {0};

    (void)batch;
    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++)
        note.has[i] = c->of_code[i] > 0;
    if (c->counted) {
        note.leaks = c->result->leaks;
        note.leaked_bytes = c->result->info ? note.leaks * c->result->info->cluster_size : 0;
    }
    return fwrite(&note, sizeof(note), 1, f) == 1 ? 0 : -1;
}

void qb_metrics_check_take(struct qb_sink *s, size_t job, const struct qb_sink_text *text)
{
    struct qb_metrics_check *all = s->state;
    struct note note;

    (void)job;
    if (text->len != sizeof(note)) { /* whoever made it has read strangers' images */
        s->file.errnum = EBADMSG;
        return;
    }
    memcpy(&note, text->text, sizeof(note));
    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++)
        all->images_with[i] += note.has[i] != 0;
    all->leaks += note.leaks;
    all->leaked_bytes += note.leaked_bytes;
}

void qb_metrics_check_end(const struct qb_metrics *m, const struct qb_metrics_check *all,
                          const struct qb_check_telling *t)
{
    const struct qb_check_summary *sum = t->sum;
    double started = t->batch->origin.started;

    qb_metrics_single(
        m, "last_check_exit_code",
        "Exit code of the last check: 0 no errors, 1 some image could not be checked, "
        "2 some image is corrupt, 3 leaks only, 75 interrupted.",
        t->exit_code);
    qb_metrics_single(m, "last_check_start_timestamp_seconds",
                      "When the last check began, in unixtime.", started);
    qb_metrics_single(m, "last_check_end_timestamp_seconds",
                      "When the last check ended, in unixtime.", started + sum->seconds);
    qb_metrics_single(m, "last_check_duration_seconds", "How long the last check took.",
                      sum->seconds);
    qb_metrics_begin(m, "last_check_images", "Images of the last check, by what is wrong.");
    for (int i = 0; i < QB_VERDICT_COUNT; i++)
        qb_metrics_sample(m, "last_check_images", "status", qb_verdict_names[i],
                          (double)sum->of[i]);
    qb_metrics_begin(m, "last_check_images_with",
                     "Images of the last check that have a finding, by its code.");
    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++)
        qb_metrics_sample(m, "last_check_images_with", "code", qb_defects[i].name,
                          (double)all->images_with[i]);
    qb_metrics_single(m, "last_check_leaked_clusters", "Leaked clusters that the last check found.",
                      (double)all->leaks);
    qb_metrics_single(m, "last_check_leaked_bytes",
                      "Bytes of leaked clusters that the last check found.",
                      (double)all->leaked_bytes);
}
