#include "page/html_check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "outcome/wire.h"
#include "page/html_lists.h"
#include "page/html_parts.h"
#include "util/text.h"
#include "util/xml.h"

enum { SIGNS_SHOWN = 3 /* in a row */ };

static const char classes[QB_VERDICT_COUNT] = {[QB_VERDICT_CORRUPT] = 'f',
                                               [QB_VERDICT_UNCHECKED] = 'i',
                                               [QB_VERDICT_LEAKS] = 's',
                                               [QB_VERDICT_CLEAN] = 'c'};

/* The word of `repair:` that mends the finding, as its explanation says: "leaks", "all", or NULL.
 */
static const char *repair_of(enum qb_defect defect)
{
    const char *todo = qb_defects[defect].todo;

    return strstr(todo, "repair=all") ? "all" : strstr(todo, "repair=leaks") ? "leaks" : NULL;
}

/* ---- one image, by a worker ------------------------------------------------------------------ */

/* The head of the text; `n_codes` pairs of a defect and its number follow, then the reason why it
 * could not be checked, then the row. */
struct note {
    uint64_t errors, leaks, leaked_bytes, guest_bytes;
    uint32_t verdict, code, n_codes, reason_len;
};

struct noted {
    uint64_t defect, n;
};

static struct note note_of(const struct qb_checked *c)
{
    struct note note = {.verdict = qb_checked_verdict(c), .guest_bytes = c->guest_bytes};
    const struct qb_failure *err = qb_checked_failure(c);

    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++)
        note.n_codes += c->of_code[i] > 0;
    if (note.verdict == QB_VERDICT_UNCHECKED) {
        note.code = err->code;
        note.reason_len = (uint32_t)strlen(err->text) + 1;
    }
    if (c->counted) {
        note.errors = c->result->corruptions;
        note.leaks = c->result->leaks;
        note.leaked_bytes = c->result->info ? note.leaks * c->result->info->cluster_size : 0;
    }
    return note;
}

static void put_signs(FILE *f, const struct qb_checked *c)
{
    size_t shown = 0;

    for (size_t i = 0; i < c->n_findings && shown < SIGNS_SHOWN; i++) {
        const struct qb_finding *g = &c->findings[i];

        if (g->kind != QB_FOUND_SIGN)
            continue;
        shown++;
        fputs("<br><span class=dim>", f);
        qb_markup_text(f, g->text);
        if (g->guest_bytes && g->guest_offset != QB_NOWHERE)
            fprintf(f, "; guest bytes 0x%" PRIx64 " to 0x%" PRIx64 " may be lost", g->guest_offset,
                    g->guest_offset + g->guest_bytes - 1);
        fputs("</span>", f);
    }
}

static void put_findings(FILE *f, const struct qb_checked *c)
{
    const struct qb_failure *err = qb_checked_failure(c);
    const char *before = "";

    if (err->code != QB_E_NONE) {
        fprintf(f, "%s: ", qb_code_name(err->code));
        qb_html_error(f, err);
        before = "; ";
    }
    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++) {
        if (!c->of_code[i])
            continue;
        fprintf(f, "%s%s&nbsp;%" PRIu64, before, qb_defects[i].name, c->of_code[i]);
        before = ", ";
    }
    put_signs(f, c);
}

/* End tags that HTML does not need are left out, as in a run's page. */
static void put_row(FILE *f, const struct qb_checked *c, const struct note *note)
{
    char b[QB_TEXT_NUMBER];

    fprintf(f, "<tr class=%c><td class=n>%zu<td>%s<td>", classes[note->verdict], c->job + 1,
            qb_verdict_names[note->verdict]);
    qb_html_path(f, c->path);
    fputs("<td>", f);
    put_findings(f, c);
    fprintf(f, "<td class=\"n x\">");
    if (note->errors)
        fprintf(f, "%" PRIu64, note->errors);
    fprintf(f, "<td class=n data-v=%" PRIu64 ">%s<td class=\"n x\">%.4f\n", note->leaked_bytes,
            note->leaks ? qb_text_size(note->leaked_bytes, b) : "", c->seconds);
}

