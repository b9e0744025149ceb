#include <ctype.h>

#include "look/graph_show.h"
#include "util/text.h"

/* Inside double quotes of DOT.  Bytes that are not text become \xNN. */
static void put_quoted(FILE *f, const char *s)
{
    size_t len;

    for (; *s; s += len) {
        len = qb_text_utf8(s);
        if (len == 0 || iscntrl((unsigned char)*s)) {
            fprintf(f, "\\\\x%02x", (unsigned char)*s);
            len = 1;
        } else {
            if (*s == '"' || *s == '\\')
                fputc('\\', f);
            fwrite(s, 1, len, f);
        }
    }
}

static void put_facts(FILE *f, const struct qb_member *m)
{
    char size[QB_TEXT_NUMBER];

    if (m->kind == QB_MEMBER_MISSING)
        fputs("missing", f);
    else if (m->kind == QB_MEMBER_UNREADABLE)
        fputs("unreadable", f);
    else
        fprintf(f, "%s, %s", qb_text_size(m->virtual_size, size),
                m->kind == QB_MEMBER_OTHER ? "raw"
                : m->version == 2          ? "qcow2 0.10"
                                           : "qcow2 1.1");
}

/* The findings of a member, and whether one of them is an error; *at moves past them. */
static bool put_findings(FILE *f, const struct qb_findings *all, size_t member, size_t *at)
{
    bool is_bad = false;

    for (; *at < all->list.n && all->list.items[*at].member == member; (*at)++) {
        const struct qb_finding_row *row = &qb_finding_rows[all->list.items[*at].id];

        fprintf(f, "\\n%s: %s", row->is_error ? "error" : "note", row->name);
        is_bad |= row->is_error;
    }
    return is_bad;
}

static void put_node(FILE *f, const struct qb_graph_shown *s, size_t i, size_t *finding)
{
    const struct qb_member *m = &s->family->members.items[i];
    bool is_bad;

    fprintf(f, "  n%zu [label=\"", i);
    put_quoted(f, m->path);
    fputs("\\n", f);
    put_facts(f, m);
    is_bad = put_findings(f, s->findings, i, finding);
    fprintf(f, "\", style=\"%s\"%s];\n",
            m->job != QB_NO_JOB ? "filled,bold"
            : m->scanned        ? "solid"
                                : "dashed",
            is_bad ? ", color=red" : "");
}

/* One that waits for another than its base has an arrow of its own. */
static void put_edges(FILE *f, const struct qb_member *m, size_t i)
{
    if (m->base != QB_NO_MEMBER) {
        fprintf(f, "  n%zu -> n%zu [label=\"", i, m->base);
        put_quoted(f, m->backing_name);
        fprintf(f, "\"%s];\n", m->after == m->base ? ", style=bold" : "");
    }
    if (m->after != QB_NO_MEMBER && m->after != m->base)
        fprintf(f, "  n%zu -> n%zu [label=\"after\", style=dotted, constraint=false];\n", i,
                m->after);
}

void qb_graph_dot(FILE *f, const struct qb_graph_shown *s)
{
    size_t n = s->family->members.n, finding = 0;

    fputs("digraph backing {\n  rankdir=BT;\n"
          "  node [shape=box, fontname=\"monospace\", fillcolor=\"lightyellow\"];\n",
          f);
    for (size_t i = 0; i < n; i++)
        put_node(f, s, i, &finding);
    for (size_t i = 0; i < n; i++)
        put_edges(f, &s->family->members.items[i], i);
    fputs("}\n", f);
}
