#include "scene/limit_fleet.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/num.h"
#include "scene/limit_file.h"

enum { THREADS_MAX = 256, WAVE_MAX = 128 };

typedef uint8_t sector_bytes[QB_SECTOR];

struct work {
    const struct bench_limit *limit;
    struct bench_limit_names names;
    sector_bytes *sectors; /* of all files, from one pass to the next; NULL: one pass is all */
    int dir;               /* for syncfs */
};

/* Every step-th file from the first one on. */
struct share {
    const struct work *work;
    size_t first, step;
    unsigned pass;
    int result;
};

/* ---- passes over the whole fleet ------------------------------------------------------------- */

static int fleet_file(const struct share *s, size_t i, void *buf)
{
    const struct work *w = s->work;
    const char *name = w->names.items[i].name;
    sector_bytes own, *sector = w->sectors ? &w->sectors[i] : &own;
    int fd = bench_limit_open(w->limit, name), r = 0;

    if (fd < 0)
        return -1;
    if (s->pass & BENCH_LIMIT_APPEND)
        r = bench_limit_append(w->limit, name, fd, buf, *sector);
    if (r == 0 && s->pass & BENCH_LIMIT_FLIP)
        r = bench_limit_flip(fd, *sector);
    if (r == 0 && s->pass & BENCH_LIMIT_PUNCH)
        r = bench_limit_punch(w->limit, fd);
    close(fd);
    return r;
}

static void *pass_share(void *arg)
{
    struct share *s = arg;
    const struct work *w = s->work;
    void *buf;

    if (w->limit->method == BENCH_LIMIT_RING) {
        s->result = bench_limit_ring(w->limit, &w->names, s->first, s->step, s->pass);
        return NULL;
    }
    buf = bench_limit_buffer();
    if (!buf)
        s->result = -1;
    for (size_t i = s->first; i < w->names.n && s->result == 0; i += s->step)
        s->result = fleet_file(s, i, buf);
    free(buf);
    return NULL;
}

/* ---- waves of files that stay open ----------------------------------------------------------- */

struct wave {
    const struct work *work;
    int fds[WAVE_MAX];
    sector_bytes sectors[WAVE_MAX];
    size_t n;
    void *buf;
};

static int wave_barrier(const struct wave *v)
{
    if (v->work->limit->method == BENCH_LIMIT_WAVES)
        return syncfs(v->work->dir) < 0 ? bench_limit_complain("syncfs") : 0;
    for (size_t i = 0; i < v->n; i++) {
        if (fdatasync(v->fds[i]) < 0)
            return bench_limit_complain("fdatasync");
    }
    return 0;
}

static int run_wave(struct wave *v)
{
    const struct bench_limit *l = v->work->limit;
    int r = l->append_size ? wave_barrier(v) : 0;

    for (size_t i = 0; i < v->n && r == 0; i++)
        r = bench_limit_flip(v->fds[i], v->sectors[i]);
    if (r == 0)
        r = wave_barrier(v);
    for (size_t i = 0; i < v->n && r == 0; i++)
        r = bench_limit_punch(l, v->fds[i]);
    for (size_t i = 0; i < v->n; i++)
        close(v->fds[i]);
    v->n = 0;
    return r;
}

static int add_file(struct wave *v, const char *name)
{
    int fd = bench_limit_open(v->work->limit, name);

    if (fd < 0)
        return -1;
    v->fds[v->n++] = fd;
    return bench_limit_append(v->work->limit, name, fd, v->buf, v->sectors[v->n - 1]);
}

static void *wave_share(void *arg)
{
    struct share *s = arg;
    const struct work *w = s->work;
    size_t most = bench_limit_methods[w->limit->method].wave;
    struct wave v = {.work = w, .buf = bench_limit_buffer()};

    s->result = v.buf ? 0 : -1;
    for (size_t i = s->first; i < w->names.n && s->result == 0; i += s->step) {
        s->result = add_file(&v, w->names.items[i].name);
        if (s->result == 0 && (v.n == most || i + s->step >= w->names.n))
            s->result = run_wave(&v);
    }
    free(v.buf);
    return NULL;
}

/* ---------------------------------------------------------------------------------------------- */

static int run_shares(const struct work *w, void *(*fn)(void *), unsigned pass)
{
    size_t n = w->limit->threads * bench_limit_methods[w->limit->method].threads, started = 0;
    pthread_t threads[THREADS_MAX];
    struct share shares[THREADS_MAX];
    int r = 0;

    n = QB_MAX(QB_MIN(QB_MIN(n, THREADS_MAX), w->names.n), 1);
    for (; started < n; started++) {
        shares[started] = (struct share){w, started, n, pass, 0};
        if (pthread_create(&threads[started], NULL, fn, &shares[started])) {
            r = bench_limit_complain("thread");
            break;
        }
    }
    while (started--) {
        pthread_join(threads[started], NULL);
        r |= shares[started].result;
    }
    return r;
}

static int run_pass(const struct work *w, unsigned pass)
{
    if (run_shares(w, pass_share, pass) < 0)
        return -1;
    if (w->limit->flip && pass != BENCH_LIMIT_PUNCH && syncfs(w->dir) < 0)
        return bench_limit_complain("syncfs");
    return 0;
}

/* One barrier is enough where nothing is appended. */
static int run_passes(struct work *w)
{
    const struct bench_limit *l = w->limit;
    unsigned flip = l->flip ? BENCH_LIMIT_FLIP : 0;
    bool two = l->append_size && flip;
    int r;

    if (two) {
        w->sectors = calloc(w->names.n + 1, sizeof(*w->sectors));
        if (!w->sectors)
            return bench_limit_complain("memory");
    }
    r = run_pass(w, BENCH_LIMIT_APPEND | (two ? 0 : flip));
    if (r == 0 && two)
        r = run_pass(w, flip);
    if (r == 0 && (l->punches || l->cut_to))
        r = run_pass(w, BENCH_LIMIT_PUNCH);
    free(w->sectors);
    return r;
}

static int by_inode(const void *a, const void *b)
{
    const struct bench_limit_name *x = a, *y = b;

    return (x->inode > y->inode) - (x->inode < y->inode);
}

static int list_folder(struct bench_limit_names *names, const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int r = dir ? 0 : bench_limit_complain(path);

    while (r == 0 && (entry = readdir(dir))) {
        const char *dot = strrchr(entry->d_name, '.');
        struct bench_limit_name each = {entry->d_ino, NULL};

        if (entry->d_name[0] == '.' || (dot && !strcmp(dot, ".data")))
            continue;
        each.name = strdup(entry->d_name);
        if (!each.name || !qb_vec_push(names, each))
            r = bench_limit_complain("memory");
    }
    if (dir)
        closedir(dir);
    if (r == 0 && names->n)
        qsort(names->items, names->n, sizeof(*names->items), by_inode);
    return r;
}

/* Waves keep many files open. */
static void raise_open_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int bench_limit_fleet(const struct bench_limit *limit, const char *folder)
{
    struct work w = {.limit = limit, .dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    int r;

    if (w.dir < 0 || fchdir(w.dir) < 0)
        return bench_limit_complain(folder);
    raise_open_files();
    r = list_folder(&w.names, ".");
    if (r == 0 && bench_limit_methods[limit->method].wave)
        r = run_shares(&w, wave_share, 0);
    else if (r == 0)
        r = run_passes(&w);
    qb_vec_each (each, &w.names)
        free(each->name);
    qb_vec_free(&w.names);
    close(w.dir);
    return r;
}
