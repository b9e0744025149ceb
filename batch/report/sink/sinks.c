#include "sink/sinks.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "util/text.h"

#define SINK(name, OPTION) extern const struct qb_sink_kind qb_sink_##name;
#include "sink/sinks.def"
#undef SINK

static const struct qb_sink_kind *const kinds[QB_SINK_COUNT] = {
#define SINK(name, OPTION) [QB_SINK_##name] = &qb_sink_##name,
#include "sink/sinks.def"
#undef SINK
};

static void drop(struct qb_sink *s)
{
    if (s->kind->drop && s->state)
        s->kind->drop(s);
    free(qb_take(&s->state));
    if (s->body)
        fclose(qb_take(&s->body));
    qb_outfile_drop(&s->file);
    s->kind = NULL;
}

static int complain(const char *what, const char *path, const char *why)
{
    fprintf(stderr, "qbatch: %s ", what);
    qb_text_safe(stderr, path);
    fprintf(stderr, ": %s\n", why);
    return -1;
}

/* Two files of one name would be one. */
static int check_alone(struct qb_sinks *sinks, const struct qb_sink *s, const char *path)
{
    qb_sinks_each(other, sinks)
    {
        if (other != s && qb_outfile_same(&other->file, &s->file))
            return complain(s->kind->what, path, "another output has the same name");
    }
    return 0;
}

/* The images are the run's; one that was not looked at yet is looked at now. */
static const char *is_image(const void *arg, const struct stat *st)
{
    const struct qb_batch *batch = arg;
    struct stat seen;

    for (size_t i = 0; i < batch->n_jobs; i++) {
        const struct qb_job *job = &batch->jobs[i];

        if (job->ino ? job->ino == st->st_ino && job->dev == st->st_dev
                     : stat(job->path, &seen) == 0 && seen.st_ino == st->st_ino &&
                           seen.st_dev == st->st_dev)
            return "an image of the run";
    }
    return NULL;
}

static int open_file(struct qb_sink *s, const char *argument, const struct qb_batch *batch,
                     bool of_check)
{
    QB_AUTO(qb_buf)
    char *placed = s->kind->place ? s->kind->place(argument, batch, of_check) : NULL;

    if (s->kind->place && !placed)
        return complain(s->kind->what, argument, strerror(errno));
    return qb_outfile_open(&s->file, placed ? placed : argument,
                           (struct qb_outfile_rules){.what = s->kind->what,
                                                     .begins = s->kind->begins,
                                                     .manifest = batch->manifest_path,
                                                     .streams = s->kind->streams,
                                                     .is_taken = is_image,
                                                     .arg = batch});
}

static int open_sink(struct qb_sinks *sinks, struct qb_sink *s, const char *argument,
                     const struct qb_batch *batch, bool of_check)
{
    if (open_file(s, argument, batch, of_check) < 0 || check_alone(sinks, s, argument) < 0)
        return -1;
    s->state = s->kind->state_size ? calloc(1, s->kind->state_size) : NULL;
    s->body = s->kind->wants_body ? qb_outfile_spill(&s->file) : NULL;
    if ((s->kind->state_size && !s->state) || (s->kind->wants_body && !s->body))
        return complain(s->kind->what, argument, strerror(errno));
    if (s->kind->opened)
        s->kind->opened(s);
    return 0;
}

bool qb_sinks_offer(struct qb_sinks *sinks, struct qb_errands *errands, struct qb_helper *helper)
{
    bool any = false;

    qb_sinks_each(s, sinks) any |= qb_outfile_offer(&s->file, errands, helper);
    return any;
}

int qb_sinks_open(struct qb_sinks *sinks, const char *const arguments[QB_SINK_COUNT],
                  const struct qb_batch *batch, bool of_check)
{
    *sinks = (struct qb_sinks){0};
    for (size_t i = 0; i < QB_SINK_COUNT; i++) {
        if (!arguments[i])
            continue;
        sinks->of[i].kind = kinds[i];
        if (open_sink(sinks, &sinks->of[i], arguments[i], batch, of_check) == 0)
            continue;
        qb_sinks_each(s, sinks) drop(s);
        return -1;
    }
    return 0;
}

