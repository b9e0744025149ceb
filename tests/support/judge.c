#include "judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge_raw.h"

void judge_blame(struct judge *j, const char *at, const char *what)
{
    if (j->violations++ == 0)
        snprintf(j->first, sizeof(j->first), "%s, %s: %s", j->s->name, at, what);
}

/* ---- one amend in peace ---------------------------------------------------------------------- */

static bool asked(const struct judge *j, enum qb_key key)
{
    return j->s->rq.set & (unsigned)key;
}

static const char *header_differs(const struct reading *a, const struct reading *b)
{
    if (a->version != b->version || a->refcount_bits != b->refcount_bits)
        return "another version or refcount width";
    if (a->incompatible != b->incompatible || a->compatible != b->compatible)
        return "other feature bits";
    if (a->extended_l2 != b->extended_l2)
        return "L2 entries of another size";
    if (strcmp(a->backing_file, b->backing_file) != 0 ||
        strcmp(a->backing_fmt, b->backing_fmt) != 0)
        return "another backing file or format";
    if (a->data_raw != b->data_raw || strcmp(a->data_file, b->data_file) != 0)
        return "another data file, or another word on whether it is raw";
    if (a->unknown_ext != b->unknown_ext)
        return "an unknown extension was lost";
    return reading_bitmaps_differ(&a->bitmaps, &b->bitmaps);
}

/* keeps: what the old image needs leaks. */
static const char *state_differs(const struct reading *is, const struct reading *expected,
                                 bool keeps)
{
    const char *why = is->wrong[0] ? is->wrong : header_differs(is, expected);

    if (!why[0])
        why = reading_differs(is, expected);
    if (!why[0] && is->data_raw && !is->raw_shows)
        why = "the raw data file does not show the disk";
    if (!why[0] && is->data_size < expected->data_size)
        why = "the data file is too short";
    if (!why[0] && is->lacking_end > expected->lacking_end)
        why = "a cluster of the disk has no place in the file";
    if (!why[0] && is->corruptions > expected->corruptions)
        why = is->damage;
    /* Clusters that were counted past the file's end leak once an append that was cut short has
     * made the file longer. */
    if (!why[0] && !keeps && is->leaks > expected->leaks + expected->behind)
        why = is->damage[0] ? is->damage : "more leaks";
    /* A cluster whose references take all that a narrow refcount can say cannot leak as well. */
    if (!why[0] && is->leaks + is->full < expected->leaks)
        why = "a leak was freed";
    return why;
}

/* The engine's census and the one of reading.c must say the same. */
static void compare_census(struct judge *j, const struct image_bytes *b, const struct reading *r,
                           const char *at)
{
    uint64_t corruptions = 0, leaks = 0;
    char why[200], text[520];

    if (!run_census(b, &corruptions, &leaks, why, sizeof(why)) || !corruptions != !r->corruptions ||
        leaks > r->leaks || (!leaks != !r->leaks && !r->leaks)) {
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
        err->code != QB_E_HEADER_FULL && err->code != QB_E_BACKING_MISSING &&
        (err->code != QB_E_NO_SPACE || !j->s->image.device) &&
        (err->code != QB_E_CORRUPT || !j->s->image.damaged || j->s->rq.repair == 15))
        judge_blame(j, "refused", err->text);
}

/* A disk in memory does not tell which of its bytes take space and were written: all did, each
 * time. */
static bool gives_back(const struct judge *j)
{
    return j->s->rq.set & QB_KEY_RECLAIM &&
           (j->s->rq.reclaim_free || j->s->rq.reclaim_zeros || j->s->rq.reclaim_compact);
}

/* What was reserved stays reserved, unless it is asked back: no punch, and only a shrink cuts. */
static void check_reserved(struct judge *j, const struct qb_mem_log *log)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events);
    bool shrinks = asked(j, QB_KEY_SIZE) && j->s->rq.size < j->was.size;

    for (size_t i = 0; j->s->image.reserved && !gives_back(j) && i < n; i++) {
        if (events[i].disk != 0)
            continue;
        if (events[i].op == QB_OP_PUNCH)
            judge_blame(j, "in peace", "reserved space was punched");
        if (events[i].op == QB_OP_SET_SIZE && events[i].offset < j->s->image.size &&
            (!shrinks || i < judge_flip(log, 0)))
            judge_blame(j, "in peace", "reserved space was cut off");
    }
}

