/* Writes the answers of a check for programs, a line an image. */
#include "record/checked.h"
#include "record/report_json.h"
#include "record/report_json_lists.h"
#include "util/json.h"

static const char *const levels[] = {[QB_CHECK_REFCOUNTS] = "refcounts",
                                     [QB_CHECK_TABLES] = "tables",
                                     [QB_CHECK_HEADER] = "header",
                                     [QB_CHECK_CONTENT] = "content"};

static const char *const kinds[] = {
    [QB_FOUND_CORRUPTION] = "corruption", [QB_FOUND_LEAK] = "leak", [QB_FOUND_SIGN] = "sign"};

static void put_offset(struct qb_json *o, const char *key, uint64_t offset)
{
    if (offset == QB_NOWHERE)
        qb_json_null(o, key);
    else
        qb_json_number(o, key, offset);
}

/* All findings, by their codes. */
static void put_codes(struct qb_json *o, const struct qb_checked *c)
{
    struct qb_json codes = qb_json_object();

    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++)
        if (c->of_code[i])
            qb_json_number(&codes, qb_defects[i].name, c->of_code[i]);
    qb_json_child(o, "findings_by_code", codes);
}

static void put_findings(struct qb_json *o, const struct qb_checked *c)
{
    struct qb_json list = qb_json_list();
    uint64_t left_out = 0;

    for (size_t i = 0; i <= QB_FOUND_SIGN; i++)
        left_out += c->left_out[i];
    for (size_t i = 0; i < c->n_findings; i++) {
        struct qb_json one = qb_json_object();

        qb_json_text(&one, "kind", kinds[c->findings[i].kind]);
        qb_json_text(&one, "code", qb_defects[c->findings[i].defect].name);
        put_offset(&one, "offset", c->findings[i].offset);
        if (c->findings[i].n > 1) {
            put_offset(&one, "last_offset", c->findings[i].last);
            qb_json_number(&one, "count", c->findings[i].n);
        }
        if (c->findings[i].guest_bytes) {
            put_offset(&one, "guest_offset", c->findings[i].guest_offset);
            qb_json_number(&one, "guest_bytes", c->findings[i].guest_bytes);
        }
        qb_json_text(&one, "message", c->findings[i].text);
        qb_json_append(&list, one);
    }
    qb_json_child(o, "findings", list);
    qb_json_number(o, "findings_left_out", left_out);
}

int qb_line_checked(FILE *f, const struct qb_checked *c)
{
    const struct qb_check_result *r = c->result;
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "type", "check");
    qb_json_path(&o, c->path);
    qb_json_text(&o, "status", qb_verdict_names[qb_checked_verdict(c)]);
    qb_json_text(&o, "level", levels[c->level]);
    qb_json_bool(&o, "without_locks", c->without_locks);
    qb_json_error(&o, NULL, NULL, qb_checked_failure(c));
    if (c->counted) {
        qb_json_number(&o, "corruptions", r->corruptions);
        qb_json_number(&o, "leaks", r->leaks);
        qb_json_number(&o, "image_end_offset", r->end_offset);
        put_codes(&o, c);
        put_findings(&o, c);
        qb_json_info(&o, "info", r->info);
        qb_json_clusters(&o, &r->clusters);
        qb_line_io(&o, &r->io);
    }
    return qb_json_line(f, o);
}

int qb_line_check_summary(FILE *f, const struct qb_check_summary *sum, int exit_code)
{
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "type", "summary");
    qb_json_number(&o, "images", sum->images);
    qb_json_number(&o, "clean", sum->of[QB_VERDICT_CLEAN]);
    qb_json_number(&o, "corrupt", sum->of[QB_VERDICT_CORRUPT]);
    qb_json_number(&o, "leaks", sum->of[QB_VERDICT_LEAKS]);
    qb_json_number(&o, "unchecked", sum->of[QB_VERDICT_UNCHECKED]);
    qb_json_number(&o, "not_reached", sum->not_reached);
    qb_json_real(&o, "seconds", sum->seconds);
    qb_line_sandbox(&o, sum->sandboxed);
    qb_json_number(&o, "exit_code", (uint64_t)exit_code);
    qb_json_text(&o, "qbatch", QB_VERSION);
    return qb_json_line(f, o);
}
