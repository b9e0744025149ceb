#include "bench/limit.h"

#include <dirent.h>
#include <errno.h>
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
#include "qcow2/disk.h"

enum {
    PIECE = 4 << 20, /* bytes of one large read or write */
    DEEP = 32,       /* reads in flight of scattered tables */
    THREADS_MAX = 256,
    ALIGNED = 4096,
};

struct work {
    struct bench_limit limit;
    QB_VEC(char *) paths;
    int dir; /* for syncfs; -1: one file */
    void *piece;
};

static int complain(const char *what)
{
    fprintf(stderr, "qbatch-bench: limit: %s: %s\n", what, strerror(errno));
    return -1;
}

/* ---- reads and writes ------------------------------------------------------------------------ */

static int read_range(int fd, uint64_t at, uint64_t bytes, void *buf)
{
    while (bytes) {
        ssize_t n = pread(fd, buf, QB_MIN(bytes, PIECE), (off_t)at);

        if (n <= 0)
            return n == 0 ? 0 : complain("read");
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

static int write_range(int fd, uint64_t at, uint64_t bytes, const void *buf)
{
    while (bytes) {
        ssize_t n = pwrite(fd, buf, QB_MIN(bytes, PIECE), (off_t)at);

        if (n <= 0)
            return complain("write");
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

/* ---- scattered tables: many reads in flight ---------------------------------------------------
 */

struct reader {
    const struct bench_limit *limit;
    int fd;
    uint64_t first;
    int result;
};

static void *read_share(void *arg)
{
    struct reader *r = arg;
    void *buf = malloc(r->limit->table_size);

    for (uint64_t t = r->first; buf && t < r->limit->tables && r->result == 0; t += DEEP)
        r->result = read_range(r->fd, r->limit->tables_at + t * r->limit->tables_step,
                               r->limit->table_size, buf);
    if (!buf)
        r->result = complain("memory");
    free(buf);
    return NULL;
}

static int read_scattered(const struct bench_limit *l, int fd)
{
    pthread_t threads[DEEP];
    struct reader readers[DEEP];
    unsigned n = 0;
    int r = 0;

    for (; n < DEEP; n++) {
        readers[n] = (struct reader){l, fd, n, 0};
        if (pthread_create(&threads[n], NULL, read_share, &readers[n])) {
            r = complain("thread");
            break;
        }
    }
    while (n--) {
        pthread_join(threads[n], NULL);
        r |= readers[n].result;
    }
    return r;
}

static int read_tables(const struct bench_limit *l, int fd, void *buf)
{
    if (l->tables && l->tables_step != l->table_size)
        return read_scattered(l, fd);
    return read_range(fd, l->tables_at, l->tables * l->table_size, buf);
}

/* ---- the phases of one file ------------------------------------------------------------------ */

static int zero_tail(const struct bench_limit *l, const char *path, int fd, const void *buf)
{
    uint64_t at = l->append_at + l->append_size;
    int direct, r;

    if (l->zeros == BENCH_LIMIT_HOLE || at >= l->grow_to)
        return ftruncate(fd, (off_t)l->grow_to) < 0 ? complain("truncate") : 0;
    if (l->zeros == BENCH_LIMIT_FALLOC)
        return fallocate(fd, 0, (off_t)at, (off_t)(l->grow_to - at)) < 0 ? complain("fallocate")
                                                                         : 0;
    direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
    if (direct < 0)
        direct = open(path, O_WRONLY | O_CLOEXEC);
    if (direct < 0)
        return complain(path);
    r = write_range(direct, at, l->grow_to - at, buf);
    close(direct);
    return r;
}

static int append(const struct bench_limit *l, const char *path, int fd, void *buf)
{
    char head[4096];

    if (pread(fd, head, sizeof(head), 0) < 0)
        return complain("read");
    if (read_tables(l, fd, buf) < 0 || read_range(fd, l->blocks_at, l->blocks_size, buf) < 0)
        return -1;
    if (l->append_size) /* what is written does not matter, only that it is not what was read */
        memset(buf, 0, QB_MIN(l->append_size, PIECE));
    if (write_range(fd, l->append_at, l->append_size, buf) < 0)
        return -1;
    return l->grow_to ? zero_tail(l, path, fd, buf) : 0;
}

/* The sector as it was: what it says does not matter to the disk, and the image stays valid. */
static int flip(int fd)
{
    uint8_t sector[QB_SECTOR];

    if (pread(fd, sector, sizeof(sector), 0) != sizeof(sector))
        return complain("read");
    return write_range(fd, 0, sizeof(sector), sector);
}

static int one_file(const struct work *w, const char *path)
{
    const struct bench_limit *l = &w->limit;
    int fd = open(path, (l->flip ? O_RDWR : O_RDONLY) | O_CLOEXEC), r;

    if (fd < 0)
        return complain(path);
    r = append(l, path, fd, w->piece);
    if (r == 0 && l->append_size && fdatasync(fd) < 0)
        r = complain("fdatasync");
    if (r == 0 && l->flip && (flip(fd) < 0 || fdatasync(fd) < 0))
        r = complain("flip");
    close(fd);
    return r;
}

/* ---- many files ------------------------------------------------------------------------------ */

struct share {
    const struct work *work;
    size_t first, step;
    bool appends, flips;
    int result;
};

static int fleet_file(const struct share *s, const char *path, void *buf)
{
    const struct bench_limit *l = &s->work->limit;
    int fd = open(path, (l->flip ? O_RDWR : O_RDONLY) | O_CLOEXEC), r = 0;

    if (fd < 0)
        return complain(path);
    if (s->appends)
        r = append(l, path, fd, buf);
    if (r == 0 && s->flips)
        r = flip(fd);
    close(fd);
    return r;
}

static void *run_share(void *arg)
{
    struct share *s = arg;
    void *buf = NULL;

    if (posix_memalign(&buf, ALIGNED, PIECE))
        s->result = complain("memory");
    for (size_t i = s->first; i < s->work->paths.n && s->result == 0; i += s->step)
        s->result = fleet_file(s, s->work->paths.items[i], buf);
    free(buf);
    return NULL;
}

static int run_pass(const struct work *w, bool appends, bool flips)
{
    size_t n = QB_MAX(QB_MIN(w->limit.threads, THREADS_MAX), 1), started = 0;
    pthread_t threads[THREADS_MAX];
    struct share shares[THREADS_MAX];
    int r = 0;

    for (; started < n; started++) {
        shares[started] = (struct share){w, started, n, appends, flips, 0};
        if (pthread_create(&threads[started], NULL, run_share, &shares[started])) {
            r = complain("thread");
            break;
        }
    }
    while (started--) {
        pthread_join(threads[started], NULL);
        r |= shares[started].result;
    }
    if (r == 0 && w->limit.flip && syncfs(w->dir) < 0)
        r = complain("syncfs");
    return r;
}

static int all_files(const struct work *w)
{
    if (!w->limit.append_size) /* one barrier is enough where nothing is appended */
        return run_pass(w, true, w->limit.flip);
    if (run_pass(w, true, false) < 0)
        return -1;
    return w->limit.flip ? run_pass(w, false, true) : 0;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t at;
} words_of[] = {
#define LIMIT(name) {#name, offsetof(struct bench_limit, name)},
#include "bench/limit.def"
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
    int r = dir ? 0 : complain(path);

    while (r == 0 && (entry = readdir(dir))) {
        char *each;

        if (entry->d_name[0] == '.')
            continue;
        if (asprintf(&each, "%s/%s", path, entry->d_name) < 0 || !qb_vec_push(&w->paths, each))
            r = complain("memory");
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
        return complain(path);
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
        return complain(*argv ? *argv : "no path"), 2;
    if (posix_memalign(&w.piece, ALIGNED, PIECE))
        return complain("memory"), 1;
    r = S_ISDIR(st.st_mode) ? run_folder(&w, *argv) : one_file(&w, *argv);
    free(w.piece);
    return r < 0;
}
