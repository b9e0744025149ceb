/* The sinks for programs that read JSON: a line for each image, and the summary. */
#include "record/joined_shards.h"
#include "record/report_json.h"
#include "sink/sinks.h"

#include <errno.h>

/* A line that could not be made, for want of memory, is not seen in the FILE. */
static void note(struct qb_sink *s, int failed)
{
    if (failed && s->file.errnum == 0)
        s->file.errnum = errno ? errno : EIO;
}

static char *report_compose(const struct qb_telling *t, size_t job,
                            const struct qb_outcome *outcome, size_t *len)
{
    return qb_json_take(qb_json_image(t->batch, &t->batch->jobs[job], outcome, t->of, false), len);
}

/* A shard may have no image, and one that was killed is not whole: whoever joins the shards of a
 * fleet sees by this line that the shard was there, and came to its end.  The steps of a rollout,
 * and what people asked of the run, are in no other line. */
static void report_end(struct qb_sink *s, const struct qb_telling *t)
{
    if (t->batch->origin.shard.of || t->sum->rollout.n ||
        t->sum->orders.n) /* else its last line is that of the last image */
        note(s, qb_line_summary(s->file.f, t->batch, t->sum, t->foresight, t->exit_code));
}

static int report_checked(FILE *f, const struct qb_batch *batch, const struct qb_checked *checked)
{
    (void)batch;
    return qb_line_checked(f, checked);
}

static void report_checked_end(struct qb_sink *s, const struct qb_check_telling *t)
{
    (void)s, (void)t; /* as report_end */
}

static void summary_image(struct qb_sink *s, const struct qb_telling *t, size_t job,
                          const struct qb_outcome *outcome, const struct qb_sink_text *text)
{
    (void)s, (void)t, (void)job, (void)outcome, (void)text; /* counted for all */
}

static void summary_end(struct qb_sink *s, const struct qb_telling *t)
{
    if (t->shards && t->shards->of)
        note(s, qb_line_total(s->file.f, t, t->exit_code));
    else
        note(s, qb_line_summary(s->file.f, t->batch, t->sum, t->foresight, t->exit_code));
}

static void summary_checked_end(struct qb_sink *s, const struct qb_check_telling *t)
{
    note(s, qb_line_check_summary(s->file.f, t->sum, t->exit_code));
}

static void summary_abort(struct qb_sink *s, const char *why)
{
    note(s, qb_line_abort(s->file.f, why, 2));
}

extern const struct qb_sink_kind qb_sink_report, qb_sink_summary;

const struct qb_sink_kind qb_sink_report = {
    .what = "report",
    .begins = "{",
    .streams = true,
    .compose = report_compose,
    .end = report_end,
    .checked = report_checked,
    .checked_end = report_checked_end,
};

const struct qb_sink_kind qb_sink_summary = {
    .what = "summary",
    .begins = "{\"type\":\"summary\"",
    .image = summary_image,
    .end = summary_end,
    .checked_end = summary_checked_end,
    .abort = summary_abort,
};
