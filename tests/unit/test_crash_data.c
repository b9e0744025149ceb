/* Power loss while an image with an external data file is amended: both files lose what they like
 * of what was not synced, each by itself, and the image is the old one or the amended one, with
 * every byte of the guest, which a raw data file shows by itself.
 *
 * QB_CRASH_SEEDS, QB_CRASH_IMAGES, QB_CRASH_FIRST and QB_CRASH_ONLY are as in test_crash.c. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "mem/mem_disk.h"
#include "poke.h"
#include "unit.h"

#ifdef __SANITIZE_ADDRESS__ /* some fifteen times slower */
#define SEEDS  2
#define IMAGES 40
#define EVERY  4 /* of the requests made by hand */
#else
#define SEEDS  6
#define IMAGES 300
#define EVERY  1
#endif

static unsigned long states, violations;
static unsigned amended, refused;

static void cut_subject(const struct subject *s)
{
    const char *only = getenv("QB_CRASH_ONLY");
    struct qb_mem_log *log;
    struct judge j;

    if (only && !strstr(s->name, only))
        return;
    judge_begin(&j, s, &log);
    if (j.amends)
        judge_cuts(&j, log, 0, unit_setting("QB_CRASH_SEEDS", SEEDS));
    amended += j.amends;
    refused += j.run.rc < 0;
    if (getenv("QB_CRASH_VERBOSE"))
        printf("%-90s %s %lu states %s\n", s->name, j.amends ? "amended" : "", j.states,
               j.run.rc < 0 ? j.run.result.err.text : "");
    states += j.states;
    violations += j.violations;
    if (j.violations) {
        fprintf(stderr, "\n%s (%lu violations)", j.first, j.violations);
        CU_FAIL("a state that must not be");
    }
    qb_mem_log_free(log);
    judge_end(&j);
}

/* Calls fn with each image and each wish that has these keys. */
static void each_subject(void (*fn)(const struct subject *s), unsigned keys)
{
    for (size_t i = 0; i < n_data_recipes && !unit_has_enough(); i++)
        for (size_t k = 0; k < n_wishes + n_data_wishes; k++) {
            const struct wish *w = k < n_wishes ? &wishes[k] : &data_wishes[k - n_wishes];
            struct subject s;

            if ((w->rq.set & keys) != keys || (keys == 0 && (i + k) % EVERY != 0))
                continue;
            s = subject_of(&data_recipes[i], w);
            fn(&s);
            subject_free(&s);
        }
}

static void amend_survives_power_loss_at_every_write_of_either_file(void)
{
    amended = refused = 0;
    each_subject(cut_subject, 0);
    printf("\n%u amends, %u refusals ... ", amended, refused);
    CU_ASSERT(amended > 600 / EVERY); /* else the wishes or the images are the wrong ones */
}

static void random_amends_survive_power_loss(void)
{
    unsigned long n = unit_setting("QB_CRASH_IMAGES", IMAGES);
    unsigned long first = unit_setting("QB_CRASH_FIRST", 0);

    amended = refused = 0;
    for (unsigned long i = first; i < first + n && !unit_has_enough(); i++) {
        struct subject s = subject_with_data(i, i % 4 == 0, true);

        cut_subject(&s);
        subject_free(&s);
    }
    printf("\n%u amends, %u refusals ... ", amended, refused);
    CU_ASSERT(amended > n / 3);
}

/* ---- what the judge must find ---------------------------------------------------------------- */

static unsigned tried, seen;

static bool is_of_data(const struct qb_mem_log *log, const struct qb_mem_event *e)
{
    return e->disk == qb_mem_data_of(log, 0) && e->op != QB_OP_SYNC;
}

/* Data events before the flip, or from it on. */
static bool has_data_event(const struct qb_mem_log *log, bool after)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events), flip = judge_flip(log, 0);

    for (size_t i = after ? flip : 0; i < (after ? n : flip); i++)
        if (is_of_data(log, &events[i]))
            return true;
    return false;
}

/* Cuts the power after so many events, until the judge has found something. */
static void cut_after(struct judge *j, const struct qb_mem_log *log, size_t upto)
{
    for (uint64_t seed = 1; seed <= 64 && !j->violations; seed++)
        judge_cut(j, log, 0, upto, seed * 7919, judge_allows(log, 0, upto));
}

static void note_whether_seen(struct judge *j, const struct subject *s)
{
    tried++;
    seen += j->violations > 0;
    if (!j->violations)
        fprintf(stderr, "\n%s: not seen", s->name);
}

/* What growing took into use read zero, or was not there, until it was zeroed and lengthened. */
static bool shows_if_lost(const struct subject *s)
{
    struct reading r;
    bool shows;

    reading_take_image(&s->image, NULL, &r);
    shows = r.data_size < s->rq.size;
    for (uint64_t i = r.size; !shows && i < r.data_size && i < s->rq.size; i++)
        shows = s->image.data[i] != 0;
    reading_free(&r);
    return shows;
}

