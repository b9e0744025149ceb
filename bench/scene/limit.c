#include "scene/limit_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "base/vec.h"

enum { THREADS_MAX = 256 };

struct work {
    struct bench_limit limit;
    QB_VEC(char *) paths;
    int dir; /* for syncfs; -1: one file */
    void *piece;
};

/* ---- one file -------------------------------------------------------------------------------- */

static int one_file(const struct work *w, const char *path)
{
    const struct bench_limit *l = &w->limit;
    int fd = open(path, (l->flip ? O_RDWR : O_RDONLY) | O_CLOEXEC), r;

    if (fd < 0)
        return bench_limit_complain(path);
    r = bench_limit_append(l, path, fd, w->piece);
    if (r == 0 && l->append_size && fdatasync(fd) < 0)
        r = bench_limit_complain("fdatasync");
    if (r == 0 && l->flip && (bench_limit_flip(fd) < 0 || fdatasync(fd) < 0))
        r = bench_limit_complain("flip");
    close(fd);
    return r;
}

/* ---- many files ------------------------------------------------------------------------------ */

enum { APPEND = 1, FLIP = 2, PUNCH = 4 }; /* what a pass does */

struct share {
    const struct work *work;
    size_t first, step;
    unsigned pass;
    int result;
};

static int fleet_file(const struct share *s, const char *path, void *buf)
{
    const struct bench_limit *l = &s->work->limit;
    int fd = open(path, (l->flip ? O_RDWR : O_RDONLY) | O_CLOEXEC), r = 0;

    if (fd < 0)
        return bench_limit_complain(path);
    if (s->pass & APPEND)
        r = bench_limit_append(l, path, fd, buf);
    if (r == 0 && s->pass & FLIP)
        r = bench_limit_flip(fd);
    if (r == 0 && s->pass & PUNCH)
        r = bench_limit_punch(l, fd);
    close(fd);
    return r;
}

static void *run_share(void *arg)
{
    struct share *s = arg;
    void *buf = NULL;

    if (posix_memalign(&buf, BENCH_LIMIT_ALIGNED, BENCH_LIMIT_PIECE))
        s->result = bench_limit_complain("memory");
    for (size_t i = s->first; i < s->work->paths.n && s->result == 0; i += s->step)
        s->result = fleet_file(s, s->work->paths.items[i], buf);
    free(buf);
    return NULL;
}

static int run_pass(const struct work *w, unsigned pass)
{
    size_t n = QB_MAX(QB_MIN(w->limit.threads, THREADS_MAX), 1), started = 0;
    pthread_t threads[THREADS_MAX];
    struct share shares[THREADS_MAX];
    int r = 0;

    for (; started < n; started++) {
        shares[started] = (struct share){w, started, n, pass, 0};
        if (pthread_create(&threads[started], NULL, run_share, &shares[started])) {
            r = bench_limit_complain("thread");
            break;
        }
    }
    while (started--) {
        pthread_join(threads[started], NULL);
        r |= shares[started].result;
    }
    if (r == 0 && w->limit.flip && pass != PUNCH && syncfs(w->dir) < 0)
        r = bench_limit_complain("syncfs");
    return r;
}

static int all_files(const struct work *w)
{
    unsigned flip = w->limit.flip ? FLIP : 0;

    if (!w->limit.append_size) { /* one barrier is enough where nothing is appended */
        if (run_pass(w, APPEND | flip) < 0)
            return -1;
    } else if (run_pass(w, APPEND) < 0 || (flip && run_pass(w, FLIP) < 0)) {
        return -1;
    }
    return w->limit.punches ? run_pass(w, PUNCH) : 0;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t at;
} words_of[] = {
#define LIMIT(name) {#name, offsetof(struct bench_limit, name)},
#include "scene/limit.def"
#undef LIMIT
};

size_t bench_limit_words(const struct bench_limit *limit, char words[][40])
{
    for (size_t i = 0; i < BENCH_LIMIT_WORDS; i++)
        snprintf(words[i], sizeof(words[i]), "%s=%" PRIu64, words_of[i].name,
                 *(const uint64_t *)(const void *)((const char *)limit + words_of[i].at));
    return BENCH_LIMIT_WORDS;
}

static bool take_word(struct bench_limit *limit, const char *word)
{
    for (size_t i = 0; i < BENCH_LIMIT_WORDS; i++) {
        size_t n = strlen(words_of[i].name);

        if (strncmp(word, words_of[i].name, n) || word[n] != '=')
            continue;
        *(uint64_t *)(void *)((char *)limit + words_of[i].at) = strtoull(word + n + 1, NULL, 10);
        return true;
    }
    return false;
}

static int list_folder(struct work *w, const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int r = dir ? 0 : bench_limit_complain(path);

    while (r == 0 && (entry = readdir(dir))) {
        char *each;

        if (entry->d_name[0] == '.')
            continue;
        if (asprintf(&each, "%s/%s", path, entry->d_name) < 0 || !qb_vec_push(&w->paths, each))
            r = bench_limit_complain("memory");
    }
    if (dir)
        closedir(dir);
    return r;
}

static int run_folder(struct work *w, const char *path)
{
    int r;

    w->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->dir < 0)
        return bench_limit_complain(path);
    r = list_folder(w, path);
    if (r == 0)
        r = all_files(w);
    close(w->dir);
    qb_vec_each (each, &w->paths)
        free(*each);
    qb_vec_free(&w->paths);
    return r;
}

int bench_limit_main(char **argv)
{
    struct work w = {.dir = -1};
    struct stat st;
    int r;

    while (*argv && take_word(&w.limit, *argv))
        argv++;
    if (!*argv || stat(*argv, &st) < 0)
        return bench_limit_complain(*argv ? *argv : "no path"), 2;
    if (posix_memalign(&w.piece, BENCH_LIMIT_ALIGNED, BENCH_LIMIT_PIECE))
        return bench_limit_complain("memory"), 1;
    r = S_ISDIR(st.st_mode) ? run_folder(&w, *argv) : one_file(&w, *argv);
    free(w.piece);
    return r < 0;
}
