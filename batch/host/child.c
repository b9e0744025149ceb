#include "host/child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "util/text.h"

#define GRACE_SECONDS 2.0

enum {
    POLL_MS = 50,         /* between two looks at whether to stop */
    SAID = 160,           /* bytes of what the command wrote last */
    FIRST_OF_ITS_OWN = 3, /* descriptors up to here are the standard ones */
};

extern char **environ;

/* ---- words ----------------------------------------------------------------------------------- */

static const struct qb_child_value *value_at(const char *at, const struct qb_child_value *values,
                                             size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(at, values[i].name, strlen(values[i].name)) == 0)
            return &values[i];
    return NULL;
}

static char *replaced(const char *word, const struct qb_child_value *values, size_t n)
{
    QB_AUTO(qb_buf) char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return NULL;
    while (*word) {
        const struct qb_child_value *v = value_at(word, values, n);

        if (v)
            fputs(v->text, f);
        else
            fputc(*word, f);
        word += v ? strlen(v->name) : 1;
    }
    return fclose(f) == 0 ? qb_take(&text) : NULL;
}

void qb_child_words_free(char **words)
{
    for (size_t i = 0; words && words[i]; i++)
        free(words[i]);
    free(words);
}

char **qb_child_fill(const struct qb_name_list *command, const struct qb_child_value *values,
                     size_t n)
{
    char **words = calloc(command->n + 1, sizeof(*words));

    for (size_t i = 0; words && i < command->n; i++) {
        words[i] = i == 0 ? strdup(command->items[0]) : replaced(command->items[i], values, n);
        if (!words[i]) {
            qb_child_words_free(words);
            return NULL;
        }
    }
    return words;
}

char **qb_child_words(const struct qb_name_list *command, const char *path, uint64_t bytes)
{
    QB_AUTO(qb_buf) char *plain = NULL;
    char number[24];

    snprintf(number, sizeof(number), "%" PRIu64, bytes);
    if (asprintf(&plain, "%s%s", path[0] == '-' ? "./" : "", path) < 0)
        return NULL;
    return qb_child_fill(command, (struct qb_child_value[]){{"{path}", plain}, {"{bytes}", number}},
                         2);
}

/* ---- running --------------------------------------------------------------------------------- */

struct running {
    const char *name;
    pid_t pid;
    int output; /* the reading end of its output; -1 once that has ended */
    char said[SAID];
    size_t n_said; /* bytes in all: said holds the last ones, as a ring */
};

/* Which signals this process ignores depends on what it is: the helper ignores those that end it.
 */
static int set_signals(posix_spawnattr_t *how)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(how, &none);
    posix_spawnattr_setsigdefault(how, &all);
    posix_spawnattr_setpgroup(how, 0);
    return posix_spawnattr_setflags(how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                             POSIX_SPAWN_SETPGROUP);
}

/* An errno, or 0. */
static int start(char *const words[], int output, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    int r = posix_spawn_file_actions_init(&files);

    if (r)
        return r;
    r = posix_spawnattr_init(&how);
    if (r) {
        posix_spawn_file_actions_destroy(&files);
        return r;
    }
    r = set_signals(&how);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
    if (r == 0) /* O_CLOEXEC closes all of them; this holds for what a library opened, too */
        r = posix_spawn_file_actions_addclosefrom_np(&files, FIRST_OF_ITS_OWN);
    if (r == 0)
        r = posix_spawnp(pid, words[0], &files, &how, words, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return r;
}

static void end_output(struct running *r)
{
    if (r->output >= 0)
        close(r->output);
    r->output = -1;
}

/* Takes what there is to read, of which there may be any amount. */
static void listen_to(struct running *r)
{
    char some[4096];
    ssize_t n = r->output < 0 ? -1 : read(r->output, some, sizeof(some));

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        end_output(r);
    for (ssize_t i = 0; i < n; i++)
        r->said[r->n_said++ % SAID] = some[i];
}

/* Listens for a moment; whether the command has ended, with its status. */
static bool has_ended(struct running *r, int *status)
{
    struct pollfd look = {.fd = r->output, .events = POLLIN};
    pid_t pid;

    poll(&look, 1, POLL_MS);
    listen_to(r);
    pid = waitpid(r->pid, status, WNOHANG);
    if (pid < 0 && errno == ECHILD)
        *status = -1;
    return pid == r->pid || (pid < 0 && errno == ECHILD);
}

/* A group that is not there any more is no failure. */
static void kill_it(struct running *r)
{
    double until = qb_now() + GRACE_SECONDS;
    int status;

    kill(-r->pid, SIGTERM);
    kill(-r->pid, SIGCONT); /* one that waits for a terminal */
    while (!has_ended(r, &status))
        if (qb_now() > until) {
            kill(-r->pid, SIGKILL);
            until += GRACE_SECONDS;
        }
}

/* What it wrote last, in one line. */
static char *last_words(const struct running *r)
{
    size_t n = QB_MIN(r->n_said, (size_t)SAID), at = r->n_said - n, len = 0, used = 0;
    char plain[SAID + 1], *text = NULL;
    FILE *f;

    for (size_t i = 0; i < n; i++) {
        char c = r->said[(at + i) % SAID];

        if (c == '\n' || c == '\r' || c == '\t' || c == '\0')
            c = ' ';
        if (c != ' ' || (used > 0 && plain[used - 1] != ' '))
            plain[used++] = c;
    }
    while (used > 0 && plain[used - 1] == ' ')
        used--;
    plain[used] = '\0';
    f = open_memstream(&text, &len);
    if (!f)
        return NULL;
    if (used > 0)
        fprintf(f, ": %s", r->n_said > SAID ? "..." : "");
    qb_text_safe(f, plain);
    fclose(f);
    return text;
}

static int judge(const struct running *r, int status, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *words = NULL;

    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    words = last_words(r);
    if (status < 0)
        return qb_fail(err, QB_E_NO_SPACE, QB_NOWHERE, "how %.80s ended is not known%s", r->name,
                       words ? words : "");
    return qb_fail(err, QB_E_NO_SPACE, QB_NOWHERE, "%.80s %s %d%s", r->name,
                   WIFEXITED(status) ? "ended with exit code" : "was ended by signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), words ? words : "");
}

static int wait_for(struct running *r, struct qb_io *io, struct qb_err *err)
{
    int status = 0;

    while (!has_ended(r, &status))
        if (qb_io_go_on(io, err) < 0) {
            kill_it(r);
            return -1;
        }
    /* What it left running may hold the other end for ever: only what is there is read. */
    for (unsigned i = 0; r->output >= 0 && i < SAID; i++) {
        size_t before = r->n_said;

        listen_to(r);
        if (r->n_said == before)
            break;
    }
    return judge(r, status, err);
}

int qb_child_run(char *const words[], struct qb_io *io, struct qb_err *err)
{
    struct running r = {.name = words[0]};
    int ends[2], errnum, result;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot run %.80s", words[0]);
    r.output = ends[0];
    errnum = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? errno : start(words, ends[1], &r.pid);
    close(ends[1]);
    if (errnum) {
        result = qb_fail_sys(err, errnum, QB_NOWHERE, "cannot run %.80s", words[0]);
        err->code = QB_E_NO_SPACE;
    } else {
        result = wait_for(&r, io, err);
    }
    end_output(&r);
    return result;
}
