/* Cuts the power, and has the judge look at what the disks hold then. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge_raw.h"
#include "must.h"

size_t judge_flip(const struct qb_mem_log *log, unsigned disk)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);

    for (size_t i = 0; i < n; i++)
        if (events[i].op == QB_OP_WRITE && events[i].disk == disk && events[i].offset == 0)
            return i;
    return n;
}

static bool is_sync(const struct qb_mem_event *e, unsigned disk)
{
    return e->op == QB_OP_SYNC && (e->disk == disk || e->disk == QB_MEM_EVERY_DISK);
}

static size_t last_sync(const struct qb_mem_event *events, unsigned disk, size_t upto)
{
    while (upto > 0 && !is_sync(&events[upto - 1], disk))
        upto--;
    return upto;
}

/* Whether it was not certain after `upto` events what the disk holds. */
static bool is_torn(const struct qb_mem_event *events, unsigned disk, size_t upto)
{
    for (size_t i = last_sync(events, disk, upto); i < upto; i++)
        if (events[i].disk == disk)
            return true;
    return false;
}

enum verdict judge_allows(const struct qb_mem_log *log, unsigned disk, size_t upto)
{
    const struct qb_mem_event *events;
    size_t flip = judge_flip(log, disk);

    qb_mem_events(log, &events);
    if (upto <= flip)
        return OLD;
    return last_sync(events, disk, upto) > flip ? AMENDED : EITHER;
}

/* The other file loses what it likes: all, nothing, or anything else of what is not sure. */
static void replay_data(const struct qb_mem_log *log, unsigned disk, size_t upto, uint64_t seed,
                        struct image_bytes *state)
{
    const struct qb_mem_event *events;
    size_t sure;

    qb_mem_events(log, &events);
    sure = last_sync(events, disk, upto);
    if (seed % 4 == 1)
        upto = sure;
    if (qb_mem_replay(log, disk, sure, upto, seed % 4 == 2 ? 0 : seed, &state->data,
                      &state->data_size) < 0)
        abort();
    if (!state->data)
        state->data = must(calloc(1, 1));
}

bool judge_is_new(struct judge *j, const struct image_bytes *state)
{
    uint64_t print = reading_print(state->bytes, state->size);

    if (state->data) /* of lengths, too: what the files lack reads zero */
        print = print * 31 + reading_print(state->data, state->data_size) + state->data_size;

    for (size_t i = 0; i < j->n_seen; i++)
        if (j->seen[i] == print)
            return false;
    if (j->n_seen == j->cap) {
        j->cap = j->cap ? j->cap * 2 : 64;
        j->seen = realloc(j->seen, j->cap * sizeof(*j->seen));
        if (!j->seen)
            abort();
    }
    j->seen[j->n_seen++] = print;
    return true;
}

static bool begins_like(const struct image_bytes *state, const uint8_t *bytes, uint64_t n)
{
    return state->size >= n && memcmp(state->bytes, bytes, n) == 0;
}

bool judge_has_old_header(const struct judge *j, const struct image_bytes *state)
{
    struct image_bytes was = judge_is_raw(j) ? subject_raw_disk(j->s) : j->s->image;

    return begins_like(state, was.bytes, was.size < 512 ? was.size : 512);
}

bool judge_has_new_header(const struct judge *j, const struct image_bytes *state)
{
    for (size_t i = 0; i < j->n_headers; i++)
        if (begins_like(state, j->headers + 512 * i, 512))
            return true;
    return false;
}

static bool is_header(const struct qb_mem_event *e)
{
    return e->op == QB_OP_WRITE && e->disk == 0 && e->offset == 0 && e->len >= 512;
}

void judge_take_headers(struct judge *j, const struct qb_mem_log *log)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);

    j->headers = must(malloc(512 * (n + 1)));
    for (size_t i = 0; i < n; i++)
        if (is_header(&events[i]))
            memcpy(j->headers + 512 * j->n_headers++, events[i].bytes, 512);
}

void judge_try(struct judge *j, const struct image_bytes *state, enum verdict allowed,
               const char *at)
{
    bool old, amended;

    if (judge_is_new(j, state)) {
        judge_state(j, state, allowed, at);
        return;
    }
    old = judge_has_old_header(j, state);
    amended = judge_has_new_header(j, state);
    if (old != amended && !(allowed & (old ? OLD : AMENDED)))
        judge_blame(j, at, old ? "it is the old file still" : "it is the amended image already");
}

void judge_cut(struct judge *j, const struct qb_mem_log *log, unsigned disk, size_t upto,
               uint64_t seed, enum verdict allowed)
{
    const struct qb_mem_event *events;
    unsigned data = qb_mem_data_of(log, disk);
    struct image_bytes state = {0};
    char at[80];

    qb_mem_events(log, &events);
    if (qb_mem_replay(log, disk, last_sync(events, disk, upto), upto, seed, &state.bytes,
                      &state.size) < 0)
        abort();
    if (data != QB_MEM_EVERY_DISK)
        replay_data(log, data, upto, seed, &state);
    snprintf(at, sizeof(at), "event %zu, seed %llu", upto, (unsigned long long)seed);
    judge_try(j, &state, allowed, at);
    image_bytes_free(&state);
}

void judge_cuts(struct judge *j, const struct qb_mem_log *log, unsigned disk, unsigned long seeds)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);
    unsigned data = qb_mem_data_of(log, disk);

    for (size_t upto = 0; upto <= n; upto++) {
        bool torn = is_torn(events, disk, upto) ||
                    (data != QB_MEM_EVERY_DISK && is_torn(events, data, upto));
        enum verdict allowed = judge_allows(log, disk, upto);

        judge_cut(j, log, disk, upto, 0, allowed);
        for (uint64_t seed = 1; seed <= seeds && torn; seed++)
            judge_cut(j, log, disk, upto, seed * 1000003 + upto, allowed);
    }
}
