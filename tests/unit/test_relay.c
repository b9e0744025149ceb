/* Parts of a relay: which images come first after a death, and what is said of one that crashed. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/result.h"
#include "outcome/hand.h"
#include "run/relay_run.h"
#include "unit.h"

enum { JOBS = 6 };

static struct qb_batch batch_of(struct qb_job jobs[JOBS])
{
    struct qb_batch batch = {.jobs = jobs, .n_jobs = JOBS};

    memset(jobs, 0, JOBS * sizeof(*jobs));
    return batch;
}

static void suspects_come_first_and_the_first_before_them(void)
{
    struct qb_job jobs[JOBS];
    struct qb_batch batch = batch_of(jobs);
    struct qb_suspected s = {0};
    struct qb_queue *queue = qb_queue_new(JOBS);
    size_t out[JOBS];

    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    jobs[1].suspect = jobs[3].suspect = QB_SUSPECT;
    jobs[4].suspect = QB_SUSPECT_FIRST;
    jobs[0].settled = true;
    qb_queue_done(queue, 0);
    CU_ASSERT_TRUE_FATAL(qb_suspected_first(&s, &batch, queue));
    CU_ASSERT_EQUAL(s.n, 3);
    CU_ASSERT_EQUAL_FATAL(qb_queue_take(queue, 1, JOBS, out), 5);
    CU_ASSERT_EQUAL(out[0], 4);
    CU_ASSERT_EQUAL(out[1], 1);
    CU_ASSERT_EQUAL(out[2], 3);
    CU_ASSERT_EQUAL(out[3], 2);
    qb_suspected_clear(&s, 4);
    qb_suspected_clear(&s, 4);
    qb_suspected_clear(&s, 2);
    CU_ASSERT_EQUAL(s.n, 2);
    qb_suspected_free(&s);
    qb_queue_free(queue);
}

static void without_suspects_nothing_is_put_first(void)
{
    struct qb_job jobs[JOBS];
    struct qb_batch batch = batch_of(jobs);
    struct qb_suspected s = {0};

    CU_ASSERT_TRUE(qb_suspected_first(&s, &batch, NULL));
    CU_ASSERT_EQUAL(s.n, 0);
    qb_suspected_clear(&s, 1);
    qb_suspected_free(&s);
}

static void a_place_is_taken_until_it_is_let_go(void)
{
    struct qb_held *held = calloc(QB_HELD_MAX, sizeof(*held));
    struct qb_relay relay = {.held = held};
    struct qb_held *a = qb_held_begin(&relay, 7), *b = qb_held_begin(&relay, 7 + QB_HELD_MAX);

    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    CU_ASSERT_PTR_NOT_EQUAL(a, b);
    CU_ASSERT_EQUAL(a->job, 8);
    qb_held_end(a);
    CU_ASSERT_PTR_EQUAL(qb_held_begin(&relay, 7), a);
    CU_ASSERT_PTR_NULL(qb_held_begin(NULL, 7));
    qb_held_end(NULL);
    free(held);
}

/* ---- what is said ---------------------------------------------------------------------------- */

static char path[] = "/tmp/qbatch-relay-XXXXXX";

struct said {
    enum qb_held_phase phase;
    bool appends;
    int fill; /* of the file's first sector: 'o' the old one, 'n' the new one */
    bool other_file;
    const char *words;
    bool committed, sent;
};

static struct qb_held held_of(const struct said *s)
{
    unsigned char sector[QB_RESULT_SECTOR];
    struct qb_held held = {.job = 1, .appends = s->appends};
    struct stat st;

    CU_ASSERT_EQUAL_FATAL(stat(path, &st), 0);
    atomic_init(&held.phase, s->phase);
    held.dev = st.st_dev;
    held.ino = st.st_ino + s->other_file;
    memset(sector, 'o', sizeof(sector));
    held.old_sector = qb_digest_of(sector, sizeof(sector));
    memset(sector, 'n', sizeof(sector));
    held.new_sector = qb_digest_of(sector, sizeof(sector));
    return held;
}

static void write_sector(int fill)
{
    unsigned char sector[QB_RESULT_SECTOR];
    int fd = open(path, O_WRONLY);

    memset(sector, fill, sizeof(sector));
    CU_ASSERT_EQUAL_FATAL(pwrite(fd, sector, sizeof(sector), 0), (ssize_t)sizeof(sector));
    close(fd);
}

