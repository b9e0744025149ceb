/* `qbatch ctl`: asks a run in progress for something, by its control socket. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "common/commands.h"
#include "common/output.h"
#include "ctl/socket.h"
#include "host/caller.h"
#include "journal/runs.h"
#include "record/report_json.h"
#include "util/signal.h"
#include "util/text.h"

static int refuse(const struct qb_cli *cli, const char *why, int code)
{
    fputs("qbatch ctl: ", stderr);
    qb_text_safe(stderr, why);
    fputc('\n', stderr);
    if (qb_cli_has(cli, QB_OPTION_JSON))
        qb_line_abort(stdout, why, code);
    return qb_stdout_end(code);
}

/* ---- which run ------------------------------------------------------------------------------- */

static bool is_held(const char *dir, struct qb_run_id id)
{
    char path[QB_JOURNAL_PATH];

    qb_state_dir_journal(dir, id.text, path);
    return qb_journal_is_held(path);
}

/* The only run of the directory on which a process works. */
static int find_only(const char *dir, struct qb_run_id *out, struct qb_err *err)
{
    qb_run_ids ids = {0};
    size_t found = 0;
    int r = qb_state_dir_list(dir, &ids, err);

    for (size_t i = 0; r == 0 && i < ids.n; i++)
        if (is_held(dir, ids.items[i])) {
            *out = ids.items[i];
            found++;
        }
    qb_vec_free(&ids);
    if (r < 0 || found == 1)
        return r;
    if (found == 0)
        return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE, "no run is under way");
    return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE,
                   "%zu runs are under way; name one of them (qbatch status lists all)", found);
}

static int reach(const struct qb_cli *cli, struct qb_err *err)
{
    char dir[PATH_MAX];
    struct qb_run_id id;
    int r;

    if (qb_state_dir_find(qb_cli_text(cli, QB_OPTION_STATE), dir, err) < 0)
        return -1;
    r = qb_cli_order(cli) > 0 ? qb_state_dir_pick(dir, cli->operands[0], &id, err)
                              : find_only(dir, &id, err);
    return r < 0 ? -1 : qb_ctl_connect(dir, id.text, err);
}

/* ---- one request, one answer ----------------------------------------------------------------- */

/* The image by its name, and by the file that has this name here: the run may have begun in another
 * directory, and reached it by another path. */
static void put_image(struct qb_json *o, const char *path)
{
    struct stat st;

    qb_json_path(o, path);
    if (stat(path, &st) < 0)
        return;
    qb_json_number(o, "dev", st.st_dev);
    qb_json_number(o, "ino", st.st_ino);
}

static void put_limits(struct qb_json *o, char *const *limits, size_t n)
{
    struct qb_json list = qb_json_list();

    for (size_t i = 0; i < n; i++)
        qb_json_append_string(&list, limits[i]);
    qb_json_child(o, "limits", list);
}

static char *request_of(const struct qb_cli *cli)
{
    char *const *order = cli->operands + qb_cli_order(cli);
    size_t more = cli->n_operands - qb_cli_order(cli) - 1;
    struct qb_json o = qb_json_object();
    struct qb_origin origin = {0};
    size_t len;

    qb_caller_note(&origin);
    qb_json_number(&o, "version", QB_CTL_VERSION);
    qb_json_text(&o, "command", order[0]);
    qb_json_bool(&o, "now", qb_cli_has(cli, QB_OPTION_NOW));
    qb_json_text(&o, "caller", origin.caller);
    qb_origin_free(&origin);
    if (strcmp(order[0], "skip") == 0)
        put_image(&o, order[1]);
    if (strcmp(order[0], "limits") == 0)
        put_limits(&o, order + 1, more);
    return qb_json_take(o, &len);
}

/* A socket with a timeout returns EINTR also when the process was stopped and goes on. */
static bool is_to_try_again(ssize_t n)
{
    return n < 0 && errno == EINTR && !qb_signal_seen();
}