static void hand_out(struct qb_mem_log *log, struct qb_mem_log **out)
{
    if (out)
        *out = log;
    else
        qb_mem_log_free(log);
}

void judge_begin(struct judge *j, const struct subject *s, struct qb_mem_log **log_out)
{
    struct qb_mem_log *log = run_machine(&s->image);
    struct image_bytes now;

    *j = (struct judge){.s = s};
    if (judge_is_raw(j)) {
        judge_raw_begin(j, log);
        hand_out(log, log_out);
        return;
    }
    reading_take_image(&s->image, NULL, &j->was);
    if (j->was.data_raw && !j->was.raw_shows)
        judge_blame(j, "before", "the raw data file does not show the disk");
    if (j->was.wrong[0])
        judge_blame(j, "before", j->was.wrong);
    if (j->was.corruptions && !j->s->image.damaged && !(j->was.incompatible & 1))
        judge_blame(j, "before", j->was.damage);
    compare_census(j, &s->image, &j->was, "before");
    j->run = run_amend(log, 0, &s->rq, RUN_WHOLE);
    j->amends = j->run.result.status == QB_STATUS_CHANGED;
    now = run_content(log, 0);
    j->done = image_bytes_copy(&now);
    judge_take_headers(j, log);
    if (j->run.rc < 0 && j->run.result.err.code != QB_E_VERIFY)
        check_refusal(j, log);
    else if (j->run.rc < 0)
        judge_blame(j, "verify", j->run.result.err.text);
    judge_expect(j, log);
    if (j->run.rc == 0 && !j->amends && j->was.lacking_end > j->shall.lacking_end)
        judge_blame(j, "unchanged", "clusters of the disk have no place in the file");
    if (j->amends) {
        struct reading is;

        judge_state(j, &j->done, AMENDED, "in peace");
        check_reserved(j, log);
        if (j->done.size % 512)
            judge_blame(j, "in peace", "a length that is not a multiple of 512");
        reading_take_image(&j->done, NULL, &is);
        compare_census(j, &j->done, &is, "in peace");
        if (is.data_size != j->shall.data_size)
            judge_blame(j, "in peace", "the data file has another length than it shall");
        reading_free(&is);
    }
    hand_out(log, log_out);
}

void judge_end(struct judge *j)
{
    reading_free(&j->was);
    reading_free(&j->shall);
    image_bytes_free(&j->done);
    run_free(&j->run);
    free(j->headers);
    free(j->seen);
    j->headers = NULL;
    j->seen = NULL;
}

/* ---- states ---------------------------------------------------------------------------------- */

/* Old bytes of the data file in what growing took into use: a guest that writes a part of a cluster
 * there would find them in the rest. */
static bool has_old_bytes(const struct judge *j, const struct image_bytes *state)
{
    uint64_t end = state->data ? state->data_size : 0;

    end = end < j->shall.size ? end : j->shall.size;
    for (uint64_t at = j->was.size; at < end; at++)
        if (state->data[at])
            return true;
    return false;
}

/* With keep_undo, the old header put back over the amended image leads to all of the old one. */
static void look_at_kept(struct judge *j, const struct image_bytes *state, const char *at)
{
    struct image_bytes back = image_bytes_copy(state);
    struct reading is;
    const char *why;
    char where[120];

    memcpy(back.bytes, j->s->image.bytes, 512);
    reading_take_image(&back, NULL, &is);
    why = state_differs(&is, &j->was, false);
    snprintf(where, sizeof(where), "%s, the old header again", at);
    if (why[0])
        judge_blame(j, where, why);
    reading_free(&is);
    image_bytes_free(&back);
}

static bool compare(struct judge *j, const struct image_bytes *state,
                    const struct reading *expected, const char *at)
{
    bool keeps = expected == &j->shall && j->s->rq.keep_undo, ok;
    struct reading is;
    const char *why;

    reading_take_image(state, NULL, &is);
    why = state_differs(&is, expected, keeps);
    if (!why[0] && keeps)
        look_at_kept(j, state, at);
    if (!why[0] && expected == &j->shall && has_old_bytes(j, state))
        why = "the data file has old bytes past the old end of the disk";
    ok = !why[0];
    if (!ok)
        judge_blame(j, at, why);
    reading_free(&is);
    return ok;
}