static void it_is_said_what_state_the_image_is_in(void)
{
    static const struct said all[] = {
        {QB_HELD_BEGUN, false, 'n', false, "the image is as it was", false, false},
        {QB_HELD_PLANNED, false, 'n', false, "the image is as it was", false, false},
        {QB_HELD_PLANNED, true, 'o', false, "as it was, but may be longer", false, false},
        {QB_HELD_FLIPS, false, 'o', false, "the image is as it was", false, false},
        {QB_HELD_FLIPS, true, 'o', false, "as it was, but may be longer", false, false},
        {QB_HELD_FLIPS, true, 'n', false, "the image is amended, and was not", true, true},
        {QB_HELD_FLIPS, true, 'x', false, "its header is another one", false, true},
        {QB_HELD_FLIPS, true, 'n', true, "another file took its place", false, true},
    };
    int fd = mkstemp(path);

    CU_ASSERT_TRUE_FATAL(fd >= 0);
    close(fd);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct qb_job job = {.path = path};
        struct qb_held held = held_of(&all[i]);
        struct qb_outcome o;

        qb_request_init(&job.request);
        job.request.without_locks = true;
        write_sector(all[i].fill);
        qb_relay_crashed(&job, &held,
                         &(struct qb_relay_death){.how = "was ended by signal 9",
                                                  .alone = i % 2 == 0,
                                                  .flipped = "amended, and was not verified"},
                         &o);
        CU_ASSERT_EQUAL(o.result.status, QB_STATUS_FAILED);
        CU_ASSERT_EQUAL(o.result.err.code, QB_E_CRASHED);
        if (!strstr(o.result.err.text, all[i].words))
            printf("\n  %s\n", o.result.err.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(o.result.err.text, all[i].words));
        CU_ASSERT_EQUAL(strstr(o.result.err.text, "alone") != NULL, i % 2 == 0);
        CU_ASSERT_EQUAL(o.result.committed, all[i].committed);
        CU_ASSERT_EQUAL(o.result.header_sent, all[i].sent);
        qb_outcome_clear(&o);
    }
    unlink(path);
}

/* ---- what people asked for ------------------------------------------------------------------- */

static void a_hand_is_mended_whatever_is_in_it(void)
{
    struct qb_limits limits = {0};
    struct qb_hand *hand = qb_hand_share(JOBS, &limits);
    struct qb_act *act;

    CU_ASSERT_PTR_NOT_NULL_FATAL(hand);
    CU_ASSERT_EQUAL(qb_hand_skip(hand, 2), QB_HAND_FREE);
    CU_ASSERT_TRUE(qb_hand_begins(hand, 3));
    atomic_store(&hand->paused, true);
    act = &hand->acts[0];
    memset(act, 0x55, sizeof(*act));
    atomic_store(&hand->n_acts, SIZE_MAX);
    atomic_store(&hand->heeded, SIZE_MAX);
    atomic_store(&hand->waits_for, (const char *)1);
    hand->claims = NULL;
    qb_hand_mend(hand, JOBS);
    CU_ASSERT_EQUAL(hand->n_acts, QB_ACTS_MAX);
    CU_ASSERT_EQUAL(hand->heeded, QB_ACTS_MAX);
    CU_ASSERT_PTR_NULL(hand->waits_for);
    CU_ASSERT_PTR_NULL(act->key);
    CU_ASSERT_EQUAL(act->image, 0);
    CU_ASSERT_EQUAL(strlen(act->who), QB_ACT_WHO - 1);
    CU_ASSERT_TRUE(hand->paused && hand->served);
    CU_ASSERT_FALSE(qb_hand_begins(hand, 2)); /* still skipped */
    CU_ASSERT_EQUAL(qb_hand_skip(hand, 3), QB_HAND_FREE);
    qb_hand_unshare(hand, JOBS);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(suspects_come_first_and_the_first_before_them),
        UNIT(without_suspects_nothing_is_put_first),
        UNIT(a_place_is_taken_until_it_is_let_go),
        UNIT(it_is_said_what_state_the_image_is_in),
        UNIT(a_hand_is_mended_whatever_is_in_it),
    };

    return unit_main("relay", tests, UNIT_COUNT(tests));
}
