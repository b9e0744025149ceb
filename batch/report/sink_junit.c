/* JUnit's XML, which programs that build and test read: the run is a test suite, an image a test
 * case.  A failed image is a failure, one that was interrupted an error. */
#include "util/xml.h"
#include "report/sinks.h"
#include "report/change_text.h"
#include "util/text.h"

static const char *name_of(const struct qb_batch *batch)
{
    return batch->name ? batch->name : "qbatch amend";
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

static void image(struct qb_sink *s, const struct qb_telling *t, size_t job,
                  const struct qb_outcome *outcome)
{
    const struct qb_result *r = &outcome->result;

    fputs("    <testcase", s->body);
    attribute(s->body, "name", t->batch->jobs[job].path);
    attribute(s->body, "classname", name_of(t->batch));
    fprintf(s->body, " time=\"%.6f\">", outcome->timing.seconds);
    if (r->err.code != QB_E_NONE)
        put_complaint(s->body, t->batch, &t->batch->jobs[job], r);
    else if (r->status != QB_STATUS_UNCHANGED)
        put_output(s->body, r);
    fputs("</testcase>\n", s->body);
}

static void put_totals(FILE *f, const struct qb_telling *t)
{
    const struct qb_summary *sum = t->sum;

    attribute(f, "name", name_of(t->batch));
    fprintf(f, " tests=\"%llu\" failures=\"%llu\" errors=\"%llu\" skipped=\"%llu\" time=\"%.6f\"",
            (unsigned long long)sum->images, (unsigned long long)sum->by_status[QB_STATUS_FAILED],
            (unsigned long long)sum->by_status[QB_STATUS_INTERRUPTED],
            (unsigned long long)sum->by_status[QB_STATUS_SKIPPED], sum->seconds);
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

static void end(struct qb_sink *s, const struct qb_telling *t)
{
    FILE *f = s->file.f, *body = s->body;
    char at[QB_TEXT_NUMBER];

    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites", f);
    put_totals(f, t);
    fputs(">\n  <testsuite", f);
    put_totals(f, t);
    if (*qb_text_time(t->sum->started, at)) {
        at[19] = '\0'; /* without the Z: readers expect a time without a zone */
        attribute(f, "timestamp", at);
    }
    if (t->batch->origin.host)
        attribute(f, "hostname", t->batch->origin.host);
    fputs(">\n", f);
    put_properties(f, t->batch);
    s->body = NULL;
    qb_outfile_pour(&s->file, body);
    fputs("  </testsuite>\n</testsuites>\n", f);
}

extern const struct qb_sink_kind qb_sink_junit;

const struct qb_sink_kind qb_sink_junit = {
    .what = "JUnit report",
    .begins = "<?xml",
    .wants_body = true,
    .image = image,
    .end = end,
};
