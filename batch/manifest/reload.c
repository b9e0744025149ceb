/* Reads the limits of a manifest again, while its run is in progress. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "manifest/manifest.h"
#include "manifest/manifest_text.h"
#include "manifest/outline.h"
#include "manifest/section.h"

static int fail(const struct qb_diags *diags, const char *path, struct qb_err *err)
{
    const struct qb_diag *d = diags->list.n ? &diags->list.items[0] : NULL;

    if (!d)
        return qb_fail_memory(err);
    if (!d->at.line)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%.200s: %.300s", path, d->text);
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%.200s:%u:%u: %.300s", path, d->at.line,
                   d->at.column, d->text);
}

static int compare(const struct qb_batch *was, const struct qb_batch *now, struct qb_err *err)
{
    char what[QB_OUTLINE_TEXT];

    if (!qb_outline_differs(was, now, what))
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "only limits can change while a run is in progress, and the manifest differs in "
                   "%s",
                   what);
}

static int read_limits(const struct qb_batch *was, struct qb_diags *diags,
                       struct qb_manifest_limits *out, struct qb_err *err)
{
    struct qb_batch now;
    struct qb_reader r = {.diags = diags, .batch = &now};
    struct qb_yaml yaml;
    int rc = qb_yaml_parse(&yaml, diags);

    qb_batch_init(&now);
    qb_request_init(&r.settings.request);
    r.settings.policy = now.policy;
    r.settings.limits = now.limits;
    if (rc == 0 && yaml.root->kind == QB_NODE_MAPPING)
        for (const struct qb_node *v = yaml.root->first; v; v = v->next)
            if (strcmp(v->key->text, "limits") == 0)
                qb_section_read(&r, v);
    if (rc < 0 || qb_diags_count(diags))
        rc = fail(diags, was->manifest_path, err);
    else if (yaml.root->kind != QB_NODE_MAPPING)
        rc = qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%.300s is not a manifest any more",
                     was->manifest_path);
    else if (!qb_outline_note(yaml.root, &now))
        rc = qb_fail_memory(err);
    else
        rc = compare(was, &now, err);
    out->limits = r.settings.limits;
    qb_yaml_free(&yaml);
    qb_batch_free(&now);
    return rc;
}

int qb_manifest_reload(const struct qb_batch *was, struct qb_manifest_limits *out,
                       struct qb_err *err)
{
    struct qb_diags diags;
    struct stat st;
    int rc;

    if (!was->manifest_path || was->outline.n == 0)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "this run has no manifest that could be read again; qbatch ctl limits sets "
                       "a limit");
    if (stat(was->manifest_path, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%.300s", was->manifest_path);
    if (!S_ISREG(st.st_mode))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "%.300s is not a regular file, which could be read again",
                       was->manifest_path);
    if (qb_source_load(was->manifest_path, &diags) < 0) {
        rc = fail(&diags, was->manifest_path, err);
    } else {
        qb_source_print(&diags, out->print);
        rc = read_limits(was, &diags, out, err);
    }
    qb_diags_free(&diags);
    return rc;
}
