/* `qbatch info`: what `qemu-img info` tells, of many images. */
#include <string.h>

#include "base/own.h"
#include "common/commands.h"
#include "look/show_each.h"
#include "chain/chain.h"
#include "text/failure.h"
#include "text/info.h"
#include "util/text.h"

enum {
    WIDTH_MAX = 60,       /* columns for the names of images */
    MEMORY_PER_BYTE = 32, /* an entry of a table takes so much more while it is made a text */
};

struct shown {
    struct qb_show show; /* first: qb_show_each hands it out */
    int width;           /* of the names */
};

/* With a profile, what many images have in common is told at the end, and no row of each. */
static void print(const struct shown *s, FILE *out, const char *path,
                  const struct qb_image_facts *facts, const struct qb_suited *suited,
                  struct qb_answer *a)
{
    if (s->show.json)
        a->lost = qb_line_info(out, path, facts, suited, s->show.without_locks) < 0;
    else if (s->show.batch->n_jobs == 1)
        qb_info_print(out, path, facts);
    else if (!suited)
        qb_info_row(out, s->width, path, facts);
    if (suited && !s->show.json && s->show.batch->n_jobs == 1)
        qb_profile_print(out, suited);
    a->verdict = suited ? qb_show_verdict(suited->suits) : 0;
}

/* ---- the profile ----------------------------------------------------------------------------- */

/* The files of the image's chain, itself included; 0, with `why`: not known. */
static unsigned chain_of(struct qb_io *io, const struct qb_image_facts *facts, bool without_locks,
                         struct qb_err *why)
{
    struct qb_chain chain = {0};
    unsigned how = QB_CHAIN_WHOLE | (without_locks ? QB_CHAIN_WITHOUT_LOCKS : 0);
    unsigned n;

    if (qb_chain_open(io,
                      &(struct qb_chain_top){facts->file.path, &facts->file,
                                             facts->img.backing_name, facts->img.backing_fmt},
                      how, &chain, why) < 0)
        return 0;
    n = (unsigned)chain.n + 1;
    qb_chain_close(&chain);
    return n;
}

/* -1 only where it was interrupted. */
static int suit(const struct shown *s, struct qb_io *io, const struct qb_image_facts *facts,
                struct qb_suited *out, struct qb_err *err)
{
    enum qb_profile profile = s->show.fleet->profile;
    struct qb_suit image = {.info = &facts->info};

    if (qb_profile_needs_chain(profile))
        image.chain = chain_of(io, facts, s->show.without_locks, err);
    if (err->code == QB_E_CANCELLED)
        return -1;
    *out = (struct qb_suited){profile, qb_profile_test(profile, &image), err->text};
    return 0;
}

/* ---- an image -------------------------------------------------------------------------------- */

static void print_failure(const struct qb_show *s, FILE *out, const char *path,
                          const struct qb_err *err, struct qb_answer *a)
{
    struct qb_failure failure = qb_failure_of(err);

    a->failed = true;
    if (s->json)
        a->lost = qb_line_info_failed(out, path, &failure, s->without_locks) < 0;
    else
        a->failure = qb_failure_line(s->program, path, &failure);
    a->lost |= !s->json && !a->failure;
}

/* `err` is NULL where the facts were read, and `suited` without a profile. */
static struct qb_answer answer_of(const struct shown *s, const char *path,
                                  const struct qb_image_facts *facts,
                                  const struct qb_suited *suited, const struct qb_err *err)
{
    struct qb_answer a = {0};
    FILE *out = open_memstream(&a.text, &a.len);

    if (out && err)
        print_failure(&s->show, out, path, err, &a);
    else if (out)
        print(s, out, path, facts, suited, &a);
    a.failed |= !out;
    a.lost |= !out || fclose(out) != 0 || !a.text;
    return a;
}

static enum qb_each_outcome answer(void *show, struct qb_io *io, size_t i,
                                   const struct qb_each_turn *turn, struct qb_answer *out)
{
    const struct shown *s = show;
    const char *path = s->show.batch->jobs[i].path;
    QB_AUTO(qb_image_facts_close) struct qb_image_facts facts;
    struct qb_err err = {.offset = QB_NOWHERE}, why = {.offset = QB_NOWHERE};
    struct qb_suited suited;
    bool was_read = qb_image_facts_read(io, path, turn->file, s->show.without_locks,
                                        turn->memory / MEMORY_PER_BYTE, &facts, &err) == 0;
    enum qb_each_outcome outcome = qb_show_outcome(was_read, &err, turn);

    if (was_read && s->show.fleet && suit(s, io, &facts, &suited, &why) < 0)
        return QB_EACH_STOPPED;
    if (outcome == QB_EACH_ANSWERED)
        *out = answer_of(s, path, &facts, was_read && s->show.fleet ? &suited : NULL,
                         was_read ? NULL : &err);
    return outcome;
}

static void lose(void *show, size_t i, const struct qb_err *err, bool begun, struct qb_answer *out)
{
    const struct shown *s = show;

    (void)begun;
    *out = answer_of(s, s->show.batch->jobs[i].path, NULL, NULL, err);
}

static int width_of(const struct qb_batch *batch)
{
    size_t widest = strlen("image");

    for (size_t i = 0; i < batch->n_jobs && widest < WIDTH_MAX; i++)
        widest = qb_max(widest, qb_text_columns(batch->jobs[i].path));
    return (int)QB_MIN(widest, WIDTH_MAX);
}

static int show(const struct qb_cli *cli, const struct qb_batch *batch,
                struct qb_confining *confining, int *code, int *stdout_errno, struct qb_err *err)
{
    struct shown s = {.show = qb_show_of(cli, batch), .width = width_of(batch)};
    QB_AUTO(qb_profile_fleet_free) struct qb_profile_fleet fleet;

    qb_profile_fleet_start(&fleet, (enum qb_profile)cli->words[QB_OPTION_PROFILE], batch);
    if (qb_cli_has(cli, QB_OPTION_PROFILE))
        s.show.fleet = &fleet;
    if (!s.show.json && !s.show.fleet && batch->n_jobs > 1)
        qb_info_head(stdout, s.width);
    s.show.confining = confining;
    return qb_show_each(&s.show, cli, answer, lose, code, stdout_errno, err);
}

int qb_command_info(const struct qb_cli *cli)
{
    return qb_each_command(cli, show);
}