/* There may be more to give back, such as a copied cluster that is zero now, and no room on the
 * device for its table: refused, and as it was. */
static bool has_no_room_for_more(const struct judge *j, const struct run *r, bool was_amended)
{
    return was_amended && gives_back(j) && j->s->image.device &&
           r->result.err.code == QB_E_NO_SPACE;
}

/* The same amend once more, with nothing in its way. */
static void run_again(struct judge *j, const struct image_bytes *state, bool was_amended,
                      const char *at)
{
    struct image_bytes now = *state;
    struct qb_mem_log *log;
    struct run r;
    const struct qb_mem_event *events;
    char where[120];

    /* Leaks that are to be mended are also those that the undo needs. */
    if (was_amended && j->s->rq.keep_undo && asked(j, QB_KEY_REPAIR))
        return;
    now.reserved = j->s->image.reserved;
    now.device = j->s->image.device;
    log = run_machine(&now);
    r = run_amend(log, 0, &j->s->rq, RUN_WHOLE);
    snprintf(where, sizeof(where), "%s, run again", at);
    now = run_content(log, 0);
    if (r.rc < 0 && !has_no_room_for_more(j, &r, was_amended))
        judge_blame(j, where, r.result.err.text);
    else if (was_amended && !gives_back(j) &&
             (r.result.status != QB_STATUS_UNCHANGED || qb_mem_events(log, &events)))
        judge_blame(j, where, "an amended image was changed");
    else if (!was_amended || gives_back(j))
        compare(j, &now, &j->shall, where);
    run_free(&r);
    qb_mem_log_free(log);
}

/* In commits of which each leaves an image that is as asked. */
static bool compacts(const struct judge *j)
{
    return asked(j, QB_KEY_RECLAIM) && j->s->rq.reclaim_compact;
}

static void image_state(struct judge *j, const struct image_bytes *state, enum verdict allowed,
                        const char *at)
{
    bool old = judge_has_old_header(j, state), amended = judge_has_new_header(j, state);

    if (old && amended) /* a commit that gave back space, or one that moved things back */
        old = allowed & OLD;
    j->states++;
    if (!old && !amended)
        judge_blame(j, at, "the header is neither the old nor the amended one");
    else if (!(allowed & (old ? OLD : AMENDED)))
        judge_blame(j, at, old ? "it is the old image still" : "it is the amended image already");
    else if (compare(j, state, old ? &j->was : &j->shall, at))
        run_again(j, state, !old, at);
}

void judge_state(struct judge *j, const struct image_bytes *state, enum verdict allowed,
                 const char *at)
{
    (judge_is_raw(j) ? judge_raw_state : image_state)(j, state, allowed, at);
}

/* Whether the bytes [at, end) are as they were, but for what is free in the image. */
static bool same_bytes(const struct judge *j, const struct image_bytes *now, uint64_t at,
                       uint64_t end)
{
    bool room = j->s->image.device || j->s->rq.room_first || compacts(j);
    uint64_t cs = j->was.cluster_size, stop;

    for (; at < end; at = stop) {
        stop = room ? at + cs : end;
        stop = stop < end ? stop : end;
        if (!(room && j->was.free[at / cs]) &&
            memcmp(now->bytes + at, j->s->image.bytes + at, stop - at) != 0)
            return false;
    }
    return true;
}

void judge_untouched(struct judge *j, const struct qb_err *err, const struct image_bytes *now,
                     bool length_too, const char *at)
{
    bool at_flip = strncmp(err->text, "cannot write the header", 23) == 0;
    const struct image_bytes *old = &j->s->image;
    uint64_t cs = j->was.cluster_size, end = j->was.end < old->size ? j->was.end : old->size;

    if (judge_is_raw(j)) {
        judge_raw_untouched(j, now, length_too && !at_flip, at);
        return;
    }

    if (length_too && !at_flip && (now->size != old->size || now->data_size != old->data_size))
        judge_blame(j, at, "the file's length was not restored");
    if (memcmp(now->bytes, old->bytes, 512) != 0 || (end > cs && !same_bytes(j, now, cs, end)))
        judge_blame(j, at, "bytes of the old image changed");
}
