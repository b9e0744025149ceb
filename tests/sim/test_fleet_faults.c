/* Storage and memory that fail while a fleet is amended: whichever request goes wrong, once or for
 * good, every image is the old one or the amended one; the one it happened to says why, the others
 * are amended; what was not made durable is not called done; and running the amend again ends well.
 *
 * QB_FLEETS sets the random fleets of each kind, QB_FLEETS_FIRST the first one's number. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "memory.h"
#include "unit.h"

enum { IMAGES = 4 };

#ifdef __SANITIZE_ADDRESS__
#define FLEETS 4
#define STEP   7
#elif defined(__clang__) /* the same code: gcc's build tries all of it */
#define FLEETS 3
#define STEP   1
#else
#define FLEETS 8
#define STEP   1
#endif

static unsigned long runs, states, violations;

static void add_up(struct fleet *f)
{
    for (unsigned i = 0; i < f->n; i++) {
        struct judge *j = &f->images[i].judge;

        states += j->states;
        violations += j->violations;
        if (j->violations) {
            fprintf(stderr, "\nimage %u: %s (%lu violations)", i, j->first, j->violations);
            CU_FAIL("an image that must not be");
        }
        j->states = j->violations = 0;
    }
}

/* ---- what must hold whatever failed ---------------------------------------------------------- */

static void check_state(struct fleet *f, unsigned i, const struct device *d)
{
    struct fleet_image *image = &f->images[i];

    if (image->judge.amends)
        fleet_judge(f, i, d, d->n, 1);
    else if (d->n > 0)
        judge_blame(&image->judge, "faulty", "something was written");
}

static void check_told(struct fleet *f, unsigned i, const struct device *d, const char *at)
{
    struct fleet_image *image = &f->images[i];
    bool flipped = device_flip(d) < d->n;

    if (image->status == QB_STATUS_CHANGED && !flipped)
        judge_blame(&image->judge, at, "success is told, and the image is not amended");
    if (image->status == QB_STATUS_FAILED && !image->err.text[0])
        judge_blame(&image->judge, at, "a failure without a word");
}

static bool as_in_peace(const struct fleet_image *image)
{
    const struct qb_result *peace = &image->judge.run.result;

    return image->status == peace->status && image->err.code == peace->err.code;
}

/* ---- requests -------------------------------------------------------------------------------- */

static const char *word_for(enum qb_code code, int errnum)
{
    return code == QB_E_DURABILITY || code == QB_E_VERIFY ||
                   code == (errnum == EIO ? QB_E_IO : QB_E_NO_SPACE)
               ? strerror(errnum)
               : NULL;
}

static void check_image(struct fleet *f, unsigned i, const struct device *d, const struct host *h)
{
    struct fleet_image *image = &f->images[i];
    struct judge *j = &image->judge;
    unsigned failed = h->failed[i];
    const char *word = word_for(image->err.code, h->fault.errnum);
    struct image_bytes now;
    char at[80];

    snprintf(at, sizeof(at), "request %llu fails with %d%s", (unsigned long long)h->fault.nth,
             h->fault.errnum, h->fault.onwards ? " and all behind" : "");
    if (!failed && !as_in_peace(image))
        judge_blame(j, at, "nothing of this image failed, and it ended in another way");
    if (failed && !as_in_peace(image) &&
        (image->status != QB_STATUS_FAILED || !word || !strstr(image->err.text, word)))
        judge_blame(j, at, image->err.text[0] ? image->err.text : "the cause is not told");
    /* The amend may be done, and only a later round of moving clusters is not. */
    if ((failed & 1u << QB_OP_SYNC) && image->status == QB_STATUS_CHANGED &&
        image->reclaim_errno != h->fault.errnum)
        judge_blame(j, at, "a barrier failed, and it is called done");
    now = run_content(f->log, i);
    if (device_flip(d) == d->n && image->status == QB_STATUS_FAILED)
        judge_untouched(j, &image->err, &now, !h->fault.onwards, at);
    check_told(f, i, d, at);
    check_state(f, i, d);
}

