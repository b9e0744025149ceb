#include <string.h>

#include "base/num.h"
#include "look/graph_show.h"
#include "util/text.h"

enum {
    INDENT = 2,
    PATH_COLUMNS = 48,
    DEPTH_SHOWN = 40, /* beyond it a chain continues in one column */
};

const char *qb_graph_origin(const struct qb_member *m)
{
    return m->job != QB_NO_JOB ? "manifest" : m->scanned ? "scan" : "chain";
}

const char *qb_graph_format(const struct qb_member *m)
{
    return m->kind == QB_MEMBER_QCOW2 ? "qcow2" : m->kind == QB_MEMBER_OTHER ? "raw" : "";
}

const char *qb_graph_reason(const struct qb_graph_shown *s, const struct qb_member *m)
{
    const struct qb_request *rq = &s->batch->jobs[m->job].request;
    bool replaced = rq->set & QB_KEY_BACKING_FILE;
    bool is_base = m->base == m->after;

    if (!m->after_must)
        return "the backing file it has now goes first";
    if (replaced && !is_base)
        return "the backing file it gets goes first";
    return is_base ? "its backing file goes first" : "it is in its backing chain and goes first";
}

struct tree {
    FILE *f;
    const struct qb_graph_shown *shown;
};

static int indent_of(unsigned depth)
{
    return INDENT * (int)QB_MIN(depth, (unsigned)DEPTH_SHOWN);
}

/* The first finding of a member or of a later one; they are sorted. */
static size_t first_finding(const struct qb_findings *all, size_t member)
{
    size_t low = 0, high = all->list.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (all->list.items[middle].member < member)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void put_findings(struct tree *t, size_t member, unsigned depth)
{
    const struct qb_findings *all = t->shown->findings;

    for (size_t i = first_finding(all, member);
         i < all->list.n && all->list.items[i].member == member; i++) {
        const struct qb_finding_row *row = &qb_finding_rows[all->list.items[i].id];

        fprintf(t->f, "%*s%s: %s: ", indent_of(depth) + 4, "", row->is_error ? "error" : "note",
                row->name);
        qb_text_safe(t->f, all->list.items[i].text);
        fputc('\n', t->f);
    }
}

static void put_member(struct tree *t, size_t i, unsigned depth)
{
    const struct qb_member *m = &t->shown->family->members.items[i];
    size_t used = (size_t)indent_of(depth) + qb_text_columns(m->path);
    bool is_known = m->kind == QB_MEMBER_QCOW2 || m->kind == QB_MEMBER_OTHER;
    char size[QB_TEXT_NUMBER];

    fprintf(t->f, "%*s", indent_of(depth), "");
    qb_text_safe(t->f, m->path);
    fprintf(t->f, "%*s  %-10s  %-10s  %s", (int)(used < PATH_COLUMNS ? PATH_COLUMNS - used : 0), "",
            is_known ? qb_text_size(m->virtual_size, size) : "-",
            m->kind == QB_MEMBER_OTHER   ? "raw"
            : m->kind != QB_MEMBER_QCOW2 ? "-"
            : m->version == 2            ? "qcow2 0.10"
                                         : "qcow2 1.1",
            qb_graph_origin(m));
    if (m->after != QB_NO_MEMBER) {
        fputs("  after ", t->f);
        qb_text_safe(t->f, t->shown->family->members.items[m->after].path);
        fprintf(t->f, ": %s", qb_graph_reason(t->shown, m));
    }
    fputc('\n', t->f);
    put_findings(t, i, depth);
}

/* In a loop the root comes up again as an overlay, and is passed over. */
static size_t but_root(const struct qb_member *m, size_t root, size_t i)
{
    return i == root ? m[i].next : i;
}

/* The member to be shown after `at`: by the lists and not by recursion, as a chain may be as long
 * as it likes.  QB_NO_MEMBER after the last overlay of the root. */
static size_t successor(const struct qb_member *m, size_t root, size_t at, unsigned *depth)
{
    size_t next = but_root(m, root, m[at].first_overlay);

    if (next != QB_NO_MEMBER) {
        (*depth)++;
        return next;
    }
    for (; at != root; at = m[at].base, (*depth)--) {
        next = but_root(m, root, m[at].next);
        if (next != QB_NO_MEMBER)
            return next;
    }
    return QB_NO_MEMBER;
}

static void put_tree(struct tree *t, size_t root)
{
    unsigned depth = 0;

    for (size_t at = root; at != QB_NO_MEMBER;
         at = successor(t->shown->family->members.items, root, at, &depth))
        put_member(t, at, depth);
}

/* Each loop once, from its first member on. */
static bool is_first_of_loop(const struct qb_member *members, size_t i)
{
    for (size_t at = members[i].base; at != i; at = members[at].base)
        if (at < i)
            return false;
    return true;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static void put_recap(const struct tree *t)
{
    const struct qb_graph_shown *s = t->shown;
    size_t jobs = s->batch->n_jobs, waiting = 0, notes = s->findings->list.n - s->findings->errors;
    size_t others = s->family->members.n > jobs ? s->family->members.n - jobs : 0;
    char a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER], c[QB_TEXT_NUMBER];

    for (size_t i = 0; i < s->family->members.n; i++)
        waiting += s->family->members.items[i].after != QB_NO_MEMBER;
    fprintf(t->f, "%s image%s of the manifest, %s other file%s", qb_text_count(jobs, a),
            plural(jobs), qb_text_count(others, b), plural(others));
    if (waiting)
        fprintf(t->f, "; %s wait%s for another one", qb_text_count(waiting, c),
                waiting == 1 ? "s" : "");
    fprintf(t->f, "; %s error%s, ", qb_text_count(s->findings->errors, a),
            plural(s->findings->errors));
    fprintf(t->f, "%s note%s\n", qb_text_count(notes, a), plural(notes));
    for (size_t i = 0; i < s->family->unknown.n; i++) {
        fputs("error: graph.scan: ", t->f);
        qb_text_safe(t->f, s->family->unknown.items[i]);
        fputc('\n', t->f);
    }
}

void qb_graph_tree(FILE *f, const struct qb_graph_shown *shown)
{
    const struct qb_member *m = shown->family->members.items;
    size_t n = shown->family->members.n;
    struct tree t = {f, shown};

    for (size_t i = 0; i < n; i++)
        if (m[i].base == QB_NO_MEMBER || (m[i].in_loop && is_first_of_loop(m, i)))
            put_tree(&t, i);
    put_recap(&t);
}
