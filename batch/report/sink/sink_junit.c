/* JUnit's XML, which programs that build and test read: the run is a test suite, an image a test
 * case.  A failed image is a failure, one that was interrupted an error.  Of a check, any image
 * that is not without errors is a failure: it is corrupt, has leaks, or could not be checked. */
#include <stdlib.h>

#include "base/own.h"
#include "util/xml.h"
#include "sink/sinks.h"
#include "text/change_text.h"
#include "text/check_text.h"
#include "util/text.h"

#define RUN   "qbatch amend"
#define CHECK "qbatch check"

struct totals {
    const char *name;
    uint64_t tests, failures, errors, skipped;
    double seconds;
};

static const char *name_of(const struct qb_batch *batch, const char *command)
{
    return batch->name ? batch->name : command;
}

static void attribute(FILE *f, const char *name, const char *value)
{
    fprintf(f, " %s=\"", name);
    qb_markup_text(f, value);
    fputc('"', f);
}

static const char *element_of(enum qb_status status)
{
    return status == QB_STATUS_SKIPPED       ? "skipped"
           : status == QB_STATUS_INTERRUPTED ? "error"
                                             : "failure";
}

static void put_complaint(FILE *f, const struct qb_batch *batch, const struct qb_job *job,
                          const struct qb_result *r)
{
    const char *element = element_of(r->status);

    fprintf(f, "<%s", element);
    if (r->status != QB_STATUS_SKIPPED) /* which has no type */
        attribute(f, "type", qb_code_name(r->err.code));
    attribute(f, "message", r->err.text);
    fprintf(f, ">%s: ", qb_code_name(r->err.code));
    qb_markup_text(f, r->err.text);
    if (r->err.offset != QB_NOWHERE)
        fprintf(f, "\nat byte 0x%llx of the image", (unsigned long long)r->err.offset);
    if (batch->manifest_path && job->line) {
        fputc('\n', f);
        qb_markup_text(f, batch->manifest_path);
        fprintf(f, ":%u", job->line);
    }
    if (*qb_code_hint(r->err.code))
        fprintf(f, "\nhint: %s", qb_code_hint(r->err.code));
    fprintf(f, "</%s>", element);
}

static void put_output(FILE *f, const struct qb_result *r)
{
    char changes[4096];
    char room[QB_NOTE_ROOM];
    const char *note;

    fprintf(f, "<system-out>%s: ", qb_status_words[r->status]);
    qb_markup_text(f, qb_table_changes(r, changes, sizeof(changes)));
    for (unsigned i = 0; (note = qb_report_note(r, i, room)) != NULL; i++) {
        fputs("\nnote: ", f);
        qb_markup_text(f, note);
    }
    fputs("</system-out>", f);
}

static void begin_case(FILE *f, const char *path, const char *name, double seconds)
{
    fputs("    <testcase", f);
    attribute(f, "name", path);
    attribute(f, "classname", name);
    fprintf(f, " time=\"%.6f\">", seconds);
}

static void image(struct qb_sink *s, const struct qb_telling *t, size_t job,
                  const struct qb_outcome *outcome, const struct qb_sink_text *text)
{
    const struct qb_result *r = &outcome->result;

    (void)text;
    begin_case(s->body, t->batch->jobs[job].path, name_of(t->batch, RUN), outcome->timing.seconds);
    if (r->err.code != QB_E_NONE)
        put_complaint(s->body, t->batch, &t->batch->jobs[job], r);
    else if (r->status != QB_STATUS_UNCHANGED)
        put_output(s->body, r);
    fputs("</testcase>\n", s->body);
}

/* ---- of a check ------------------------------------------------------------------------------ */

/* "corrupt: 3 refcount_too_low, 1 cluster_leaked" */
static void put_message(FILE *f, const struct qb_checked *c)
{
    const char *before = ": ";

    fprintf(f, " message=\"%s", qb_verdict_names[qb_checked_verdict(c)]);
    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++) {
        if (!c->of_code[i])
            continue;
        fprintf(f, "%s%llu %s", before, (unsigned long long)c->of_code[i], qb_defects[i].name);
        before = ", ";
    }
    fputc('"', f);
}

/* What `qbatch check` prints of the image. */
static int put_findings(FILE *f, const struct qb_checked *c)
{
    QB_AUTO(qb_buf) char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return -1;
    qb_checked_print(out, c, false);
    if (fclose(out) != 0)
        return -1;
    qb_markup_text(f, text);
    return 0;
}

