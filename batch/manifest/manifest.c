#include "manifest/manifest.h"

#include <string.h>

#include "manifest/entries.h"
#include "manifest/labels_section.h"
#include "manifest/node.h"
#include "manifest/outline.h"
#include "manifest/rollout_section.h"
#include "manifest/scan_section.h"
#include "manifest/section.h"
#include "util/path.h"
#include "util/text.h"
#include "manifest/manifest_text.h"

/* The sections are read in the order of their dependencies, not of the text. */
struct top {
    const struct qb_node *version, *defaults, *images, *graph;
};

static void read_name(struct qb_reader *r, const struct qb_node *value, struct top *top)
{
    const char *text = qb_field_text(value, r->diags);

    (void)top;
    if (!text)
        return;
    free(r->batch->name);
    r->batch->name = strdup(text);
}

static void read_version(struct qb_reader *r, const struct qb_node *value, struct top *top)
{
    const char *text = qb_field_text(value, r->diags);

    top->version = value;
    if (text && strcmp(text, "1") != 0)
        qb_diag_add(r->diags, QB_M_BAD_VALUE, value->at, NULL,
                    "version: \"%s\" is not known to this qbatch, which reads version 1", text);
}

static void read_defaults(struct qb_reader *r, const struct qb_node *value, struct top *top)
{
    (void)r;
    top->defaults = value;
}

static void read_graph(struct qb_reader *r, const struct qb_node *value, struct top *top)
{
    (void)r;
    top->graph = value;
}

static void read_images(struct qb_reader *r, const struct qb_node *value, struct top *top)
{
    (void)r;
    top->images = value;
}

static void read_section(struct qb_reader *r, const struct qb_node *value, struct top *top)
{
    (void)top;
    qb_section_read(r, value);
}

static void read_rollout(struct qb_reader *r, const struct qb_node *value, struct top *top)
{
    bool has_steps = false;

    read_section(r, value, top);
    for (const struct qb_node *v = value->kind == QB_NODE_MAPPING ? value->first : NULL; v;
         v = v->next)
        has_steps |= strcmp(v->key->text, "steps") == 0;
    if (value->kind == QB_NODE_MAPPING && !has_steps)
        qb_diag_add(r->diags, QB_M_MISSING_KEY, value->key->at, NULL,
                    "\"rollout\" without \"steps\"");
}

static void read_labels(struct qb_reader *r, const struct qb_node *value, struct top *top)
{
    (void)top;
    qb_labels_read(r, value);
}

typedef void top_reader(struct qb_reader *r, const struct qb_node *v, struct top *top);

static top_reader *const top_readers[] = {
#define TOP(name, reader) reader,
#include "manifest/structure.def"
#undef TOP
};

/* A misspelt section is read as the one that was probably meant, if that is missing, so that all
 * mistakes are reported together. */
static void read_misspelt(struct qb_reader *r, const struct qb_node *root, const struct qb_node *v,
                          struct top *top)
{
    const char *meant = qb_text_nearest(v->key->text, qb_top_names);

    for (const struct qb_node *other = root->first; meant && other; other = other->next)
        if (strcmp(other->key->text, meant) == 0)
            return;
    for (size_t i = 0; meant && qb_top_names[i]; i++)
        if (strcmp(meant, qb_top_names[i]) == 0)
            top_readers[i](r, v, top);
}

static void read_top_key(struct qb_reader *r, const struct qb_node *root, const struct qb_node *v,
                         struct top *top)
{
    for (size_t i = 0; qb_top_names[i]; i++)
        if (strcmp(v->key->text, qb_top_names[i]) == 0) {
            top_readers[i](r, v, top);
            return;
        }
    qb_field_unknown(v, qb_top_names, r->diags);
    read_misspelt(r, root, v, top);
}

static void read_top(struct qb_reader *r, const struct qb_node *root)
{
    struct top top = {0};

    if (!qb_field_is(root, QB_NODE_MAPPING, "a mapping that begins with \"version: 1\"", r->diags))
        return;
    for (const struct qb_node *v = root->first; v; v = v->next)
        read_top_key(r, root, v, &top);
    if (!top.version)
        qb_diag_add(r->diags, QB_M_MISSING_KEY, root->at, NULL,
                    "no \"version\"; write version: 1 at the top");
    if (!top.images)
        qb_diag_add(r->diags, QB_M_MISSING_KEY, root->at, NULL,
                    "no \"images\"; write images: and below it a list of entries, such as \"- "
                    "path: /srv/vm/*.qcow2\"");
    if (top.graph)
        qb_scan_read(r, top.graph);
    if (r->roots_typed.n)
        r->settings.policy.roots = r->roots_typed;
    r->select.policy = &r->settings.policy;
    qb_entries_read(r, top.defaults, top.images);
    qb_select_check_distinct(&r->select);
}

