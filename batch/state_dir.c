#include "batch/state_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char suffix[] = ".journal";

/* ---- where ----------------------------------------------------------------------------------- */

static int put_path(char out[PATH_MAX], const char *base, size_t base_len, const char *tail,
                    struct qb_err *err)
{
    int n = snprintf(out, PATH_MAX, "%.*s%s", (int)base_len, base, tail);

    if (base_len > PATH_MAX || n >= PATH_MAX)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "the state folder's name is too long");
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
    return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE, "no state folder: HOME is not set");
}

int qb_state_dir_make(const char *dir, struct qb_err *err)
{
    char path[PATH_MAX];
    struct stat st;

    if (put_path(path, dir, strlen(dir), "", err) < 0)
        return -1;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755); /* the last call tells what is wrong */
        *slash = '/';
    }
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot make the state folder %.200s", dir);
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "the state folder %.200s is no folder", dir);
    if (access(path, W_OK | X_OK) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot use the state folder %.200s", dir);
    return 0;
}

int qb_state_dir_sync(const char *dir, struct qb_err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 || fsync(fd) < 0
                ? qb_fail_sys(err, errno, QB_NOWHERE, "cannot sync the state folder %.200s", dir)
                : 0;

    if (fd >= 0)
        close(fd);
    return r;
}

/* ---- names ----------------------------------------------------------------------------------- */

struct qb_run_id qb_state_dir_new_id(void)
{
    struct qb_run_id id;
    struct timespec t;
    uint32_t random;
    struct tm utc;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);
    n = strftime(id.text, sizeof(id.text), "%Y%m%d-%H%M%S", &utc);
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
        random = (uint32_t)t.tv_nsec ^ (uint32_t)getpid() << 16;
    snprintf(id.text + n, sizeof(id.text) - n, "-%06x", random & 0xffffff);
    return id;
}

void qb_state_dir_journal(const char *dir, const char *id, char out[QB_JOURNAL_PATH])
{
    snprintf(out, QB_JOURNAL_PATH, "%s/%s%s", dir, id, suffix);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int qb_state_dir_list(const char *dir, qb_run_ids *out, struct qb_err *err)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int r = 0;

    if (!d)
        return errno == ENOENT ? 0
                               : qb_fail_sys(err, errno, QB_NOWHERE,
                                             "cannot read the state folder %.200s", dir);
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
            *out = *id; /* the newest stands last */
            found = 1;
        } else if (*word && strncmp(id->text, word, strlen(word)) == 0) {
            *out = *id;
            found++;
        }
    }
    if (found == 1)
        return 0;
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
