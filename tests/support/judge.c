#include "judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void judge_blame(struct judge *j, const char *at, const char *what)
{
    if (j->violations++ == 0)
        snprintf(j->first, sizeof(j->first), "%s, %s: %s", j->s->name, at, what);
}

size_t judge_flip(const struct qb_mem_log *log, unsigned disk)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);

    for (size_t i = 0; i < n; i++)
        if (events[i].op == QB_OP_WRITE && events[i].disk == disk && events[i].offset == 0)
            return i;
    return n;
}

/* ---- one amend in peace ---------------------------------------------------------------------- */

static bool asked(const struct judge *j, enum qb_key key)
{
    return j->s->rq.set & (unsigned)key;
}

static const char *text_of(const char *s)
{
    return s ? s : "";
}

/* Whether more was written than the header's cluster. */
static bool rewrites(const struct qb_mem_log *log, uint64_t cluster_size)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);

    for (size_t i = 0; i < n; i++)
        if (events[i].op == QB_OP_WRITE && events[i].offset >= cluster_size)
            return true;
    return false;
}

/* The old image as it shall read afterwards: every guest content is sacred. */
static void expect(struct judge *j, const struct qb_mem_log *log)
{
    const struct qb_request *rq = &j->s->rq;
    const char *name =
        asked(j, QB_KEY_BACKING_FILE) ? text_of(rq->backing_file) : j->was.backing_file;
    struct reading *r = &j->shall;

    reading_take(j->s->image.bytes, j->s->image.size, name, r);
    if (asked(j, QB_KEY_SIZE))
        reading_resize(r, rq->size);
    snprintf(r->backing_file, sizeof(r->backing_file), "%s", name);
    if (asked(j, QB_KEY_BACKING_FMT))
        snprintf(r->backing_fmt, sizeof(r->backing_fmt), "%s", text_of(rq->backing_fmt));
    else if (!name[0])
        r->backing_fmt[0] = 0;
    if (asked(j, QB_KEY_COMPAT))
        r->version = rq->compat;
    if (asked(j, QB_KEY_REFCOUNT_BITS))
        r->refcount_bits = (unsigned)rq->refcount_bits;
    if (asked(j, QB_KEY_LAZY_REFCOUNTS))
        r->compatible = rq->lazy_refcounts;
    if (r->version == 2)
        r->compatible = r->bitmaps = 0;
    r->incompatible = 0;
    r->corruptions = 0;
    r->leaks = j->was.leaks;
    r->behind = j->was.behind;
    if (rewrites(log, j->was.cluster_size)) /* leaks are kept, where the refcounts mean something */
        r->leaks = (j->was.incompatible & 1) || rq->on_leaks == QB_LEAKS_FREE
                       ? 0
                       : j->was.leaks - j->was.behind;
}

static const char *header_differs(const struct reading *a, const struct reading *b)
{
    if (a->version != b->version || a->refcount_bits != b->refcount_bits)
        return "another version or refcount width";
    if (a->incompatible != b->incompatible || a->compatible != b->compatible)
        return "other feature bits";
    if (strcmp(a->backing_file, b->backing_file) != 0 ||
        strcmp(a->backing_fmt, b->backing_fmt) != 0)
        return "another backing file or format";
    if (a->unknown_ext != b->unknown_ext)
        return "an unknown extension was lost";
    if (a->bitmaps != b->bitmaps)
        return "other bitmaps";
    return "";
}

static const char *state_differs(const struct reading *is, const struct reading *expected)
{
    const char *why = is->wrong[0] ? is->wrong : header_differs(is, expected);

    if (!why[0])
        why = reading_differs(is, expected);
    if (!why[0] && is->corruptions > expected->corruptions)
        why = is->damage;
    /* Clusters that were counted past the file's end leak once an append that was cut short has
     * made the file longer. */
    if (!why[0] && is->leaks > expected->leaks + expected->behind)
        why = is->damage[0] ? is->damage : "more leaks";
    if (!why[0] && is->leaks < expected->leaks && expected->refcount_bits > 1)
        why = "a leak was freed"; /* with one bit, a cluster that is in use cannot leak */
    return why;
}