static void fail_request(struct fleet *f, struct host_fault fault)
{
    unsigned failed[IMAGES] = {0};
    struct host host = {.fault = fault, .failed = failed};
    struct device *devices;
    struct qb_err err;

    runs++;
    CU_ASSERT_EQUAL(fleet_run(f, &host, &err), 0);
    devices = devices_of(f->log, f->n);
    for (unsigned i = 0; i < f->n; i++)
        check_image(f, i, &devices[i], &host);
    devices_free(devices, f->n);
}

static void only_the_image_whose_request_fails_fails(void)
{
    static const int errnums[] = {EIO, ENOSPC, EDQUOT};
    unsigned long n = unit_setting("QB_FLEETS", FLEETS), first = unit_setting("QB_FLEETS_FIRST", 0);

    for (unsigned long number = first; number < first + n; number++) {
        struct host host = {.log = NULL};
        struct fleet f;
        struct qb_err err;

        fleet_make(&f, 7000000 + number, IMAGES);
        f.stops = false;
        CU_ASSERT_EQUAL(fleet_run(&f, &host, &err), 0);
        fleet_compare(&f);
        for (uint64_t i = number % STEP; i < host.requests; i += STEP)
            for (unsigned k = 0; k < 2; k++)
                fail_request(&f, (struct host_fault){i, errnums[(i + number) % 3], k});
        add_up(&f);
        fleet_free(&f);
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

static uint64_t run_short(struct fleet *f, uint64_t nth, bool onwards, int *rc, struct qb_err *err)
{
    struct host host = {.at_work = memory_spare};

    fleet_prepare(f);
    memory_runs_out(nth, onwards);
    *rc = fleet_start(f, &host, err);
    return memory_is_back();
}

static void fail_allocation(struct fleet *f, uint64_t nth, bool onwards)
{
    struct device *devices;
    struct qb_err err = {0};
    unsigned others = 0;
    char at[80];
    int rc;

    runs++;
    snprintf(at, sizeof(at), "allocation %llu fails%s", (unsigned long long)nth,
             onwards ? " and all behind" : "");
    run_short(f, nth, onwards, &rc, &err);
    CU_ASSERT(rc == 0 || err.code == QB_E_MEMORY);
    devices = devices_of(f->log, f->n);
    for (unsigned i = 0; i < f->n; i++) {
        struct fleet_image *image = &f->images[i];

        if (rc < 0 && devices[i].n > 0)
            judge_blame(&image->judge, at, "the run did not start, and something was written");
        if (rc < 0)
            continue;
        others += !as_in_peace(image);
        if (!as_in_peace(image) && image->err.code != QB_E_MEMORY)
            judge_blame(&image->judge, at, image->err.text);
        check_told(f, i, &devices[i], at);
        check_state(f, i, &devices[i]);
    }
    if (!onwards && others > 1)
        judge_blame(&f->images[0].judge, at, "more than one image failed");
    devices_free(devices, f->n);
}

static void memory_that_runs_out_costs_no_more_than_the_amends_it_was_for(void)
{
    unsigned long n = unit_setting("QB_FLEETS", FLEETS), first = unit_setting("QB_FLEETS_FIRST", 0);

    for (unsigned long number = first; number < first + n; number++) {
        struct fleet f;
        struct qb_err err;
        uint64_t requests;
        int rc;

        fleet_make(&f, 8000000 + number, IMAGES - 1);
        f.stops = false;
        requests = run_short(&f, UINT64_MAX, false, &rc, &err);
        CU_ASSERT_EQUAL(rc, 0);
        for (uint64_t i = number % STEP; i < requests; i += STEP)
            fail_allocation(&f, i, i % 2);
        add_up(&f);
        fleet_free(&f);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(only_the_image_whose_request_fails_fails),
        UNIT(memory_that_runs_out_costs_no_more_than_the_amends_it_was_for),
    };
    int rc;

    amends_begin();
    rc = unit_main("fleet_faults", tests, UNIT_COUNT(tests));
    amends_end();
    printf("faults of fleets: %lu runs, %lu states, %lu violations\n", runs, states, violations);
    return rc;
}
