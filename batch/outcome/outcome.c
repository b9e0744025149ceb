#include "outcome/outcome.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/result.h"
#include "job/keys.h"

const char *const qb_status_names[QB_STATUS_COUNT] = {
    [QB_STATUS_CHANGED] = "changed",
    [QB_STATUS_UNCHANGED] = "unchanged",
    [QB_STATUS_WOULD_CHANGE] = "would_change",
    [QB_STATUS_SKIPPED] = "skipped",
    [QB_STATUS_FAILED] = "failed",
    [QB_STATUS_INTERRUPTED] = "interrupted",
};

const char *const qb_status_words[QB_STATUS_COUNT] = {
    [QB_STATUS_CHANGED] = "changed",
    [QB_STATUS_UNCHANGED] = "unchanged",
    [QB_STATUS_WOULD_CHANGE] = "would change",
    [QB_STATUS_SKIPPED] = "skipped",
    [QB_STATUS_FAILED] = "failed",
    [QB_STATUS_INTERRUPTED] = "interrupted",
};

void qb_outcome_fail(struct qb_outcome *o, enum qb_code code, const char *text)
{
    struct qb_err err;

    qb_fail(&err, code, QB_NOWHERE, "%s", text);
    qb_result_fail(&o->result, &err);
}

static void free_composed(struct qb_composed *composed)
{
    for (size_t i = 0; composed && i < QB_COMPOSED_MAX; i++)
        free(composed->texts[i]);
    free(composed);
}

void qb_outcome_clear(struct qb_outcome *o)
{
    free_composed(qb_take(&o->composed));
    free(qb_take(&o->steps));
    qb_result_clear(&o->result);
}

const char *const qb_span_names[QB_SPAN_COUNT] = {
    [QB_SPAN_OPEN] = "open", [QB_SPAN_PLAN] = "plan",     [QB_SPAN_WRITE] = "write",
    [QB_SPAN_SYNC] = "sync", [QB_SPAN_COMMIT] = "commit", [QB_SPAN_VERIFY] = "verify",
};

double qb_timing_end(const struct qb_timing *t)
{
    double end = t->started_seconds + t->seconds;

    for (int i = 0; i < QB_SPAN_COUNT; i++)
        if (t->spans[i].seconds > 0)
            end = QB_MAX(end, t->spans[i].started_seconds + t->spans[i].seconds);
    return end;
}

void qb_summary_add(struct qb_summary *sum, const struct qb_result *result)
{
    sum->images++;
    sum->by_status[result->status]++;
    sum->not_meant += result->err.code == QB_E_WHEN;
    sum->undone += result->err.code == QB_E_UNDONE;
    sum->mistrusted += result->err.code == QB_E_VERIFY;
    sum->by_code[result->err.code]++;
    sum->leaked_clusters += result->leaks.clusters;
    sum->leaked_bytes += result->leaks.bytes;
    sum->io.read_bytes += result->io.read_bytes;
    sum->io.write_bytes += result->io.write_bytes;
    sum->io.zeroed_bytes += result->io.zeroed_bytes;
    sum->io.read_ops += result->io.read_ops;
    sum->io.write_ops += result->io.write_ops;
    sum->io.barriers += result->io.barriers;
}

/* Whether that is the verdict on the step that was last. */
static bool ended_with(const struct qb_rollout_sum *rollout, enum qb_gate_says verdict)
{
    return rollout->n && rollout->steps[rollout->step].verdict == verdict;
}

int qb_summary_exit_code(const struct qb_summary *sum, bool detailed)
{
    if (sum->mistrusted)
        return QB_EXIT_MISTRUSTED;
    if (sum->by_status[QB_STATUS_INTERRUPTED])
        return QB_EXIT_INTERRUPTED;
    if (ended_with(&sum->rollout, QB_GATE_ASKED))
        return QB_EXIT_PENDING;
    if (sum->by_status[QB_STATUS_FAILED] || sum->journal_errno ||
        ended_with(&sum->rollout, QB_GATE_FAILED))
        return QB_EXIT_FAILED;
    if (sum->by_status[QB_STATUS_SKIPPED] > sum->not_meant + sum->undone)
        return QB_EXIT_SKIPPED;
    return detailed && sum->by_status[QB_STATUS_WOULD_CHANGE] ? QB_EXIT_PENDING : QB_EXIT_OK;
}

