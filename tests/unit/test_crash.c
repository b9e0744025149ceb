/* Power loss: whatever part of an amend's writes reached the disk, it holds the old image or the
 * amended one, with every guest's bytes, and running the amend again ends well.
 *
 * QB_CRASH_SEEDS sets the torn states that are drawn at each point, QB_CRASH_IMAGES the random
 * images. */
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "unit.h"

#ifdef __SANITIZE_ADDRESS__ /* some fifteen times slower */
#define SEEDS  2
#define IMAGES 60
#define EVERY  4         /* of the requests made by hand */
#elif defined(__clang__) /* the same code: gcc's build tries all of it */
#define SEEDS  4
#define IMAGES 100
#define EVERY  1
#else
#define SEEDS  8
#define IMAGES 600
#define EVERY  1
#endif

static unsigned long states, violations;

static void add_up(const struct judge *j)
{
    states += j->states;
    violations += j->violations;
    if (j->violations) {
        fprintf(stderr, "\n%s (%lu violations)", j->first, j->violations);
        CU_FAIL("a state that must not be");
    }
}

/* ---- the tests ------------------------------------------------------------------------------- */

/* Whether the judge sees that the first barrier is missing. */
static bool missing_barrier_shows(const struct subject *s)
{
    struct qb_mem_log *log = run_machine(&s->image), *other;
    const struct qb_mem_event *events;
    struct judge j;
    struct run r;
    size_t flip;

    judge_begin(&j, s, &other);
    qb_mem_log_free(other);
    r = run_amend(log, 0, &s->rq, RUN_WITHOUT_FIRST_BARRIER);
    run_free(&r);
    flip = judge_flip(log, 0);
    qb_mem_events(log, &events);
    for (uint64_t seed = 1; seed <= 64 && !j.violations; seed++)
        judge_cut(&j, log, 0, flip + 1, seed * 7919, EITHER);
    qb_mem_log_free(log);
    judge_end(&j);
    return j.violations > 0;
}

static bool fits(const struct recipe *r, const struct wish *w)
{
    return !r->heavy || w->heavy_too;
}

static unsigned amended, refused, unchanged;

static void cut_subject(const struct subject *s, unsigned long seeds)
{
    const char *only = getenv("QB_CRASH_ONLY"); /* names that contain this */
    struct qb_mem_log *log;
    struct judge j;

    if (only && !strstr(s->name, only))
        return;
    judge_begin(&j, s, &log);
    if (j.amends)
        judge_cuts(&j, log, 0, s->heavy ? 1 : seeds);
    amended += j.amends;
    refused += j.run.rc < 0;
    unchanged += j.run.rc == 0 && !j.amends;
    if (getenv("QB_CRASH_VERBOSE"))
        printf("%-70s %-10s %lu states %s\n", s->name,
               j.run.rc < 0 ? qb_code_name(j.run.result.err.code)
               : j.amends   ? "amended"
                            : "same",
               j.states, j.run.rc < 0 ? j.run.result.err.text : "");
    add_up(&j);
    qb_mem_log_free(log);
    judge_end(&j);
}

static void amend_survives_power_loss_at_every_write(void)
{
    unsigned long seeds = unit_setting("QB_CRASH_SEEDS", SEEDS);

    amended = refused = unchanged = 0;
    for (size_t i = 0; i < n_recipes && !unit_has_enough(); i++)
        for (size_t k = i % EVERY; k < n_wishes; k += EVERY) {
            struct subject s;

            if (!fits(&recipes[i], &wishes[k]))
                continue;
            s = subject_of(&recipes[i], &wishes[k]);
            cut_subject(&s, seeds);
            subject_free(&s);
        }
    printf("\n%u amends, %u refusals, %u with nothing to do ... ", amended, refused, unchanged);
    CU_ASSERT(amended > 1000 / EVERY); /* else the wishes or the images are the wrong ones */
}

static void random_amends_survive_power_loss(void)
{
    unsigned long seeds = unit_setting("QB_CRASH_SEEDS", SEEDS),
                  n = unit_setting("QB_CRASH_IMAGES", IMAGES);
    unsigned long first = unit_setting("QB_CRASH_FIRST", 0);

    amended = refused = unchanged = 0;
    for (unsigned long i = first; i < first + n && !unit_has_enough(); i++) {
        struct subject s = subject_random(i);

        cut_subject(&s, seeds);
        subject_free(&s);
    }
    printf("\n%u amends, %u refusals, %u with nothing to do ... ", amended, refused, unchanged);
    CU_ASSERT(amended > n / 3);
}

static void power_loss_shows_when_the_first_barrier_is_left_out(void)
{
    unsigned seen = 0, tried = 0;

    for (size_t i = 0; i < n_recipes && !unit_has_enough(); i++)
        for (size_t k = i % 5; k < n_wishes; k += 5) {
            struct subject s;
            struct qb_mem_log *log;
            struct run r;

            if (recipes[i].heavy)
                continue;
            s = subject_of(&recipes[i], &wishes[k]);
            log = run_machine(&s.image);
            r = run_amend(log, 0, &s.rq, RUN_WHOLE);
            if (r.rc == 0 && r.appends) {
                bool shows = missing_barrier_shows(&s);

                tried++;
                seen += shows;
                if (!shows)
                    fprintf(stderr, "\n%s: not seen", s.name);
            }
            run_free(&r);
            qb_mem_log_free(log);
            subject_free(&s);
        }
    printf("\nwithout the first barrier %u of %u amends break ... ", seen, tried);
    CU_ASSERT(tried > 100);
    CU_ASSERT_EQUAL(seen, tried);
}

/* ---- waves ----------------------------------------------------------------------------------- */

#define WAVE 5