/* The engine's census and the one of reading.c must say the same. */
static void compare_census(struct judge *j, const struct image_bytes *b, const struct reading *r,
                           const char *at)
{
    uint64_t corruptions = 0, leaks = 0;
    char why[200], text[520];

    if (!run_census(b->bytes, b->size, &corruptions, &leaks, why, sizeof(why)) ||
        !corruptions != !r->corruptions || leaks > r->leaks || (!leaks != !r->leaks && !r->leaks)) {
        snprintf(text, sizeof(text),
                 "the census finds %llu errors, %llu leaks (%s); there are %llu and %llu (%s)",
                 (unsigned long long)corruptions, (unsigned long long)leaks, why,
                 (unsigned long long)r->corruptions, (unsigned long long)r->leaks, r->damage);
        judge_blame(j, at, text);
    }
}

/* A refusal says why, and nothing was written. */
static void check_refusal(struct judge *j, const struct qb_mem_log *log)
{
    const struct qb_failure *err = &j->run.result.err;
    const struct qb_mem_event *events;

    if (qb_mem_events(log, &events))
        judge_blame(j, "refused", "something was written");
    if (err->code != QB_E_REFUSED && err->code != QB_E_UNSUPPORTED &&
        err->code != QB_E_HEADER_FULL && err->code != QB_E_BACKING_MISSING)
        judge_blame(j, "refused", err->text);
}

/* What was reserved stays reserved: no punch, and only a shrink cuts. */
static void check_reserved(struct judge *j, const struct qb_mem_log *log)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);
    bool shrinks = asked(j, QB_KEY_SIZE) && j->s->rq.size < j->was.size;

    for (size_t i = 0; j->s->image.reserved && i < n; i++) {
        if (events[i].op == QB_OP_PUNCH)
            judge_blame(j, "in peace", "reserved space was punched");
        if (events[i].op == QB_OP_SET_SIZE && events[i].offset < j->s->image.size &&
            (!shrinks || i < judge_flip(log, 0)))
            judge_blame(j, "in peace", "reserved space was cut off");
    }
}

void judge_begin(struct judge *j, const struct subject *s, struct qb_mem_log **log_out)
{
    struct qb_mem_log *log = run_machine(s->image.bytes, s->image.size, s->image.reserved);
    const unsigned char *now;

    *j = (struct judge){.s = s};
    reading_take(s->image.bytes, s->image.size, NULL, &j->was);
    if (j->was.wrong[0])
        judge_blame(j, "before", j->was.wrong);
    if (j->was.corruptions && !j->was.incompatible)
        judge_blame(j, "before", j->was.damage);
    compare_census(j, &s->image, &j->was, "before");
    j->run = run_amend(log, 0, &s->rq, RUN_WHOLE);
    j->amends = j->run.result.status == QB_STATUS_CHANGED;
    now = qb_mem_content(log, 0, &j->done.size);
    j->done.bytes = malloc(j->done.size);
    if (!j->done.bytes)
        abort();
    memcpy(j->done.bytes, now, j->done.size);
    if (j->run.rc < 0 && j->run.result.err.code != QB_E_VERIFY)
        check_refusal(j, log);
    else if (j->run.rc < 0)
        judge_blame(j, "verify", j->run.result.err.text);
    expect(j, log);
    if (j->amends) {
        struct reading is;

        judge_state(j, j->done.bytes, j->done.size, AMENDED, "in peace");
        check_reserved(j, log);
        if (j->done.size % 512)
            judge_blame(j, "in peace", "a length that is no multiple of 512");
        reading_take(j->done.bytes, j->done.size, NULL, &is);
        compare_census(j, &j->done, &is, "in peace");
        reading_free(&is);
    }
    if (log_out)
        *log_out = log;
    else
        qb_mem_log_free(log);
}

void judge_end(struct judge *j)
{
    reading_free(&j->was);
    reading_free(&j->shall);
    image_bytes_free(&j->done);
    run_free(&j->run);
    free(j->seen);
    j->seen = NULL;
}

/* ---- states ---------------------------------------------------------------------------------- */

bool judge_is_new(struct judge *j, const uint8_t *bytes, uint64_t size)
{
    uint64_t print = reading_print(bytes, size);

    for (size_t i = 0; i < j->n_seen; i++)
        if (j->seen[i] == print)
            return false;
    if (j->n_seen == j->room) {
        j->room = j->room ? j->room * 2 : 64;
        j->seen = realloc(j->seen, j->room * sizeof(*j->seen));
        if (!j->seen)
            abort();
    }
    j->seen[j->n_seen++] = print;
    return true;
}