static void leave_the_data_barrier_out(const struct subject *s)
{
    struct qb_mem_log *log, *other;
    struct judge j;
    struct run r;

    judge_begin(&j, s, &other);
    if (j.amends && has_data_event(other, false) && shows_if_lost(s)) {
        log = run_machine(&s->image);
        r = run_amend(log, 0, &s->rq, RUN_WITHOUT_DATA_BARRIER);
        run_free(&r);
        cut_after(&j, log, judge_flip(log, 0) + 1);
        note_whether_seen(&j, s);
        qb_mem_log_free(log);
    }
    qb_mem_log_free(other);
    judge_end(&j);
}

static void power_loss_shows_when_the_data_file_is_not_synced_before_the_flip(void)
{
    tried = seen = 0;
    each_subject(leave_the_data_barrier_out, QB_KEY_SIZE);
    printf("\nwithout the data file's barrier %u of %u amends break ... ", seen, tried);
    CU_ASSERT(tried > 100);
    CU_ASSERT_EQUAL(seen, tried);
}

/* As if the event were made `to` events after the first. */
static void move_event(struct qb_mem_log *log, size_t from, size_t to)
{
    struct qb_mem_event *events = log->events.items, moved = events[from];

    memmove(events + to + 1, events + to, (from - to) * sizeof(*events));
    events[to] = moved;
}

static size_t find_cut(const struct qb_mem_log *log)
{
    size_t i = judge_flip(log, 0);

    while (i < log->events.n && !is_of_data(log, &log->events.items[i]))
        i++;
    return i;
}

/* Whether the guest has something where the data file is cut: else the cut shows to nobody. */
static bool cuts_something(const struct subject *s)
{
    struct reading r;
    bool cuts = false;

    reading_take_image(&s->image, NULL, &r);
    for (uint64_t i = (s->rq.size + 511) / 512; i < r.size / 512; i++)
        cuts |= r.layers[0].disk[i] != 0 && reading_backing_sector(r.backing_file, i, 512) == 0;
    reading_free(&r);
    return cuts;
}

static bool cuts_early; /* before the flip; else before it is sure that the disk has it */

static void cut_too_early(const struct subject *s)
{
    struct qb_mem_log *log;
    struct judge j;
    size_t to;

    judge_begin(&j, s, &log);
    if (j.amends && has_data_event(log, true) && cuts_something(s)) {
        to = judge_flip(log, 0) + !cuts_early;
        move_event(log, find_cut(log), to);
        cut_after(&j, log, to + 1);
        note_whether_seen(&j, s);
    }
    qb_mem_log_free(log);
    judge_end(&j);
}

static void power_loss_shows_when_the_data_file_is_cut_before_the_flip_is_sure(void)
{
    for (unsigned early = 0; early < 2; early++) {
        cuts_early = early;
        tried = seen = 0;
        each_subject(cut_too_early, QB_KEY_SIZE);
        printf("\ncut before the flip%s %u of %u amends break ... ", early ? "" : " is sure", seen,
               tried);
        CU_ASSERT(tried > 50);
        CU_ASSERT_EQUAL(seen, tried);
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

/* No reader takes a cluster that is at another place of the data file than the guest has it; but
 * its bytes are there, where growing would zero them, or shrinking cut them off. */
static void no_size_clears_a_cluster_that_is_at_another_place(void)
{
    static const struct poke moved = {IN_TABLE, 8, 8, UINT64_C(1) << 63 | 68 * 1024};

    for (unsigned larger = 0; larger < 2; larger++) {
        const struct wish wish = {
            "a new size", {.set = QB_KEY_SIZE, .allow_shrink = true}, SIZE_MORE, false};
        struct subject s = subject_of(&data_recipes[1], &wish);
        const struct qb_mem_event *events;
        struct qb_mem_log *log;
        struct run r;

        if (!larger)
            s.rq.size = 32 * 1024;
        poke_image(s.image.bytes, &moved);
        log = run_machine(&s.image);
        r = run_amend(log, 0, &s.rq, RUN_WHOLE);
        CU_ASSERT_EQUAL(r.rc, -1);
        CU_ASSERT_EQUAL(r.result.err.code, QB_E_CORRUPT);
        CU_ASSERT_EQUAL(qb_mem_events(log, &events), 0);
        run_free(&r);
        qb_mem_log_free(log);
        subject_free(&s);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(no_size_clears_a_cluster_that_is_at_another_place),
        UNIT(amend_survives_power_loss_at_every_write_of_either_file),
        UNIT(random_amends_survive_power_loss),
        UNIT(power_loss_shows_when_the_data_file_is_not_synced_before_the_flip),
        UNIT(power_loss_shows_when_the_data_file_is_cut_before_the_flip_is_sure),
    };
    int rc;

    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    mallopt(M_MMAP_THRESHOLD, 64 << 20); /* what one state gave back, the next one needs */
    amends_begin();
    rc = unit_main("crash_data", tests, UNIT_COUNT(tests));
    amends_end();
    printf("power loss with data files: %lu states, %lu violations\n", states, violations);
    return rc;
}