/* ---- what changed ---------------------------------------------------------------------------- */

static struct qb_value text_or_none(const char *text)
{
    return (struct qb_value){.kind = text && text[0] ? QB_VALUE_TEXT : QB_VALUE_NONE, .text = text};
}

bool qb_is_raw(const struct qb_info *info)
{
    return info->format && strcmp(info->format, "raw") == 0;
}

/* Of any image but a raw disk. */
static struct qb_value value_of(const struct qb_key_row *key, const struct qb_info *info)
{
    const void *member = (const char *)info + key->shown.field;

    switch (key->shown.kind) {
    case QB_SHOWN_BOOL:
        return (struct qb_value){.kind = QB_VALUE_BOOL, .number = *(const bool *)member};
    case QB_SHOWN_NUMBER:
        return (struct qb_value){.kind = QB_VALUE_NUMBER, .number = *(const unsigned *)member};
    case QB_SHOWN_BYTES:
        return (struct qb_value){.kind = QB_VALUE_BYTES, .number = *(const uint64_t *)member};
    case QB_SHOWN_TEXT:
        return text_or_none(*(const char *const *)member);
    case QB_SHOWN_COMPAT:
        return text_or_none(*(const unsigned *)member == 2 ? "0.10" : "1.1");
    case QB_SHOWN_NOT:
        break;
    }
    return (struct qb_value){.kind = QB_VALUE_NONE};
}

struct qb_value qb_shown(const struct qb_key_row *key, const struct qb_info *info)
{
    bool has_it = key->bit == QB_KEY_SIZE || key->shown.field == offsetof(struct qb_info, format);

    if (!has_it && qb_is_raw(info))
        return (struct qb_value){.kind = QB_VALUE_NONE};
    return value_of(key, info);
}

static bool equal(struct qb_value a, struct qb_value b)
{
    if (a.kind != b.kind)
        return false;
    return a.kind == QB_VALUE_TEXT ? strcmp(a.text, b.text) == 0 : a.number == b.number;
}

static struct qb_value bool_of(bool on)
{
    return (struct qb_value){.kind = QB_VALUE_BOOL, .number = on};
}

static struct qb_value number_of(unsigned n)
{
    return (struct qb_value){.kind = QB_VALUE_NUMBER, .number = n};
}

static size_t add_change(struct qb_change out[QB_CHANGES_MAX], size_t n, const char *key,
                         struct qb_value from, struct qb_value to)
{
    if (!equal(from, to) && n < QB_CHANGES_MAX)
        out[n++] = (struct qb_change){key, from, to};
    return n;
}

/* Of a raw disk only what both have. */
static size_t add_key(struct qb_change out[QB_CHANGES_MAX], size_t n, const struct qb_key_row *key,
                      const struct qb_result *r, bool any_raw)
{
    struct qb_value from, to;

    if (!any_raw)
        return add_change(out, n, key->name, value_of(key, r->before), value_of(key, r->after));
    from = qb_shown(key, r->before);
    to = qb_shown(key, r->after);
    if ((qb_is_raw(r->before) && from.kind == QB_VALUE_NONE) ||
        (qb_is_raw(r->after) && to.kind == QB_VALUE_NONE))
        return n;
    return add_change(out, n, key->name, from, to);
}

size_t qb_report_changes(const struct qb_result *r, struct qb_change out[QB_CHANGES_MAX])
{
    size_t n = 0;
    bool any_raw;

    if ((r->status != QB_STATUS_CHANGED && r->status != QB_STATUS_WOULD_CHANGE) || !r->before ||
        !r->after)
        return 0;
    any_raw = qb_is_raw(r->before) || qb_is_raw(r->after);
    qb_keys_each (key, QB_SECTION_amend)
        if (key->shown.kind != QB_SHOWN_NOT)
            n = add_key(out, n, key, r, any_raw);
    n = add_change(out, n, "dirty", bool_of(r->before->dirty), bool_of(r->after->dirty));
    return add_change(out, n, "bitmaps", number_of(r->before->nb_bitmaps),
                      number_of(r->after->nb_bitmaps));
}