static bool compare(struct judge *j, const uint8_t *bytes, uint64_t size,
                    const struct reading *expected, const char *at)
{
    struct reading is;
    const char *why;
    bool ok;

    reading_take(bytes, size, NULL, &is);
    why = state_differs(&is, expected);
    ok = !why[0];
    if (!ok)
        judge_blame(j, at, why);
    reading_free(&is);
    return ok;
}

/* The same amend once more, with nothing in its way. */
static void run_again(struct judge *j, const uint8_t *bytes, uint64_t size, bool was_amended,
                      const char *at)
{
    struct qb_mem_log *log = run_machine(bytes, size, j->s->image.reserved);
    struct run r = run_amend(log, 0, &j->s->rq, RUN_WHOLE);
    const struct qb_mem_event *events;
    const unsigned char *now;
    char where[120];
    uint64_t len;

    snprintf(where, sizeof(where), "%s, run again", at);
    now = qb_mem_content(log, 0, &len);
    if (r.rc < 0)
        judge_blame(j, where, r.result.err.text);
    else if (was_amended && (r.result.status != QB_STATUS_UNCHANGED || qb_mem_events(log, &events)))
        judge_blame(j, where, "an amended image was changed");
    else if (!was_amended)
        compare(j, now, len, &j->shall, where);
    run_free(&r);
    qb_mem_log_free(log);
}

void judge_state(struct judge *j, const uint8_t *bytes, uint64_t size, enum verdict allowed,
                 const char *at)
{
    bool old = size >= 512 && memcmp(bytes, j->s->image.bytes, 512) == 0;
    bool amended = size >= 512 && memcmp(bytes, j->done.bytes, 512) == 0;

    j->states++;
    if (!old && !amended)
        judge_blame(j, at, "the header is neither the old nor the amended one");
    else if (!(allowed & (old ? OLD : AMENDED)))
        judge_blame(j, at, old ? "it is the old image still" : "it is the amended image already");
    else if (compare(j, bytes, size, old ? &j->was : &j->shall, at))
        run_again(j, bytes, size, amended, at);
}

void judge_untouched(struct judge *j, const struct qb_err *err, const uint8_t *bytes, uint64_t size,
                     bool length_too, const char *at)
{
    bool at_flip = strncmp(err->text, "cannot write the header", 23) == 0;
    const struct image_bytes *old = &j->s->image;
    uint64_t cs = j->was.cluster_size, end = j->was.end < old->size ? j->was.end : old->size;

    if (length_too && !at_flip && size != old->size)
        judge_blame(j, at, "the file's length was not restored");
    if (memcmp(bytes, old->bytes, 512) != 0 ||
        (end > cs && memcmp(bytes + cs, old->bytes + cs, end - cs) != 0))
        judge_blame(j, at, "bytes of the old image changed");
}

/* ---- cutting the power ----------------------------------------------------------------------- */

static size_t last_sync(const struct qb_mem_event *events, size_t upto)
{
    while (upto > 0 && events[upto - 1].op != QB_OP_SYNC)
        upto--;
    return upto;
}

enum verdict judge_allows(const struct qb_mem_log *log, unsigned disk, size_t upto)
{
    const struct qb_mem_event *events;
    size_t flip = judge_flip(log, disk);

    qb_mem_events(log, &events);
    if (upto <= flip)
        return OLD;
    return last_sync(events, upto) > flip ? AMENDED : EITHER;
}

void judge_cut(struct judge *j, const struct qb_mem_log *log, unsigned disk, size_t upto,
               uint64_t seed, enum verdict allowed)
{
    const struct qb_mem_event *events;
    unsigned char *bytes;
    uint64_t size;
    char at[80];

    qb_mem_events(log, &events);
    if (qb_mem_replay(log, disk, last_sync(events, upto), upto, seed, &bytes, &size) < 0)
        abort();
    snprintf(at, sizeof(at), "event %zu, seed %llu", upto, (unsigned long long)seed);
    if (judge_is_new(j, bytes, size))
        judge_state(j, bytes, size, allowed, at);
    free(bytes);
}

void judge_cuts(struct judge *j, const struct qb_mem_log *log, unsigned disk, unsigned long seeds)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);

    for (size_t upto = 0; upto <= n; upto++) {
        enum verdict allowed = judge_allows(log, disk, upto);

        judge_cut(j, log, disk, upto, 0, allowed);
        for (uint64_t seed = 1; seed <= seeds && last_sync(events, upto) < upto; seed++)
            judge_cut(j, log, disk, upto, seed * 1000003 + upto, allowed);
    }
}