/* Copies rules into the batch: one copy for all images of an entry.  *out is NULL for none. */
static int keep_rules(struct qb_reader *r, size_t entry, const struct qb_rules **out)
{
    struct qb_rules *kept;

    *out = NULL;
    if (qb_rules_are_none(&r->rules.items[entry]))
        return 0;
    kept = qb_batch_block(r->batch, sizeof(*kept));
    if (!kept)
        return qb_diag_memory(r->diags);
    *kept = r->rules.items[entry];
    *out = kept;
    return 0;
}

static int keep_fault(struct qb_reader *r, const struct qb_pick *pick, struct qb_job *job)
{
    struct qb_err *kept;

    if (!pick->chain_fault)
        return 0;
    kept = qb_batch_block(r->batch, sizeof(*kept));
    if (!kept)
        return qb_diag_memory(r->diags);
    *kept = *pick->chain_fault;
    job->chain_fault = kept;
    return 0;
}

static int make_jobs(struct qb_reader *r)
{
    const struct qb_rules *rules = NULL;
    size_t entry = SIZE_MAX;

    r->batch->policy = r->settings.policy;
    r->batch->limits = r->settings.limits;
    r->batch->rollout = r->settings.rollout;
    qb_vec_each (pick, &r->select.picks) {
        if (pick->left_out)
            continue;
        if (pick->entry != entry && keep_rules(r, entry = pick->entry, &rules) < 0)
            return -1;
        if (!qb_batch_add(r->batch, pick->path, pick->at.line, &r->requests.items[pick->entry]))
            return qb_diag_memory(r->diags);
        r->batch->jobs[r->batch->n_jobs - 1].named_at = pick->named_at;
        r->batch->jobs[r->batch->n_jobs - 1].dev = pick->dev;
        r->batch->jobs[r->batch->n_jobs - 1].ino = pick->ino;
        if (keep_fault(r, pick, &r->batch->jobs[r->batch->n_jobs - 1]) < 0)
            return -1;
        r->batch->jobs[r->batch->n_jobs - 1].rules = rules;
    }
    return 0;
}

static int read_manifest(struct qb_reader *r, const char *path)
{
    struct qb_yaml yaml;
    int rc = qb_yaml_parse(&yaml, r->diags);
    bool is_stdin = strcmp(path, "-") == 0;

    if (rc == 0)
        rc = qb_select_init(&r->select, is_stdin ? NULL : path, r->diags);
    r->select.stdin_taken = is_stdin;
    if (rc == 0) {
        read_top(r, yaml.root);
        rc = qb_diags_count(r->diags) ? -1 : make_jobs(r);
        if (rc == 0 && !qb_outline_note(yaml.root, r->batch))
            rc = qb_diag_memory(r->diags);
    }
    qb_select_free(&r->select);
    qb_yaml_free(&yaml);
    if (!r->batch->name)
        r->batch->name = strdup(is_stdin ? "stdin" : qb_path_name(path));
    r->batch->manifest_path = strdup(path);
    if (rc == 0 && (!r->batch->name || !r->batch->manifest_path))
        rc = qb_diag_memory(r->diags);
    return rc;
}

int qb_manifest_load(const char *path, const struct qb_typed *typed, struct qb_batch *out,
                     struct qb_diags *diags)
{
    struct qb_reader r = {.diags = diags, .batch = out};
    int rc;

    qb_batch_init(out);
    if (qb_source_load(path, diags) < 0)
        return -1;
    qb_source_print(diags, out->manifest_print);
    r.settings.policy = out->policy;
    r.settings.limits = out->limits;
    if (typed) {
        r.asked_elsewhere = typed->keys;
        r.roots_typed = typed->roots;
    }
    qb_request_init(&r.settings.request);
    rc = read_manifest(&r, path);
    qb_vec_free(&r.requests);
    qb_vec_free(&r.rules);
    if (rc < 0) {
        qb_batch_free(out);
        qb_batch_init(out);
        qb_diags_sort(diags);
    }
    return rc;
}