static void look(struct qb_sink *s)
{
    qb_outfile_look(&s->file, s->file.f);
    if (s->kind->wants_body)
        qb_outfile_look(&s->file, s->body);
}

bool qb_sinks_want_composed(const struct qb_sinks *sinks)
{
    for (size_t i = 0; i < QB_SINK_COUNT; i++)
        if (sinks->of[i].kind && sinks->of[i].kind->compose)
            return true;
    return false;
}

static_assert((int)QB_SINK_COUNT < (int)QB_COMPOSED_MAX, "one is left for standard output");

void qb_sinks_compose(const struct qb_sinks *sinks, const struct qb_telling *t, size_t job,
                      const struct qb_outcome *outcome, struct qb_composed *composed)
{
    for (size_t i = 0; i < QB_SINK_COUNT; i++) {
        const struct qb_sink_kind *kind = sinks->of[i].kind;

        if (kind && kind->compose)
            composed->texts[i] = kind->compose(t, job, outcome, &composed->lens[i]);
    }
}

static void take_text(struct qb_sink *s, const struct qb_telling *t, size_t job,
                      const struct qb_outcome *outcome, const struct qb_sink_text *text)
{
    if (s->kind->image)
        s->kind->image(s, t, job, outcome, text);
    else
        fwrite(text->text, 1, text->len, s->file.f);
}

/* A line that cannot be made, for want of memory, is not seen in the FILE. */
static void compose_and_take(struct qb_sink *s, const struct qb_telling *t, size_t job,
                             const struct qb_outcome *outcome)
{
    struct qb_sink_text text = {0};

    text.text = s->kind->compose(t, job, outcome, &text.len);
    if (text.text)
        take_text(s, t, job, outcome, &text);
    else if (s->file.errnum == 0)
        s->file.errnum = errno ? errno : ENOMEM;
    free(text.text);
}

void qb_sinks_image(struct qb_sinks *sinks, const struct qb_telling *t, size_t job,
                    const struct qb_outcome *outcome)
{
    const struct qb_composed none = {0}, *c = outcome->composed ? outcome->composed : &none;

    qb_sinks_each(s, sinks)
    {
        size_t i = (size_t)(s - sinks->of);

        errno = 0;
        if (!s->kind->compose)
            s->kind->image(s, t, job, outcome, NULL);
        else if (c->texts[i])
            take_text(s, t, job, outcome, &(struct qb_sink_text){c->texts[i], c->lens[i]});
        else
            compose_and_take(s, t, job, outcome);
        look(s);
    }
}

void qb_sinks_flush(struct qb_sinks *sinks)
{
    qb_sinks_each(s, sinks)
    {
        errno = 0;
        if (s->kind->streams && fflush(s->file.f) != 0)
            qb_outfile_look(&s->file, NULL);
    }
}

char *qb_sink_text_end(FILE *f, char **text)
{
    if (fclose(f) == 0)
        return *text;
    free(*text);
    return NULL;
}

int qb_sink_commit(struct qb_sink *s)
{
    int r;

    qb_outfile_look(&s->file, s->file.f);
    r = qb_outfile_commit(&s->file);
    drop(s);
    return r;
}

int qb_sinks_end(struct qb_sinks *sinks, const struct qb_telling *t)
{
    int r = 0;

    qb_sinks_each(s, sinks)
    {
        errno = 0;
        s->kind->end(s, t);
        if (qb_sink_commit(s) < 0)
            r = -1;
    }
    return r;
}

void qb_sinks_abort(struct qb_sinks *sinks, const char *why)
{
    qb_sinks_each(s, sinks)
    {
        if (s->kind->abort) {
            s->kind->abort(s, why);
            qb_outfile_commit(&s->file);
        }
        drop(s);
    }
}
