#include "journal/state_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char suffix[] = ".journal";

enum { LOCK_TRIES = 200, LOCK_WAIT_NS = 10 * 1000 * 1000 };

/* ---- where ----------------------------------------------------------------------------------- */

static int put_path(char out[PATH_MAX], const char *base, size_t base_len, const char *tail,
                    struct qb_err *err)
{
    int n = snprintf(out, PATH_MAX, "%.*s%s", (int)base_len, base, tail);

    if (base_len > PATH_MAX || n >= PATH_MAX)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "the state directory's name is too long");
    return 0;
}

static bool is_set(const char *s)
{
    return s && *s;
}

int qb_state_dir_find(const char *wanted, char out[PATH_MAX], struct qb_err *err)
{
    const char *systemd = getenv("STATE_DIRECTORY"), *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");

    if (wanted)
        return put_path(out, wanted, strlen(wanted), "", err);
    if (is_set(systemd)) /* a unit may have several, with colons between them */
        return put_path(out, systemd, strcspn(systemd, ":"), "", err);
    if (geteuid() == 0)
        return put_path(out, "/var/lib", 8, "/qbatch", err);
    if (is_set(xdg) && xdg[0] == '/')
        return put_path(out, xdg, strlen(xdg), "/qbatch", err);
    if (is_set(home))
        return put_path(out, home, strlen(home), "/.local/state/qbatch", err);
    return qb_fail(
        err, QB_E_NOT_FOUND, QB_NOWHERE,
        "no state directory: neither HOME nor XDG_STATE_HOME is set; name one with --state");
}

/* ---- whose ----------------------------------------------------------------------------------- */

static int check_folder(const struct stat *st, const char *dir, struct qb_err *err)
{
    if (!S_ISDIR(st->st_mode))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the state directory %.200s is not a directory", dir);
    if (st->st_uid != geteuid())
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the state directory %.200s belongs to user %u, not to the present user %u",
                       dir, (unsigned)st->st_uid, (unsigned)geteuid());
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return qb_fail(
            err, QB_E_REFUSED, QB_NOWHERE,
            "other users can write to the state directory %.200s (mode %03o; chmod go-w)", dir,
            (unsigned)st->st_mode & 0777);
    return 0;
}

/* Where everybody may rename what is in a folder above, any folder can take this one's place. */
static int check_above(const char *real, const char *dir, struct qb_err *err)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof(path), "%s", real);
    for (char *slash = strrchr(path, '/'); slash; slash = strrchr(path, '/')) {
        slash[slash == path] = '\0';
        if (stat(path, &st) == 0 && (st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX))
            return qb_fail(
                err, QB_E_REFUSED, QB_NOWHERE,
                "the state directory %.200s can be replaced by anyone: %.200s is writable "
                "for all, without the sticky bit",
                dir, path);
        if (slash == path)
            break;
    }
    return 0;
}

int qb_state_dir_check(const char *dir, struct qb_err *err)
{
    char real[PATH_MAX];
    struct stat st;

    if (stat(dir, &st) < 0)
        return errno == ENOENT ? 0
                               : qb_fail_sys(err, errno, QB_NOWHERE,
                                             "cannot use the state directory %.200s", dir);
    if (check_folder(&st, dir, err) < 0)
        return -1;
    return realpath(dir, real) ? check_above(real, dir, err) : 0;
}

int qb_state_dir_make(const char *dir, struct qb_err *err)
{
    char path[PATH_MAX];

    if (put_path(path, dir, strlen(dir), "", err) < 0)
        return -1;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755); /* the last call reports the error */
        *slash = '/';
    }
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot make the state directory %.200s", dir);
    if (qb_state_dir_check(path, err) < 0)
        return -1;
    if (access(path, W_OK | X_OK) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot use the state directory %.200s", dir);
    return 0;
}

int qb_state_dir_sync(const char *dir, struct qb_err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 || fsync(fd) < 0
                ? qb_fail_sys(err, errno, QB_NOWHERE, "cannot sync the state directory %.200s", dir)
                : 0;

    if (fd >= 0)
        close(fd);
    return r;
}

/* ---- names ----------------------------------------------------------------------------------- */

enum { NUMBERS = 1 << 24 };

static struct qb_run_id make_id(time_t at, unsigned number)
{
    struct qb_run_id id;
    struct tm utc;
    size_t n;

