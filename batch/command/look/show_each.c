#include "look/show_each.h"

#include "cli/cli_check.h"
#include "util/exit_code.h"
#include "util/signal.h"

struct qb_show qb_show_of(const struct qb_cli *cli, const struct qb_batch *batch)
{
    return (struct qb_show){.batch = batch,
                            .program = qb_cli_program(cli->command),
                            .json = qb_cli_has(cli, QB_OPTION_JSON),
                            .without_locks = qb_cli_has(cli, QB_OPTION_FORCE_SHARE)};
}

enum qb_each_outcome qb_show_outcome(bool was_read, const struct qb_err *err,
                                     const struct qb_each_turn *turn)
{
    if (!was_read && err->code == QB_E_CANCELLED)
        return QB_EACH_STOPPED;
    if (!was_read && err->code == QB_E_MEMORY && !turn->is_all)
        return QB_EACH_CROWDED;
    return QB_EACH_ANSWERED;
}

unsigned qb_show_verdict(struct qb_suits suits)
{
    return suits.broken | (unsigned)suits.undecided << 16;
}

static bool take(void *arg, size_t i, const struct qb_answer *a)
{
    struct qb_show *s = arg;

    if (s->fleet && !a->failed)
        qb_profile_fleet_add(s->fleet, i,
                             (struct qb_suits){(uint16_t)a->verdict, (uint16_t)(a->verdict >> 16)});
    s->sum.failed += a->failed;
    s->cut_off += a->code == QB_E_CANCELLED;
    s->sum.incomplete |= a->lost;
    return true;
}

/* What a profile says of all images, as the end of the text. */
static void print_fleet(struct qb_show *s)
{
    if (s->batch->n_jobs > 1)
        qb_profile_fleet_print(stdout, s->fleet);
    if (s->batch->n_jobs > 1)
        qb_read_summary_print(stdout, &s->sum);
    qb_profile_manifest(stdout, s->fleet);
}

static void look_at_fleet(struct qb_show *s)
{
    s->sum.fleet = s->fleet;
    s->sum.incomplete |= s->fleet->incomplete;
}

static void finish(struct qb_show *s, const struct qb_each_sum *done, int *code)
{
    bool unfit = s->fleet && s->fleet->unfit + s->fleet->undecided > 0;

    if (s->fleet)
        look_at_fleet(s);
    s->sum.images = done->images;
    s->sum.not_reached = done->not_reached;
    s->sum.seconds = done->seconds;
    *code = qb_signal_seen() ? QB_EXIT_INTERRUPTED
            : s->sum.failed > s->cut_off || s->sum.incomplete || unfit || done->gave_up
                ? QB_EXIT_FAILED
                : QB_EXIT_OK;
    if (s->sum.incomplete)
        fprintf(stderr, "%s: memory was short: some images are missing above\n", s->program);
    if (done->stdout_errno)
        return;
    if (s->json)
        qb_line_read_summary(stdout, &s->sum, *code);
    else if (s->fleet)
        print_fleet(s);
    else if (s->batch->n_jobs > 1)
        qb_read_summary_print(stdout, &s->sum);
}

int qb_show_each(struct qb_show *show, const struct qb_cli *cli, qb_answer_image_fn *fn,
                 qb_lose_image_fn *lose, int *code, int *stdout_errno, struct qb_err *err)
{
    const struct qb_each each = {.batch = show->batch,
                                 .program = show->program,
                                 .io = cli->io,
                                 .jobs = cli->jobs,
                                 .watching = cli->watching,
                                 .doing = QB_DOING_READING,
                                 .out = stdout,
                                 .confining = show->confining,
                                 .arg = show,
                                 .answer = fn,
                                 .take = take,
                                 .lose = lose,
                                 .json = show->json};
    struct qb_each_sum done;

    if (qb_each_image(&each, &done, err) < 0)
        return -1;
    finish(show, &done, code);
    *stdout_errno = done.stdout_errno;
    return 0;
}
