#include "look/graph_show.h"
#include "util/json.h"

static struct qb_json node_of(const struct qb_graph_shown *s, size_t i)
{
    const struct qb_member *m = &s->family->members.items[i];
    bool is_known = m->kind == QB_MEMBER_QCOW2 || m->kind == QB_MEMBER_OTHER;
    struct qb_json o = qb_json_object();

    qb_json_number(&o, "id", i);
    qb_json_path(&o, m->path);
    qb_json_text(&o, "origin", qb_graph_origin(m));
    qb_json_bool(&o, "exists", m->kind != QB_MEMBER_MISSING);
    qb_json_text(&o, "format", qb_graph_format(m));
    qb_json_text(&o, "compat", m->version == 2 ? "0.10" : m->version == 3 ? "1.1" : "");
    if (is_known)
        qb_json_number(&o, "virtual_size_bytes", m->virtual_size);
    else
        qb_json_null(&o, "virtual_size_bytes");
    qb_json_number(&o, "overlays", m->n_overlays);
    if (m->after != QB_NO_MEMBER) {
        struct qb_json after = qb_json_object();

        qb_json_number(&after, "id", m->after);
        qb_json_path(&after, s->family->members.items[m->after].path);
        qb_json_text(&after, "reason", qb_graph_reason(s, m));
        qb_json_child(&o, "after", after);
    } else {
        qb_json_null(&o, "after");
    }
    return o;
}

static struct qb_json edge_of(const struct qb_member *m, size_t i)
{
    struct qb_json o = qb_json_object();

    qb_json_number(&o, "overlay", i);
    if (m->base == QB_NO_MEMBER)
        qb_json_null(&o, "backing");
    else
        qb_json_number(&o, "backing", m->base);
    qb_json_text(&o, "name", m->backing_name);
    qb_json_text(&o, "format", m->backing_fmt);
    return o;
}

static struct qb_json finding_of(const struct qb_family_finding *one)
{
    const struct qb_finding_row *row = &qb_finding_rows[one->id];
    struct qb_json o = qb_json_object();

    qb_json_number(&o, "node", one->member);
    qb_json_text(&o, "code", row->name);
    qb_json_text(&o, "severity", row->is_error ? "error" : "note");
    qb_json_text(&o, "message", one->text);
    return o;
}

static struct qb_json problem_of(const char *text)
{
    struct qb_json o = qb_json_object();

    qb_json_null(&o, "node");
    qb_json_text(&o, "code", "scan");
    qb_json_text(&o, "severity", "error");
    qb_json_text(&o, "message", text);
    return o;
}

void qb_graph_json(FILE *f, const struct qb_graph_shown *s)
{
    struct qb_json o = qb_json_object(), nodes = qb_json_list(), edges = qb_json_list(),
                   findings = qb_json_list();

    for (size_t i = 0; i < s->family->members.n; i++) {
        qb_json_append(&nodes, node_of(s, i));
        if (s->family->members.items[i].backing_name)
            qb_json_append(&edges, edge_of(&s->family->members.items[i], i));
    }
    for (size_t i = 0; i < s->findings->list.n; i++)
        qb_json_append(&findings, finding_of(&s->findings->list.items[i]));
    for (size_t i = 0; i < s->family->unknown.n; i++)
        qb_json_append(&findings, problem_of(s->family->unknown.items[i]));
    qb_json_text(&o, "type", "graph");
    qb_json_text(&o, "manifest", s->batch->manifest_path);
    qb_json_child(&o, "nodes", nodes);
    qb_json_child(&o, "edges", edges);
    qb_json_child(&o, "findings", findings);
    qb_json_number(&o, "exit_code", (uint64_t)s->exit_code);
    qb_json_text(&o, "qbatch", QB_VERSION);
    qb_json_line(f, o);
}
