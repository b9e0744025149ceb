#include "backing/scan_errand.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"

/* A request is the number of files that are known already.  An answer has the next ones, each a
 * letter and its text with the NUL; nothing but END after the last; no byte when memory is short.
 */
enum { FOUND = 'f', UNKNOWN = 'u', END = '.' };

/* ---- in the helper --------------------------------------------------------------------------- */

static int look(struct qb_scan_errand *s, const struct qb_parcel *request)
{
    struct qb_stopper stop = {qb_helper_is_to_stop, (void *)(uintptr_t)request};

    if (s->done)
        return 0;
    if (qb_scan_here(s->batch, stop, &s->found, &s->unknown) < 0 ||
        !qb_index_room(&s->by_path, s->found.n))
        return -1;
    for (size_t i = 0; i < s->found.n; i++)
        qb_index_add(&s->by_path, qb_key_of_text(s->found.items[i]), i);
    s->done = true;
    return 0;
}

static bool put(struct qb_parcel *p, char letter, const char *text)
{
    size_t len = strlen(text) + 1;

    if (p->len + 1 + len > sizeof(p->bytes))
        return false;
    p->bytes[p->len++] = (unsigned char)letter;
    memcpy(p->bytes + p->len, text, len);
    p->len += len;
    return true;
}

static void put_from(const struct qb_scan_errand *s, size_t i, struct qb_parcel *p)
{
    size_t all = s->found.n + s->unknown.n;
    bool fits = true;

    for (; fits && i < all; i++)
        fits = i < s->found.n ? put(p, FOUND, s->found.items[i])
                              : put(p, UNKNOWN, s->unknown.items[i - s->found.n]);
    if (fits && p->len == 0)
        p->bytes[p->len++] = END;
}

static void on_scan(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    struct qb_scan_errand *s = arg;
    size_t from;

    if (request->len != sizeof(from))
        return;
    memcpy(&from, request->bytes, sizeof(from));
    pthread_mutex_lock(&s->mutex);
    if (look(s, request) == 0)
        put_from(s, from, answer);
    pthread_mutex_unlock(&s->mutex);
}

static bool was_found(void *arg, const char *path)
{
    struct qb_scan_errand *s = arg;
    struct qb_probe p;
    bool found = false;

    pthread_mutex_lock(&s->mutex);
    p = qb_index_probe(&s->by_path, qb_key_of_text(path));
    while (!found && qb_index_next(&s->by_path, &p))
        found = strcmp(s->found.items[p.item], path) == 0;
    pthread_mutex_unlock(&s->mutex);
    return found;
}

void qb_scan_offer(struct qb_scan_errand *s, struct qb_confining *c)
{
    *s = (struct qb_scan_errand){.batch = c->batch, .mutex = PTHREAD_MUTEX_INITIALIZER};
    if (c->batch->scan.n == 0)
        return;
    c->opener.list = qb_errands_add(&c->errands, on_scan, s);
    c->more = (struct qb_more_files){was_found, s};
}

void qb_scan_errand_free(struct qb_scan_errand *s)
{
    qb_paths_free(&s->found);
    qb_paths_free(&s->unknown);
    qb_index_free(&s->by_path);
}

/* ---- in the confined process ----------------------------------------------------------------- */

/* The files of one answer: how many; -1 when memory is short, or it is none. */
static int take(struct qb_parcel *p, qb_paths *paths, qb_paths *unknown)
{
    int n = 0;

    for (size_t at = 0; at < p->len; n++) {
        const char *text = (const char *)p->bytes + at + 1;
        size_t len = strnlen(text, p->len - at - 1);

        if (at + 1 + len >= p->len)
            return -1;
        if (qb_paths_add(p->bytes[at] == FOUND ? paths : unknown, strdup(text)) < 0)
            return -1;
        at += 1 + len + 1;
    }
    return n;
}

static int ask(struct qb_io *io, qb_paths *paths, qb_paths *unknown)
{
    const struct qb_opener *opener = qb_io_opener(io);
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));
    size_t from = 0;
    int n;

    while (p) {
        memcpy(p->bytes, &from, sizeof(from));
        p->len = sizeof(from);
        if (qb_helper_ask(opener->helper, opener->list, io, p) || p->len == 0)
            return -1;
        if (p->len == 1)
            return 0;
        n = take(p, paths, unknown);
        if (n < 0)
            return -1;
        from += (size_t)n;
    }
    return -1;
}

static bool call(void *arg)
{
    bool (**stopped)(void) = arg;

    return *stopped && (*stopped)();
}

int qb_scan_files(const struct qb_batch *batch, struct qb_io *io, bool (*stopped)(void),
                  qb_paths *paths, qb_paths *unknown)
{
    struct qb_stopper stop = {call, &stopped}, was;
    int r;

    if (batch->scan.n == 0)
        return 0;
    if (!qb_io_opener(io) || qb_io_opener(io)->list == QB_ERRANDS_MAX)
        return qb_scan_here(batch, stop, paths, unknown);
    was = qb_io_swap_stop(io, stop);
    r = ask(io, paths, unknown);
    qb_io_swap_stop(io, was);
    return r;
}