static int checked(FILE *f, const struct qb_batch *batch, const struct qb_checked *c)
{
    enum qb_verdict verdict = qb_checked_verdict(c);
    const struct qb_failure *err = qb_checked_failure(c);
    int r = 0;

    begin_case(f, c->path, name_of(batch, CHECK), c->seconds);
    if (verdict != QB_VERDICT_CLEAN) {
        fputs("<failure", f);
        attribute(f, "type",
                  verdict == QB_VERDICT_UNCHECKED ? qb_code_name(err->code)
                                                  : qb_verdict_names[verdict]);
        if (verdict == QB_VERDICT_UNCHECKED)
            attribute(f, "message", err->text);
        else
            put_message(f, c);
        fputc('>', f);
        if (err->code != QB_E_NONE) {
            fprintf(f, "%s: ", qb_code_name(err->code));
            qb_markup_text(f, err->text);
            fputc('\n', f);
        }
        r = put_findings(f, c);
        fputs("</failure>", f);
    }
    fputs("</testcase>\n", f);
    return r;
}

/* ---- all ------------------------------------------------------------------------------------- */

static void put_totals(FILE *f, const struct totals *t)
{
    attribute(f, "name", t->name);
    fprintf(f, " tests=\"%llu\" failures=\"%llu\" errors=\"%llu\" skipped=\"%llu\" time=\"%.6f\"",
            (unsigned long long)t->tests, (unsigned long long)t->failures,
            (unsigned long long)t->errors, (unsigned long long)t->skipped, t->seconds);
}

static void property(FILE *f, const char *prefix, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    fputs("      <property name=\"", f);
    qb_markup_text(f, prefix);
    qb_markup_text(f, name);
    fputc('"', f);
    attribute(f, "value", value);
    fputs("/>\n", f);
}

static void put_properties(FILE *f, const struct qb_batch *batch)
{
    fputs("    <properties>\n", f);
    property(f, "", "run", batch->run_id);
    property(f, "", "manifest", batch->manifest_path);
    property(f, "", "caller", batch->origin.caller);
    property(f, "", "command", batch->origin.command);
    property(f, "", "policy.owner_must_read", batch->policy.owner_need_not_read ? "off" : NULL);
    for (size_t k = 0; k < batch->origin.labels.n; k++)
        property(f, "label.", batch->origin.labels.items[k].key,
                 batch->origin.labels.items[k].value);
    fputs("    </properties>\n", f);
}

static void put_file(struct qb_sink *s, const struct qb_batch *batch, double started,
                     const struct totals *totals)
{
    FILE *f = s->file.f, *body = s->body;
    char at[QB_TEXT_NUMBER];

    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites", f);
    put_totals(f, totals);
    fputs(">\n  <testsuite", f);
    put_totals(f, totals);
    if (*qb_text_time(started, at)) {
        at[19] = '\0'; /* without the Z: readers expect a time without a zone */
        attribute(f, "timestamp", at);
    }
    if (batch->origin.host)
        attribute(f, "hostname", batch->origin.host);
    fputs(">\n", f);
    put_properties(f, batch);
    s->body = NULL;
    qb_outfile_pour(&s->file, body);
    fputs("  </testsuite>\n</testsuites>\n", f);
}

static void end(struct qb_sink *s, const struct qb_telling *t)
{
    const struct qb_summary *sum = t->sum;

    put_file(s, t->batch, sum->started,
             &(struct totals){.name = name_of(t->batch, RUN),
                              .tests = sum->images,
                              .failures = sum->by_status[QB_STATUS_FAILED],
                              .errors = sum->by_status[QB_STATUS_INTERRUPTED],
                              .skipped = sum->by_status[QB_STATUS_SKIPPED],
                              .seconds = sum->seconds});
}

static void checked_end(struct qb_sink *s, const struct qb_check_telling *t)
{
    const struct qb_check_summary *sum = t->sum;

    put_file(s, t->batch, t->batch->origin.started,
             &(struct totals){.name = name_of(t->batch, CHECK),
                              .tests = sum->images,
                              .failures = sum->images - sum->of[QB_VERDICT_CLEAN],
                              .seconds = sum->seconds});
}

extern const struct qb_sink_kind qb_sink_junit;

const struct qb_sink_kind qb_sink_junit = {
    .what = "JUnit report",
    .begins = "<?xml",
    .wants_body = true,
    .image = image,
    .end = end,
    .checked = checked,
    .checked_end = checked_end,
};