/* *out is the caller's to drop. */
static int ask(const struct qb_cli *cli, int fd, struct qb_parsed *out, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *request = request_of(cli), *answer = malloc(QB_CTL_ANSWER);
    ssize_t n;

    if (!request || !answer)
        return qb_fail_memory(err);
    do
        n = send(fd, request, strlen(request), MSG_NOSIGNAL);
    while (is_to_try_again(n));
    if (n > 0)
        do
            n = recv(fd, answer, QB_CTL_ANSWER, 0);
        while (is_to_try_again(n));
    if (n < 0 && errno == EAGAIN)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the run has not answered yet, as if its process were stopped; once it goes "
                       "on, it may still do what it was told");
    if (n < 0 && errno != ECONNRESET && errno != EPIPE)
        return qb_fail_sys(err, errno, QB_NOWHERE, "the run does not answer");
    if (n <= 0 || !qb_json_parse(answer, (size_t)n, out))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "the run ended before it answered");
    return 0;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static uint64_t number(const struct qb_parsed *o, const char *key)
{
    return qb_json_get_number(o, key, 0);
}

static void put_line(const char *name, const char *text)
{
    if (!text)
        return;
    printf("%-10s ", name);
    qb_text_safe(stdout, text);
    putchar('\n');
}

static void put_busy(void *arg, const struct qb_parsed *item)
{
    QB_AUTO(qb_buf) char *path = qb_json_get_path(item);
    const char *doing = qb_json_get_text(item, "doing");
    char took[QB_TEXT_NUMBER];

    (void)arg;
    printf("%-10s ", doing ? doing : "");
    qb_text_safe(stdout, path ? path : "");
    printf(", %s\n", qb_text_seconds(qb_json_get_real(item, "seconds"), took));
}

static void put_limit(void *arg, const char *key, const char *text)
{
    (void)arg;
    fputs("limit      ", stdout);
    qb_text_safe(stdout, key);
    putchar('=');
    qb_text_safe(stdout, text);
    putchar('\n');
}

static void show_status(const struct qb_parsed *o)
{
    const char *state = qb_json_get_text(o, "state"), *waits = qb_json_get_text(o, "waits_for");
    struct qb_parsed limits;
    bool for_it = state && waits && strcmp(state, "waiting") == 0;

    put_line("run", qb_json_get_text(o, "run"));
    put_line("manifest", qb_json_get_text(o, "manifest"));
    put_line("started", qb_json_get_text(o, "started"));
    printf("%-10s %s%s%s\n", "state", state ? state : "", for_it ? " for " : "",
           for_it ? waits : "");
    printf("%-10s %" PRIu64 " of %" PRIu64 " done, %" PRIu64 " failed, %" PRIu64 " under way\n",
           "images", number(o, "done"), number(o, "images"), number(o, "failed"),
           number(o, "under_way"));
    if (number(o, "steps"))
        printf("%-10s %" PRIu64 " of %" PRIu64 "\n", "step", number(o, "step"), number(o, "steps"));
    printf("%-10s %" PRIu64 "\n", "wave", number(o, "wave"));
    printf("%-10s %.1f MiB, %.1f MiB/s\n", "written", (double)number(o, "written_bytes") / 1048576,
           qb_json_get_real(o, "bytes_per_second") / 1048576);
    limits = qb_json_get_child(o, "limits");
    qb_json_each_text(&limits, put_limit, NULL);
    qb_json_each_object(o, "busy", put_busy, NULL);
}

/* Takes the answer over. */
static int show(const struct qb_cli *cli, struct qb_parsed *answer)
{
    const char *text = qb_json_get_text(answer, "text"), *error = qb_json_get_text(answer, "error");
    int code = 0;

    if (!qb_json_get_bool(answer, "ok")) {
        code = refuse(cli, error ? error : "the run refused without a reason", QB_EXIT_FAILED);
    } else if (qb_cli_has(cli, QB_OPTION_JSON)) {
        qb_parsed_line(stdout, answer);
    } else if (text) {
        qb_text_safe(stdout, text);
        putchar('\n');
    } else {
        show_status(answer);
    }
    qb_json_drop(answer);
    return qb_stdout_end(code);
}

int qb_command_ctl(const struct qb_cli *cli)
{
    struct qb_parsed answer;
    struct qb_err err;
    int fd = reach(cli, &err), r;

    if (fd < 0)
        return refuse(cli, err.text, QB_EXIT_USAGE);
    r = ask(cli, fd, &answer, &err);
    close(fd);
    return r < 0 ? refuse(cli, err.text, QB_EXIT_FAILED) : show(cli, &answer);
}