    gmtime_r(&at, &utc);
    n = strftime(id.text, sizeof(id.text), "%Y%m%d-%H%M%S", &utc);
    snprintf(id.text + n, sizeof(id.text) - n, "-%06x", number % NUMBERS);
    return id;
}

struct qb_run_id qb_state_dir_new_id(void)
{
    struct timespec t;
    uint32_t random;

    clock_gettime(CLOCK_REALTIME, &t);
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
        random = (uint32_t)t.tv_nsec ^ (uint32_t)getpid() << 16;
    return make_id(t.tv_sec, random);
}

/* The name after `last`: of the same second, or the first of the next one. */
static bool follow(const char *last, struct qb_run_id *out)
{
    struct tm utc = {0};
    const char *end = strptime(last, "%Y%m%d-%H%M%S-", &utc);
    unsigned long number = end ? strtoul(end, NULL, 16) : 0;
    time_t at = end ? timegm(&utc) : 0;

    if (!end)
        return false;
    *out = number + 1 < NUMBERS ? make_id(at, (unsigned)number + 1) : make_id(at + 1, 0);
    return true;
}

int qb_state_dir_next_id(const char *dir, struct qb_run_id *out, struct qb_err *err)
{
    qb_run_ids ids = {0};
    int r = qb_state_dir_list(dir, &ids, err);

    *out = qb_state_dir_new_id();
    for (size_t i = ids.n; r == 0 && i-- > 0;)
        if (strcmp(out->text, ids.items[i].text) > 0 || follow(ids.items[i].text, out))
            break;
    qb_vec_free(&ids);
    return r;
}

int qb_state_dir_lock(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (unsigned tries = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
        if (tries >= LOCK_TRIES) {
            close(fd);
            return -1;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOCK_WAIT_NS}, NULL);
    }
    return fd;
}

void qb_state_dir_journal(const char *dir, const char *id, char out[QB_JOURNAL_PATH])
{
    snprintf(out, QB_JOURNAL_PATH, "%s/%s%s", dir, id, suffix);
}

void qb_state_dir_remove(const char *dir, const char *id)
{
    char path[QB_JOURNAL_PATH];

    qb_state_dir_journal(dir, id, path);
    unlink(path);
    snprintf(path, sizeof(path), "%s/%s.ctl", dir, id);
    unlink(path);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int qb_state_dir_list(const char *dir, qb_run_ids *out, struct qb_err *err)
{
    DIR *d;
    struct dirent *e;
    int r = 0;

    if (qb_state_dir_check(dir, err) < 0)
        return -1;
    d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0
                               : qb_fail_sys(err, errno, QB_NOWHERE,
                                             "cannot read the state directory %.200s", dir);
    while (r == 0 && (e = readdir(d)) != NULL) {
        size_t len = strlen(e->d_name), tail = sizeof(suffix) - 1;
        struct qb_run_id id = {""};

        if (len <= tail || len - tail >= sizeof(id.text) ||
            strcmp(e->d_name + len - tail, suffix) != 0)
            continue;
        memcpy(id.text, e->d_name, len - tail);
        if (!qb_vec_push(out, id))
            r = qb_fail_memory(err);
    }
    closedir(d);
    if (out->n)
        qsort(out->items, out->n, sizeof(*out->items), by_name);
    return r;
}

static int pick(const qb_run_ids *ids, const char *word, struct qb_run_id *out, struct qb_err *err)
{
    size_t found = 0;

    for (size_t i = 0; i < ids->n; i++) {
        const struct qb_run_id *id = &ids->items[i];

        if (strcmp(word, "last") == 0 || strcmp(id->text, word) == 0) {
            *out = *id; /* the newest is last */
            found = 1;
        } else if (*word && strncmp(id->text, word, strlen(word)) == 0) {
            *out = *id;
            found++;
        }
    }
    if (found == 1)
        return 0;
    if (ids->n == 0)
        return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE,
                       "no runs are recorded in this state directory");
    if (found == 0)
        return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE,
                       "no run is called \"%.40s\"; qbatch status lists all", word);
    return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE,
                   "%zu runs are called \"%.40s\"; qbatch status lists all", found, word);
}

int qb_state_dir_pick(const char *dir, const char *word, struct qb_run_id *out, struct qb_err *err)
{
    qb_run_ids ids = {0};
    int r = qb_state_dir_list(dir, &ids, err);

    if (r == 0)
        r = pick(&ids, word, out, err);
    qb_vec_free(&ids);
    return r;
}
