#include "text/progress.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/beside.h"
#include "base/clock.h"
#include "host/notify.h"
#include "util/signal.h"

enum {
    FIRST_DRAW_MS = 400, /* what is over sooner needs no line */
    DRAW_MS = 100,
    TELL_MS = 500, /* JSON, and systemd */
    LINE_MAX_BYTES = 512,
    SLOW_LINES = 3,
};

#define ERASE "\r\033[J" /* to the end of the screen: also the lines below */

struct qb_progress {
    bool on_terminal, as_json;
    int systemd;   /* see notify.h; -1: none */
    bool confined; /* its thread, which needs no rights */
    const struct qb_meter *meter;
    const struct qb_batch *batch;
    size_t total;
    double start; /* see qb_now */
    pthread_t thread;
    pthread_mutex_t lock; /* held by who writes to the terminal */
    pthread_cond_t wake;
    bool drawn, end;
};

static struct qb_elapsed elapsed(const struct qb_progress *p)
{
    return (struct qb_elapsed){.seconds = qb_now() - p->start,
                               .working = qb_meter_working(p->meter)};
}

static struct winsize terminal(void)
{
    struct winsize w = {0};

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_col == 0)
        w.ws_col = 80;
    if (w.ws_row == 0)
        w.ws_row = 24;
    return w;
}

static void write_all(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return; /* the terminal is gone; the run continues */
}

/* The images that take long, below the line; back up to it afterwards. */
static size_t add_slow(const struct qb_progress *p, unsigned columns, unsigned rows, char *text,
                       size_t used, size_t size)
{
    char line[LINE_MAX_BYTES];
    unsigned n = 0;

    for (size_t i = 0; i < QB_BUSY_SHOWN && n < SLOW_LINES && n + 2 < rows; i++)
        if (qb_progress_slow(line, sizeof(line), columns, p->meter, p->batch, i)) {
            used += (size_t)snprintf(text + used, size - used, "\n%s", line);
            n++;
        }
    if (n > 0)
        used += (size_t)snprintf(text + used, size - used, "\033[%uA\r", n);
    return used;
}

/* One write for all of it, so that nothing flickers. */
static void draw(struct qb_progress *p)
{
    char line[LINE_MAX_BYTES], text[LINE_MAX_BYTES * (SLOW_LINES + 2)];
    struct winsize w = terminal();
    size_t used;

    qb_progress_line(line, sizeof(line), w.ws_col, p->meter, p->total, elapsed(p));
    used = (size_t)snprintf(text, sizeof(text), ERASE "%s", line);
    add_slow(p, w.ws_col, w.ws_row, text, used, sizeof(text));
    write_all(text);
    p->drawn = true;
    qb_signal_on_exit(ERASE);
}

static void tell(struct qb_progress *p)
{
    char words[200];

    if (p->as_json)
        qb_progress_json(stderr, p->meter, p->total, elapsed(p));
    if (p->systemd >= 0) {
        qb_progress_status(words, sizeof(words), p->meter, p->total, elapsed(p));
        qb_notify(p->systemd, "STATUS=%s", words);
    }
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
    struct qb_confinement own = {0};
    double told = 0;

    if (p->confined)
        qb_confine_thread(&own);
    pthread_mutex_lock(&p->lock);
    wait_ms(p, FIRST_DRAW_MS);
    while (!p->end) {
        qb_beside_work();
        if (p->on_terminal)
            draw(p);
        if (qb_now() - p->start - told >= TELL_MS / 1e3) {
            told = qb_now() - p->start;
            tell(p);
        }
        qb_beside_rest();
        wait_ms(p, DRAW_MS);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static bool is_terminal(void)
{
    const char *term = getenv("TERM");

    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static void start(struct qb_progress *p)
{
    pthread_condattr_t attr;

    p->start = qb_now();
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &attr);
    qb_notify(p->systemd, "READY=1\nSTATUS=0 of %zu images", p->total);
}

static struct qb_progress *leave(const struct qb_progress *p)
{
    if (p->systemd >= 0)
        close(p->systemd);
    return NULL;
}

struct qb_progress *qb_progress_start(enum qb_watching how, const struct qb_meter *meter,
                                      const struct qb_batch *batch)
{
    struct qb_progress made = {.on_terminal = how == QB_WATCH_AUTO && is_terminal(),
                               .as_json = how == QB_WATCH_JSON,
                               .systemd = qb_notify_open(),
                               .confined = batch->policy.sandbox != QB_SANDBOX_OFF,
                               .meter = meter,
                               .batch = batch,
                               .total = batch->n_jobs};
    struct qb_progress *p;

    qb_signal_tell(&meter->done, &meter->failed, batch->n_jobs);
    if (!made.on_terminal && !made.as_json && made.systemd < 0)
        return NULL;
    p = malloc(sizeof(*p));
    if (!p)
        return leave(&made);
    *p = made;
    start(p);
    if (qb_beside_start(&p->thread, run_thread, p) != 0) {
        free(p);
        return leave(&made);
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
    qb_signal_tell(NULL, NULL, 0);
    if (!p)
        return;
    qb_progress_hide(p);
    p->end = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    qb_signal_on_exit(NULL);
    tell(p);
    qb_notify(p->systemd, "STOPPING=1");
    leave(p);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
