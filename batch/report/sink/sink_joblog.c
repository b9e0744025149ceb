/* Writes the joblog: a row for each image, in the columns of GNU parallel's joblog, for programs
 * that read those.  Send and Receive are the bytes written to the image and read from it, and the
 * command is the image's path, quoted for a shell: a row is always one line. */
#include <string.h>

#include "sink/sinks.h"
#include "util/text.h"

/* The exit code that a run of this image alone would have. */
static int exit_value(const struct qb_result *r)
{
    struct qb_summary sum = {0};

    qb_summary_add(&sum, r);
    return qb_summary_exit_code(&sum, false);
}

static void put_header(FILE *f)
{
    fputs("Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n", f);
}

static char *compose(const struct qb_telling *t, size_t job, const struct qb_outcome *outcome,
                     size_t *len)
{
    const struct qb_result *r = &outcome->result;
    const struct qb_timing *timing = &outcome->timing;
    char *text = NULL;
    FILE *f = open_memstream(&text, len);

    if (!f)
        return NULL;
    fprintf(f, "%zu\t:\t%.3f\t%10.3f\t%llu\t%llu\t%d\t0\t", job + 1,
            t->sum->started + timing->started_seconds, timing->seconds,
            (unsigned long long)r->io.write_bytes, (unsigned long long)r->io.read_bytes,
            exit_value(r));
    qb_text_shell(f, t->batch->jobs[job].path);
    fputc('\n', f);
    return qb_sink_text_end(f, &text);
}

static void image(struct qb_sink *s, const struct qb_telling *t, size_t job,
                  const struct qb_outcome *outcome, const struct qb_sink_text *text)
{
    (void)t, (void)outcome;
    if (job == 0)
        put_header(s->file.f);
    fwrite(text->text, 1, text->len, s->file.f);
}

static void end(struct qb_sink *s, const struct qb_telling *t)
{
    if (t->sum->images == 0)
        put_header(s->file.f);
}

/* ---- of a check ------------------------------------------------------------------------------ */

/* The exit code that a check of this image alone would have. */
static int checked_value(const struct qb_checked *c)
{
    static const int values[QB_VERDICT_COUNT] = {[QB_VERDICT_CORRUPT] = 2,
                                                 [QB_VERDICT_UNCHECKED] = 1,
                                                 [QB_VERDICT_LEAKS] = 3,
                                                 [QB_VERDICT_CLEAN] = 0};

    return values[qb_checked_verdict(c)];
}

static int checked(FILE *f, const struct qb_batch *batch, const struct qb_checked *c)
{
    (void)batch;
    fprintf(f, "%zu\t:\t%.3f\t%10.3f\t0\t%llu\t%d\t0\t", c->job + 1, c->started, c->seconds,
            (unsigned long long)(c->result ? c->result->io.read_bytes : 0), checked_value(c));
    qb_text_shell(f, c->path);
    fputc('\n', f);
    return 0;
}

/* The first image may have been left out: the check was interrupted. */
static void begin(struct qb_sink *s)
{
    bool *begun = s->state;

    if (!*begun)
        put_header(s->file.f);
    *begun = true;
}

static void checked_take(struct qb_sink *s, size_t job, const struct qb_sink_text *text)
{
    (void)job;
    begin(s);
    fwrite(text->text, 1, text->len, s->file.f);
}

static void checked_end(struct qb_sink *s, const struct qb_check_telling *t)
{
    (void)t;
    begin(s);
}

extern const struct qb_sink_kind qb_sink_joblog;

const struct qb_sink_kind qb_sink_joblog = {
    .what = "joblog",
    .begins = "Seq\tHost\t",
    .state_size = sizeof(bool),
    .compose = compose,
    .image = image,
    .end = end,
    .checked = checked,
    .checked_take = checked_take,
    .checked_end = checked_end,
};
