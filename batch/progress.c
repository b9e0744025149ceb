#include "batch/progress.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "batch/signal.h"
#include "batch/text.h"

enum {
    FIRST_DRAW_MS = 400, /* what is over sooner needs no bar */
    DRAW_MS = 100,
    BAR_MAX = 30,
    LINE_MAX_BYTES = 512,
};

#define ERASE "\r\033[K"

struct qb_progress {
    const struct qb_meter *meter;
    size_t total;
    struct timespec start;
    pthread_t thread;
    pthread_mutex_t lock; /* held by who writes to the terminal */
    pthread_cond_t wake;
    bool drawn, end;
};

static double since(const struct timespec *start)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)(t.tv_sec - start->tv_sec) + (double)(t.tv_nsec - start->tv_nsec) * 1e-9;
}

static unsigned columns_of_terminal(void)
{
    struct winsize w;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

static void draw_bar(char *out, unsigned width, double share)
{
    unsigned filled = (unsigned)(share * width);

    memset(out, '#', filled);
    memset(out + filled, '-', width - filled);
    out[width] = '\0';
}

void qb_progress_line(char *out, size_t size, unsigned columns, const struct qb_meter *meter,
                      size_t total, double seconds)
{
    size_t units = atomic_load(&meter->units), done = atomic_load(&meter->done);
    size_t failed = atomic_load(&meter->failed);
    double share = total ? QB_MIN((double)units / ((double)total * QB_UNITS), 0.99) : 0;
    char bar[BAR_MAX + 1], a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER], words[LINE_MAX_BYTES];
    size_t used;

    used =
        (size_t)snprintf(words, sizeof(words), " %3u%%  %s of %s images", (unsigned)(share * 100),
                         qb_text_count(done, a), qb_text_count(total, b));
    if (failed)
        used += (size_t)snprintf(words + used, sizeof(words) - used, ", %s failed",
                                 qb_text_count(failed, a));
    if (seconds > 1 && share > 0.01)
        used += (size_t)snprintf(words + used, sizeof(words) - used, "  ETA %s",
                                 qb_text_seconds(seconds * (1 - share) / share, a));
    if (columns > used + 8) {
        draw_bar(bar, (unsigned)QB_MIN(columns - used - 4, (size_t)BAR_MAX), share);
        snprintf(out, size, "[%s]%s", bar, words);
    } else { /* the last column stays free: some terminals wrap there */
        snprintf(out, QB_MIN(size, (size_t)QB_MAX(columns, 1)), "%s", words);
    }
}

static void write_all(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return; /* the terminal is gone; the run goes on */
}

static void draw(struct qb_progress *p)
{
    char line[LINE_MAX_BYTES], text[LINE_MAX_BYTES + 16];

    qb_progress_line(line, sizeof(line), columns_of_terminal(), p->meter, p->total,
                     since(&p->start));
    snprintf(text, sizeof(text), ERASE "%s", line);
    write_all(text);
    p->drawn = true;
    qb_signal_on_exit(ERASE);
}

static void wait_ms(struct qb_progress *p, unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&p->wake, &p->lock, &until);
}

static void *run_thread(void *arg)
{
    struct qb_progress *p = arg;

    pthread_mutex_lock(&p->lock);
    wait_ms(p, FIRST_DRAW_MS);
    while (!p->end) {
        draw(p);
        wait_ms(p, DRAW_MS);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Signals are for the thread that runs the waves. */
static int start_thread(struct qb_progress *p)
{
    sigset_t all, old;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    failed = pthread_create(&p->thread, NULL, run_thread, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed;
}

struct qb_progress *qb_progress_start(const struct qb_meter *meter, size_t total)
{
    const char *term = getenv("TERM");
    struct qb_progress *p;
    pthread_condattr_t attr;

    if (!isatty(STDERR_FILENO) || !term || strcmp(term, "dumb") == 0)
        return NULL;
    p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->meter = meter;
    p->total = total;
    clock_gettime(CLOCK_MONOTONIC, &p->start);
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &attr);
    if (start_thread(p) != 0) {
        free(p);
        return NULL;
    }
    return p;
}

void qb_progress_hide(struct qb_progress *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    if (p->drawn)
        write_all(ERASE);
    p->drawn = false;
}

void qb_progress_show(struct qb_progress *p)
{
    if (p)
        pthread_mutex_unlock(&p->lock); /* the thread draws it again in a moment */
}

void qb_progress_stop(struct qb_progress *p)
{
    if (!p)
        return;
    qb_progress_hide(p);
    p->end = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    qb_signal_on_exit(NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