int qb_html_checked(FILE *f, const struct qb_batch *batch, const struct qb_checked *c)
{
    struct note note = note_of(c);

    (void)batch;
    fwrite(&note, sizeof(note), 1, f);
    for (enum qb_defect i = 0; i < QB_DEFECT_COUNT; i++)
        if (c->of_code[i])
            fwrite(&(struct noted){i, c->of_code[i]}, sizeof(struct noted), 1, f);
    if (note.reason_len)
        fwrite(qb_checked_failure(c)->text, note.reason_len, 1, f);
    put_row(f, c, &note);
    return ferror(f) ? -1 : 0;
}

/* ---- all, in their order --------------------------------------------------------------------- */

static bool add_name(struct qb_group *g, size_t job)
{
    struct qb_group_member member = {job, QB_NOWHERE};

    return g->n++ >= QB_HTML_NAMES_MAX || qb_vec_push(&g->members, member);
}

static enum qb_html_remedy remedy_of(enum qb_defect defect)
{
    const char *repair = repair_of(defect);

    return !repair                      ? QB_HTML_REPAIR_NONE
           : strcmp(repair, "all") == 0 ? QB_HTML_REPAIR_ALL
                                        : QB_HTML_REPAIR_LEAKS;
}

static bool add_codes(struct qb_html_check *p, size_t job, const struct noted *codes, size_t n)
{
    enum qb_html_remedy worst = QB_HTML_REPAIR_LEAKS;
    bool ok = true;

    for (size_t i = 0; i < n; i++) {
        p->findings[codes[i].defect] += codes[i].n;
        ok &= add_name(&p->of[codes[i].defect], job);
        worst = qb_max(worst, remedy_of((enum qb_defect)codes[i].defect));
    }
    return (n == 0 || add_name(&p->remedy[worst], job)) && ok;
}

/* A note, and what follows it. */
struct noting {
    struct note note;
    struct noted codes[QB_DEFECT_COUNT];
    const char *reason;
};

/* Whoever made it has read strangers' images, and may say what it likes. */
static bool read_note(struct qb_wired *w, struct noting *out)
{
    struct note *n = &out->note;

    qb_wired_take(w, n, sizeof(*n));
    if (w->bad || n->verdict >= QB_VERDICT_COUNT || n->code >= QB_E_COUNT ||
        n->n_codes > QB_DEFECT_COUNT)
        return false;
    qb_wired_take(w, out->codes, n->n_codes * sizeof(out->codes[0]));
    out->reason = n->reason_len ? qb_wired_bytes(w, n->reason_len) : NULL;
    for (size_t i = 0; i < n->n_codes; i++)
        w->bad |= out->codes[i].defect >= QB_DEFECT_COUNT;
    return !w->bad && (!out->reason || !out->reason[n->reason_len - 1]);
}

bool qb_html_check_take(struct qb_html_check *p, size_t job, const struct qb_sink_text *text,
                        FILE *rows)
{
    struct qb_wired w = {text->text, text->text + text->len, false};
    struct noting noting;
    const struct note *note = &noting.note;
    bool ok;

    if (!read_note(&w, &noting))
        return false;
    p->unchecked.keep = QB_HTML_NAMES_MAX;
    p->errors += note->errors;
    p->leaks += note->leaks;
    p->leaked_bytes += note->leaked_bytes;
    p->guest_bytes += note->guest_bytes;
    ok = add_codes(p, job, noting.codes, note->n_codes);
    if (noting.reason)
        ok &= qb_groups_add(&p->unchecked, (struct qb_grouped){.status = QB_VERDICT_UNCHECKED,
                                                               .code = (enum qb_code)note->code,
                                                               .text = noting.reason,
                                                               .member = {job, QB_NOWHERE}});
    if (p->rows[note->verdict != QB_VERDICT_CLEAN]++ < QB_HTML_ROWS_MAX)
        fwrite(w.at, 1, (size_t)(w.end - w.at), rows);
    return ok;
}

void qb_html_check_free(struct qb_html_check *p)
{
    for (size_t i = 0; i < QB_DEFECT_COUNT; i++)
        qb_vec_free(&p->of[i].members);
    for (size_t i = 0; i < QB_HTML_REMEDIES; i++)
        qb_vec_free(&p->remedy[i].members);
    qb_groups_free(&p->unchecked);
}