struct wave {
    struct qb_mem_log *log;
    struct qb_io *io;
    struct subject subjects[WAVE];
    struct judge judges[WAVE];
    struct qb_amend *amends[WAVE];
};

static void wave_fill(struct wave *w, uint64_t first)
{
    struct qb_file file;
    unsigned n = 0;

    w->log = qb_mem_log_new();
    w->io = run_io(w->log);
    for (uint64_t seed = first; n < WAVE; seed++) {
        w->subjects[n] = subject_random(seed);
        judge_begin(&w->judges[n], &w->subjects[n], NULL);
        if (!w->judges[n].amends) {
            judge_end(&w->judges[n]);
            subject_free(&w->subjects[n]);
            continue;
        }
        if (qb_mem_file(w->log, w->subjects[n].image.bytes, w->subjects[n].image.size, &file) < 0)
            abort();
        qb_file_close(&file);
        n++;
    }
}

/* All images epoch by epoch, in step, with shared barriers. */
static void wave_run(struct wave *w)
{
    struct qb_file *files[WAVE];
    int errors[WAVE];

    for (unsigned i = 0; i < WAVE; i++) {
        w->amends[i] = run_open(w->io, w->log, i);
        files[i] = qb_amend_file(w->amends[i]);
        CU_ASSERT_EQUAL(qb_amend_plan(w->amends[i], w->io, &w->subjects[i].rq), 0);
    }
    for (unsigned i = 0; i < WAVE; i++) {
        CU_ASSERT_EQUAL(qb_amend_remember(w->amends[i], w->io), 0);
        CU_ASSERT_EQUAL(qb_amend_append(w->amends[i], w->io), 0);
    }
    CU_ASSERT_EQUAL(qb_io_barrier(w->io, files, WAVE, QB_SYNC_AUTO, errors), 0);
    for (unsigned i = 0; i < WAVE; i++)
        CU_ASSERT_EQUAL(qb_amend_flip(w->amends[i], w->io), 0);
    CU_ASSERT_EQUAL(qb_io_barrier(w->io, files, WAVE, QB_SYNC_AUTO, errors), 0);
    for (unsigned i = 0; i < WAVE; i++) {
        CU_ASSERT_EQUAL(qb_amend_flipped(w->amends[i], errors[i]), 0);
        CU_ASSERT_EQUAL(qb_amend_verify(w->amends[i], w->io), 0);
        qb_amend_settle(w->amends[i], w->io);
    }
}

static void wave_free(struct wave *w)
{
    for (unsigned i = 0; i < WAVE; i++) {
        qb_amend_close(w->amends[i]);
        judge_end(&w->judges[i]);
        subject_free(&w->subjects[i]);
    }
    qb_io_close(w->io);
    qb_mem_log_free(w->log);
}

static void wave_survives_power_loss_at_every_write(void)
{
    for (unsigned n = 0; n < 12; n++) {
        const struct qb_mem_event *events;
        struct wave w;

        wave_fill(&w, 100000 + n * 50);
        wave_run(&w);
        CU_ASSERT(qb_mem_events(w.log, &events) > 2 * WAVE);
        for (unsigned i = 0; i < WAVE; i++) {
            judge_cuts(&w.judges[i], w.log, i, 3);
            add_up(&w.judges[i]);
        }
        wave_free(&w);
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

static const struct recipe *recipe_named(const char *name)
{
    for (size_t i = 0; i < n_recipes && !unit_has_enough(); i++)
        if (strcmp(recipes[i].name, name) == 0)
            return &recipes[i];
    abort();
}

static const struct wish *wish_named(const char *name)
{
    for (size_t i = 0; i < n_wishes; i++)
        if (strcmp(wishes[i].name, name) == 0)
            return &wishes[i];
    abort();
}

/* Left out of the plan, a refusal would leave an image half amended: so these are told by name. */
static void amends_that_cannot_be_are_refused_and_write_nothing(void)
{
    static const struct {
        const char *recipe, *wish;
        enum qb_code code;
    } rows[] = {
        {"refcounts of 8 bits", "down", QB_E_REFUSED},
        {"version 2 with snapshots", "grow", QB_E_REFUSED},
        {"version 2 with snapshots", "lazy refcounts on", QB_E_REFUSED},
        {"snapshots that share tables", "refcounts of 1 bit", QB_E_REFUSED},
        {"disks that changed size", "down", QB_E_REFUSED},
        {"zero clusters that a snapshot owns", "down and larger", QB_E_REFUSED},
        {"every kind, version 2", "refcounts of 64 bits", QB_E_REFUSED},
        {"an extension that fills version 2", "up", QB_E_HEADER_FULL},
    };

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        struct subject s = subject_of(recipe_named(rows[i].recipe), wish_named(rows[i].wish));
        struct judge j;

        judge_begin(&j, &s, NULL);
        CU_ASSERT_EQUAL(j.run.rc, -1);
        if (j.run.result.err.code != rows[i].code)
            fprintf(stderr, "\n%s: %s", s.name, j.run.result.err.text);
        CU_ASSERT_EQUAL(j.run.result.err.code, rows[i].code);
        add_up(&j);
        judge_end(&j);
        subject_free(&s);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(amends_that_cannot_be_are_refused_and_write_nothing),
        UNIT(amend_survives_power_loss_at_every_write),
        UNIT(random_amends_survive_power_loss),
        UNIT(wave_survives_power_loss_at_every_write),
        UNIT(power_loss_shows_when_the_first_barrier_is_left_out),
    };
    int rc;

    amends_begin();
    rc = unit_main("crash", tests, UNIT_COUNT(tests));
    amends_end();
    printf("power loss: %lu states, %lu violations\n", states, violations);
    return rc;
}
