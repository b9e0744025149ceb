/* The joblog: a row an image, in the columns that GNU parallel gives its own, so that what reads
 * those reads these.  Send and Receive are the bytes written to the image and read from it, and the
 * command is the image's path, quoted as a shell would want it: a row is always one line. */
#include <string.h>

#include "batch/sinks.h"
#include "batch/text.h"

static bool is_plain(const char *s)
{
    static const char *const plain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "%+,-./:=@_";

    return *s && s[strspn(s, plain)] == '\0';
}

/* $'...' holds whatever a name may hold. */
static bool needs_escapes(const char *s)
{
    for (size_t len; *s; s += len) {
        len = qb_text_utf8(s);
        if (len == 0 || (len == 1 && ((unsigned char)*s < 0x20 || *s == 0x7f)))
            return true;
    }
    return false;
}

static void put_escaped(FILE *f, const char *s)
{
    fputs("$'", f);
    while (*s) {
        size_t len = qb_text_utf8(s);
        unsigned char c = (unsigned char)*s;

        if (len > 1)
            fwrite(s, 1, len, f);
        else if (len == 0 || c < 0x20 || c == 0x7f)
            fprintf(f, "\\%03o", c);
        else
            fprintf(f, "%s%c", c == '\'' || c == '\\' ? "\\" : "", c);
        s += len ? len : 1;
    }
    fputc('\'', f);
}

static void put_quoted(FILE *f, const char *s)
{
    if (is_plain(s)) {
        fputs(s, f);
        return;
    }
    if (needs_escapes(s)) {
        put_escaped(f, s);
        return;
    }
    fputc('\'', f);
    for (; *s; s++)
        if (*s == '\'')
            fputs("'\\''", f);
        else
            fputc(*s, f);
    fputc('\'', f);
}

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

static void image(struct qb_sink *s, const struct qb_telling *t, size_t job,
                  const struct qb_outcome *outcome)
{
    const struct qb_result *r = &outcome->result;
    const struct qb_timing *timing = &outcome->timing;

    if (job == 0)
        put_header(s->file.f);
    fprintf(s->file.f, "%zu\t:\t%.3f\t%10.3f\t%llu\t%llu\t%d\t0\t", job + 1,
            t->sum->started + timing->started_seconds, timing->seconds,
            (unsigned long long)r->io.write_bytes, (unsigned long long)r->io.read_bytes,
            exit_value(r));
    put_quoted(s->file.f, t->batch->jobs[job].path);
    fputc('\n', s->file.f);
}

static void end(struct qb_sink *s, const struct qb_telling *t)
{
    if (t->sum->images == 0)
        put_header(s->file.f);
}

extern const struct qb_sink_kind qb_sink_joblog;

const struct qb_sink_kind qb_sink_joblog = {
    .option = QB_OPTION_JOBLOG,
    .what = "joblog",
    .begins = "Seq\tHost\t",
    .image = image,
    .end = end,
};
