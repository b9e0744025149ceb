/* `qbatch backup list`: the clones that journals name, and whether they are as they were left. */
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "fleet/backup_parts.h"
#include "common/output.h"
#include "journal/runs.h"
#include "clones/backup_look.h"
#include "util/json.h"
#include "util/text.h"

struct listing {
    bool json;
    size_t n; /* lines so far */
};

struct line {
    const struct qb_history *run;
    const struct qb_trace *image;
    const char *file; /* "clone" or "amended" */
    const struct qb_clone *clone;
    enum qb_backup_state state;
};

static void json_line(const struct line *l)
{
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "type", "backup");
    qb_json_text(&o, "run", l->run->id);
    qb_json_path(&o, l->image->path);
    qb_json_text(&o, "file", l->file);
    qb_json_path_of(&o, "at", l->clone->path);
    qb_json_text(&o, "made", l->clone->at);
    if (l->clone->seen.valid)
        qb_json_number(&o, "bytes", l->clone->seen.length);
    else
        qb_json_null(&o, "bytes");
    qb_json_text(&o, "state", qb_backup_states[l->state]);
    qb_json_text(&o, "image", qb_backed_up_names[qb_backup_look_at_image(l->image)]);
    qb_json_line(stdout, o);
}

static void print_line(const struct line *l)
{
    char size[QB_TEXT_NUMBER];

    printf("%-22s  %-20s  %9s  %-10s  %-8s  ", l->run->id, l->clone->at ? l->clone->at : "-",
           l->clone->seen.valid ? qb_text_size(l->clone->seen.length, size) : "-",
           qb_backup_states[l->state], qb_backed_up_names[qb_backup_look_at_image(l->image)]);
    qb_text_safe(stdout, l->clone->path);
    fputc('\n', stdout);
}

static void show(struct listing *list, const struct line *l)
{
    if (!list->json && list->n == 0)
        printf("%-22s  %-20s  %9s  %-10s  %-8s  %s\n", "RUN", "MADE", "SIZE", "STATE", "IMAGE",
               "FILE");
    list->n++;
    if (list->json)
        json_line(l);
    else
        print_line(l);
}

static void list_file(struct listing *list, const struct qb_history *h, const struct qb_trace *t,
                      const struct qb_clone *c)
{
    bool amended = c == &t->clones.amended;
    struct line l = {h, t, amended ? "amended" : "clone", c, QB_BACKUP_KEPT};

    if (!c->path)
        return;
    l.state = qb_backup_look(&t->clones, c);
    /* A clone of an image that was not amended after all has been removed. */
    if (l.state != QB_BACKUP_GONE || t->committed)
        show(list, &l);
}

/* By an earlier version, which recorded that there is a clone and not which file it is. */
static void list_unnamed(struct listing *list, const struct qb_history *h, const struct qb_trace *t)
{
    QB_AUTO(qb_buf) char *real = realpath(t->path, NULL);
    QB_AUTO(qb_buf) char *path = NULL;
    struct qb_clone c = {0};
    struct line l = {h, t, "clone", &c, QB_BACKUP_UNRECORDED};

    if (asprintf(&path, "%s.%s.bak", real ? real : t->path, h->id) < 0)
        path = NULL;
    c.path = path;
    if (!path)
        return;
    if (qb_backup_look(&t->clones, &c) == QB_BACKUP_GONE)
        l.state = QB_BACKUP_GONE;
    show(list, &l);
}

static void list_run(struct listing *list, const struct qb_history *h)
{
    for (size_t i = 0; i < h->traces.n; i++) {
        const struct qb_trace *t = &h->traces.items[i];

        list_file(list, h, t, &t->clones.before);
        list_file(list, h, t, &t->clones.amended);
        if (t->clones.unnamed)
            list_unnamed(list, h, t);
    }
}

static int list_one(struct listing *list, const char *dir, const char *word, struct qb_err *err)
{
    struct qb_history h = {0};
    struct qb_run_id id;
    int r = qb_state_dir_pick(dir, word, &id, err);

    if (r == 0)
        r = qb_history_read(dir, id.text, &h, err);
    if (r == 0)
        list_run(list, &h);
    qb_history_free(&h);
    return r;
}

/* A journal that cannot be read hides no other one. */
static int list_all(struct listing *list, const char *dir, struct qb_err *err)
{
    qb_run_ids ids = {0};
    int r = qb_state_dir_list(dir, &ids, err);

    for (size_t i = 0; r == 0 && i < ids.n; i++)
        if (list_one(list, dir, ids.items[i].text, err) < 0)
            qb_backup_note(err->text);
    qb_vec_free(&ids);
    return r;
}

int qb_backup_list(const struct qb_cli *cli)
{
    struct listing list = {.json = qb_cli_has(cli, QB_OPTION_JSON)};
    const char *run = cli->n_operands > 1 ? cli->operands[1] : NULL;
    char dir[PATH_MAX];
    struct qb_err err;

    if (qb_state_dir_find(qb_cli_text(cli, QB_OPTION_STATE), dir, &err) < 0 ||
        (run ? list_one(&list, dir, run, &err) : list_all(&list, dir, &err)) < 0)
        return qb_backup_refuse(cli, &err);
    if (!list.json && list.n == 0)
        puts("no clones are recorded");
    return qb_stdout_end(QB_EXIT_OK);
}
