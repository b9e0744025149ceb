#include "look/images.h"

#include <stdlib.h>

#include "base/own.h"
#include "common/overrides.h"
#include "manifest/manifest.h"
#include "manifest/select.h"

static int add(struct qb_batch *batch, const char *path)
{
    struct qb_request none;

    qb_request_init(&none);
    if (qb_batch_add(batch, path, 0, &none))
        return 0;
    fputs("qbatch: out of memory\n", stderr);
    return -1;
}

static int add_operands(const struct qb_cli *cli, struct qb_batch *batch)
{
    for (size_t i = 0; i < cli->n_operands; i++)
        if (add(batch, cli->operands[i]) < 0)
            return -1;
    return 0;
}

/* Relative paths start at the current directory. */
static int add_list(const char *name, char end, struct qb_diags *diags, struct qb_batch *batch)
{
    const struct qb_excludes none = {0};
    struct qb_select select;
    int r = qb_select_init(&select, NULL, diags);

    if (r == 0)
        r = qb_select_add_list(&select, name, end, (struct qb_place){0}, &none, 0);
    qb_vec_each (pick, &select.picks)
        r = r < 0 ? r : add(batch, pick->path);
    qb_select_free(&select);
    return r;
}

static int read_list(const struct qb_cli *cli, struct qb_batch *batch)
{
    bool lines = qb_cli_has(cli, QB_OPTION_FROM_FILE);
    const char *name = qb_cli_text(cli, lines ? QB_OPTION_FROM_FILE : QB_OPTION_FROM_FILE0);
    struct qb_diags diags;
    int r = qb_diags_init(&diags, lines ? "--from-file" : "--from-file0", NULL, 0);

    if (r == 0)
        r = add_list(name, lines ? '\n' : '\0', &diags, batch);
    qb_diags_render(&diags, stderr);
    qb_diags_free(&diags);
    return r;
}

/* The amend keys of its entries are ignored. */
static int read_manifest(const struct qb_cli *cli, struct qb_batch *batch)
{
    const struct qb_typed typed = {true, {cli->roots.items, cli->roots.n}};
    struct qb_diags diags;
    int r = qb_manifest_load(qb_cli_text(cli, QB_OPTION_MANIFEST), &typed, batch, &diags);

    qb_diags_render(&diags, stderr);
    qb_diags_free(&diags);
    return r < 0 ? -1 : qb_narrow(cli, batch);
}

static int collect(const struct qb_cli *cli, struct qb_batch *batch, const char **what)
{
    qb_batch_init(batch);
    if (qb_cli_has(cli, QB_OPTION_MANIFEST)) {
        *what = "the manifest is wrong";
        return read_manifest(cli, batch);
    }
    *what = "the list of images is wrong";
    return cli->n_operands ? add_operands(cli, batch) : read_list(cli, batch);
}

int qb_images_collect(const struct qb_cli *cli, struct qb_batch *batch, const char **what)
{
    int r = collect(cli, batch, what);

    if (r == 0)
        qb_override(cli, batch);
    return r;
}
