#include <errno.h>
#include <string.h>

#include "cli/cli_check.h"
#include "look/each_image.h"
#include "look/images.h"
#include "common/confined_reading.h"
#include "common/output.h"
#include "common/shard_batch.h"
#include "host/caller.h"
#include "host/priority.h"
#include "record/report_json.h"
#include "util/signal.h"
#include "util/text.h"

static void free_batch(struct qb_batch *batch)
{
    qb_batch_free(batch);
}

/* No image was read; what is wrong was said. */
static int refuse(const struct qb_cli *cli, const char *what, int code)
{
    code = qb_signal_seen() ? QB_EXIT_INTERRUPTED : code;
    if (qb_cli_has(cli, QB_OPTION_JSON))
        qb_line_abort(stdout, what, code);
    return qb_stdout_end(code);
}

static int refuse_start(const struct qb_cli *cli, const struct qb_err *err)
{
    fprintf(stderr, "%s: ", qb_cli_program(cli->command));
    qb_text_safe(stderr, err->text);
    fputc('\n', stderr);
    return refuse(cli, err->text, QB_EXIT_FAILED);
}

static int end_with(int code, int stdout_errno)
{
    code = qb_signal_seen() ? QB_EXIT_INTERRUPTED : code;
    if (stdout_errno == 0)
        return qb_stdout_end(code);
    if (stdout_errno == EPIPE) /* a reader that went away is not an error */
        return code;
    fprintf(stderr, "qbatch: standard output: %s\n", strerror(stdout_errno));
    return code ? code : 1;
}

int qb_each_command(const struct qb_cli *cli, qb_each_fn *fn)
{
    __attribute__((cleanup(free_batch))) struct qb_batch batch;
    __attribute__((cleanup(qb_confining_end))) struct qb_confining confining = {.begun = false};
    int stdout_errno = 0, code = 0;
    struct qb_err err;
    const char *what;

    if (qb_images_collect(cli, &batch, &what) < 0)
        return refuse(cli, what, QB_EXIT_USAGE);
    if (cli->shard.of && qb_shard_list(&batch, cli->shard, &err) < 0)
        return refuse_start(cli, &err);
    qb_caller_note(&batch.origin);
    if (batch.limits.deadline_seconds > 0)
        qb_signal_deadline(batch.limits.deadline_seconds);
    qb_confining_init(&confining, &batch, true);
    if (qb_neighbour_begin(&batch.limits, &err) < 0 || qb_confining_check(&confining, &err) < 0 ||
        fn(cli, &batch, &confining, &code, &stdout_errno, &err) < 0)
        return refuse_start(cli, &err);
    qb_confining_tell_lack(cli, &confining);
    return end_with(code, stdout_errno);
}
