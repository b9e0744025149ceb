#include "backing/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "base/sizing.h"
#include "backing/order.h"
#include "util/text.h"
#include "chain/chain.h"

const struct qb_finding_row qb_finding_rows[QB_FINDING_COUNT] = {
#define FINDING(ID, name, is_error, help) [QB_FINDING_##ID] = {name, is_error, help},
#include "backing/findings.def"
#undef FINDING
};

_Static_assert(QB_CHAIN_MAX_DEPTH == 200, "finding.def and the manual page say so");

struct judge {
    const struct qb_family *family;
    const struct qb_batch *batch;
    struct qb_findings *out;
    size_t at; /* the member that is judged */
    bool failed;
};

void qb_findings_free(struct qb_findings *findings)
{
    qb_vec_each (f, &findings->list)
        free(f->text);
    qb_vec_free(&findings->list);
}

__attribute__((format(printf, 3, 4))) static void say(struct judge *j, enum qb_finding_id id,
                                                      const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0 || !qb_vec_push(&j->out->list, (struct qb_family_finding){id, j->at, text})) {
        if (n >= 0)
            free(text);
        j->failed = true;
        return;
    }
    j->out->errors += qb_finding_rows[id].is_error;
}

static const char *images(size_t n)
{
    return n == 1 ? "image stands" : "images stand";
}

static void judge_file(struct judge *j, const struct qb_member *m)
{
    if (m->kind == QB_MEMBER_MISSING)
        say(j, QB_FINDING_MISSING, "there is no such file, and %zu %s on it", m->n_overlays,
            images(m->n_overlays));
    else if (m->kind == QB_MEMBER_UNREADABLE)
        say(j, QB_FINDING_UNREADABLE, "%s", m->why ? m->why : "out of memory");
    else if (m->kind == QB_MEMBER_OTHER && m->job != QB_NO_JOB)
        say(j, QB_FINDING_UNREADABLE, "not a qcow2 image");
    if (m->other_path)
        say(j, QB_FINDING_NAMES, "the file is also named \"%s\"", m->other_path);
    else if (m->links > 1)
        say(j, QB_FINDING_NAMES, "the file has %u names (hard links)", m->links);
}

/* Reported once for a loop or a deep chain, not for all overlays of it. */
static void judge_chain(struct judge *j, const struct qb_member *m)
{
    if (m->in_loop)
        say(j, QB_FINDING_LOOP, "is in its own backing chain, by \"%s\"", m->backing_name);
    else if (!m->above_loop && m->depth == QB_CHAIN_MAX_DEPTH + 1)
        say(j, QB_FINDING_TOO_DEEP, "%u files below it; no more than %u can be followed", m->depth,
            (unsigned)QB_CHAIN_MAX_DEPTH);
}

/* What follows from the backing file's real format and size. */
static void judge_base(struct judge *j, const struct qb_member *m, const struct qb_member *base)
{
    char a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER];
    bool is_there = base->kind == QB_MEMBER_QCOW2 || base->kind == QB_MEMBER_OTHER;

    if (base->kind == QB_MEMBER_OTHER && strcmp(m->backing_fmt, "qcow2") == 0)
        say(j, QB_FINDING_WRONG_FORMAT,
            "its backing file is not the qcow2 image that it declares: \"%s\"", m->backing_name);
    if (base->kind == QB_MEMBER_QCOW2 && strcmp(m->backing_fmt, "raw") == 0)
        say(j, QB_FINDING_READ_RAW,
            "reads the qcow2 image \"%s\" as raw bytes, which every amend of that changes",
            m->backing_name);
    else if (is_there && m->kind == QB_MEMBER_QCOW2 && m->virtual_size < base->virtual_size)
        say(j, QB_FINDING_SMALLER, "%s, and its backing file %s", qb_text_size(m->virtual_size, a),
            qb_text_size(base->virtual_size, b));
}

static void judge_name(struct judge *j, const struct qb_member *m)
{
    if (m->base != QB_NO_MEMBER)
        judge_base(j, m, &j->family->members.items[m->base]);
    else if (m->backing_name)
        say(j, QB_FINDING_NOT_LOCAL, "its backing file is not looked for: \"%s\"", m->backing_name);
    if (m->backing_name && !m->backing_fmt[0] && m->kind == QB_MEMBER_QCOW2)
        say(j, QB_FINDING_NO_FORMAT, "the format of its backing file is not said");
}

/* What the manifest requests of a file with overlays. */
static void judge_request(struct judge *j, const struct qb_member *m)
{
    const struct qb_request *rq = &j->batch->jobs[m->job].request;
    const char *name = rq->backing_file ? rq->backing_file : "";
    char size[QB_TEXT_NUMBER];
    uint64_t bytes;

    if (m->n_overlays == 0 || m->kind != QB_MEMBER_QCOW2)
        return;
    if (qb_sizing_of(rq, m->virtual_size, &bytes) && bytes < m->virtual_size)
        say(j, QB_FINDING_SHRINK, "cannot become smaller (%s): %zu %s on it",
            qb_text_size(bytes, size), m->n_overlays, images(m->n_overlays));
    if ((rq->set & QB_KEY_BACKING_FILE) && strcmp(name, m->backing_name ? m->backing_name : ""))
        say(j, QB_FINDING_REBASED,
            "gets another backing file; the content below %zu other%s is not compared",
            m->n_overlays, m->n_overlays == 1 ? "" : "s");
}

int qb_findings_make(const struct qb_family *family, const struct qb_batch *batch,
                     struct qb_findings *out, struct qb_err *err)
{
    struct judge j = {.family = family, .batch = batch, .out = out};

    *out = (struct qb_findings){0};
    for (j.at = 0; j.at < family->members.n; j.at++) {
        const struct qb_member *m = &family->members.items[j.at];

        judge_file(&j, m);
        judge_chain(&j, m);
        judge_name(&j, m);
        if (m->job != QB_NO_JOB)
            judge_request(&j, m);
    }
    return j.failed ? qb_fail_memory(err) : 0;
}
