#include <errno.h>

#include "sink/sinks.h"

bool qb_sinks_want_checked(const struct qb_sinks *sinks)
{
    for (size_t i = 0; i < QB_SINK_COUNT; i++)
        if (sinks->of[i].kind && sinks->of[i].kind->checked)
            return true;
    return false;
}

static bool make_text(const struct qb_sink_kind *kind, const struct qb_batch *batch,
                      const struct qb_checked *checked, struct qb_sink_text *out)
{
    FILE *f = open_memstream(&out->text, &out->len);
    int r = f ? kind->checked(f, batch, checked) : -1;

    return f && fclose(f) == 0 && r == 0;
}

bool qb_sinks_checked_texts(const struct qb_sinks *sinks, const struct qb_batch *batch,
                            const struct qb_checked *checked,
                            struct qb_sink_text texts[QB_SINK_COUNT])
{
    bool all = true;

    for (size_t i = 0; i < QB_SINK_COUNT; i++) {
        const struct qb_sink_kind *kind = sinks->of[i].kind;

        if (kind && kind->checked)
            all &= make_text(kind, batch, checked, &texts[i]);
    }
    return all;
}

/* A file that lacks an image is not given its name. */
void qb_sinks_checked(struct qb_sinks *sinks, size_t job,
                      const struct qb_sink_text texts[QB_SINK_COUNT], bool lost)
{
    qb_sinks_each(s, sinks)
    {
        const struct qb_sink_text *t = &texts[s - sinks->of];
        FILE *f = s->kind->wants_body ? s->body : s->file.f;

        if (!s->kind->checked)
            continue;
        errno = 0;
        if (t->len && s->kind->checked_take)
            s->kind->checked_take(s, job, t);
        else if (t->len)
            fwrite(t->text, 1, t->len, f);
        qb_outfile_look(&s->file, f);
        if (lost && !s->file.errnum)
            s->file.errnum = ENOMEM;
    }
    qb_sinks_flush(sinks);
}

int qb_sinks_checked_end(struct qb_sinks *sinks, const struct qb_check_telling *t)
{
    int r = 0;

    qb_sinks_each(s, sinks)
    {
        errno = 0;
        s->kind->checked_end(s, t);
        if (qb_sink_commit(s) < 0)
            r = -1;
    }
    return r;
}
