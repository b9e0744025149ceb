/* What a process of a relay may tell that an image has taken over: none of it is believed. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/result.h"
#include "outcome/outcome_wire.h"
#include "run/relay_run.h"
#include "unit.h"

enum { JOBS = 3 };

/* What its parent passes on. */
struct heard {
    size_t images, notices, asked, composed;
    bool misled;
    char last[QB_RELAY_LINE];
    struct qb_rollout_sum rollout;
};

static void on_image(void *arg, size_t job, const struct qb_outcome *outcome)
{
    struct heard *h = arg;

    (void)job;
    h->images++;
    h->composed += outcome->composed != NULL;
}

static void on_notice(void *arg, const char *text)
{
    struct heard *h = arg;

    h->notices++;
    h->misled |= strstr(text, "told what no process of this program tells") != NULL;
    snprintf(h->last, sizeof(h->last), "%s", text);
}

static bool on_ask(void *arg, const char *question, int asker)
{
    (void)question;
    (void)asker;
    ((struct heard *)arg)->asked++;
    return true;
}

/* ---- in the process -------------------------------------------------------------------------- */

typedef void lie_fn(int fd);

static int find_socket(void)
{
    struct stat st;

    for (int fd = STDERR_FILENO + 1; fd < 1024; fd++)
        if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
            return fd;
    return -1;
}

static int lie(void *arg, const struct qb_relay *relay, const struct qb_listener *listener,
               struct qb_err *err)
{
    (void)relay;
    (void)listener;
    (void)err;
    signal(SIGPIPE, SIG_DFL);
    ((lie_fn *)*(void **)arg)(find_socket());
    _exit(0);
}

static void say(int fd, unsigned word, const void *bytes, size_t n)
{
    struct qb_relay_head head = {word, (uint32_t)n};

    if (write(fd, &head, sizeof(head)) != (ssize_t)sizeof(head) ||
        write(fd, bytes, n) != (ssize_t)n)
        _exit(1);
}

static void say_text(int fd, unsigned word, const char *text)
{
    say(fd, word, text, strlen(text) + 1);
}

static void say_outcome(int fd, uint64_t job, struct qb_outcome *o)
{
    struct qb_wire wire = {0};

    qb_wire_put(&wire, &job, sizeof(job));
    qb_outcome_put(&wire, o);
    say(fd, QB_RELAY_OUTCOME, wire.bytes, wire.n);
}

/* ---- lies ------------------------------------------------------------------------------------ */

static void the_same_image_twice(int fd)
{
    struct qb_outcome o = {.result.status = QB_STATUS_CHANGED};

    say_outcome(fd, 1, &o);
    say_outcome(fd, 1, &o);
}

static void an_image_that_is_none(int fd)
{
    struct qb_outcome o = {.result.status = QB_STATUS_CHANGED};

    say_outcome(fd, JOBS, &o);
}

static void more_words_than_there_are(int fd)
{
    say_text(fd, QB_RELAY_WORDS, "");
}

static void a_text_without_an_end(int fd)
{
    say(fd, QB_RELAY_NOTICE, "abc", 3);
}

static void two_texts_in_one(int fd)
{
    say(fd, QB_RELAY_NOTICE, "a\0b", 4);
}

static void a_notice_of_pages(int fd)
{
    static char text[QB_RELAY_LINE + 1];

    memset(text, 'x', sizeof(text) - 1);
    say(fd, QB_RELAY_NOTICE, text, sizeof(text));
}

static void notices_without_end(int fd)
{
    for (;;)
        say_text(fd, QB_RELAY_NOTICE, "and");
}

static void a_question_that_nobody_asks(int fd)
{
    say_text(fd, QB_RELAY_ASK, "password?");
}

static void a_step_that_is_none(int fd)
{
    struct qb_rollout_sum sum = {.n = 3, .step = 3};

    say(fd, QB_RELAY_ROLLOUT, &sum, sizeof(sum));
}

static void steps_that_nobody_wants(int fd)
{
    struct qb_rollout_sum sum = {.n = 20, .step = 19};

    say(fd, QB_RELAY_ROLLOUT, &sum, sizeof(sum));
}

static void an_order_with_an_image_twice(int fd)
{
    const uint32_t order[JOBS] = {0, 1, 1};

    say(fd, QB_RELAY_ORDER, order, sizeof(order));
}

static void an_outcome_of_megabytes(int fd)
{
    char *text = calloc(1, QB_RELAY_OUTCOME_MOST);
    struct qb_outcome o = {.result.status = QB_STATUS_CHANGED, .steps = text};

    memset(text, 'x', QB_RELAY_OUTCOME_MOST - 1);
    say_outcome(fd, 0, &o);
}

/* As one that is confined tells it, and then what an image would like to be told. */
static void its_sandbox_twice(int fd)
{
    struct qb_confining c = {.sandboxed.applies = true};
    struct qb_wire wire = {0};

    qb_confining_put(&c, &wire);
    say(fd, QB_RELAY_SANDBOX, wire.bytes, wire.n);
    say(fd, QB_RELAY_SANDBOX, wire.bytes, wire.n);
}

static void the_end_before_all_are_told(int fd)
{
    struct qb_relay_end last = {.failed = 0};

    say(fd, QB_RELAY_END, &last, sizeof(last));
}

static void an_error_that_is_none(int fd)
{
    struct qb_relay_end last = {.failed = -1, .code = QB_E_COUNT};

    say(fd, QB_RELAY_END, &last, sizeof(last));
}

/* ---- the relay ------------------------------------------------------------------------------- */

static int no_other(void *arg, const char *how, struct qb_err *err)
{
    (void)arg;
    (void)how;
    return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "no other one");
}

static struct heard relay(lie_fn *fn)
{
    struct qb_amount steps[2] = {{.n = 1}, {.n = 2}};
    struct heard heard = {0};
    struct qb_batch batch;
    struct qb_confining confining;
    struct qb_run_options options = {.jobs = 1};
    struct qb_listener listener = {.arg = &heard,
                                   .image = on_image,
                                   .notice = on_notice,
                                   .ask = on_ask,
                                   .rollout = &heard.rollout};
    struct qb_relay_run run = {.batch = &batch,
                               .options = &options,
                               .listener = &listener,
                               .flipped = "amended",
                               .confining = &confining,
                               .body = lie,
                               .again = no_other};
    void *how = (void *)fn;
    struct qb_request rq;
    struct qb_err err;
    bool began;

    qb_request_init(&rq);
    qb_batch_init(&batch);
    for (size_t i = 0; i < JOBS; i++)
        CU_ASSERT_TRUE_FATAL(qb_batch_add(&batch, "/nonexistent", 0, &rq));
    batch.rollout.steps = (struct qb_amounts){steps, 2};
    qb_confining_init(&confining, &batch, false);
    run.arg = &how;
    CU_ASSERT_EQUAL(qb_relay_run(&run, &began, &err), 0);
    CU_ASSERT_TRUE(began);
    batch.rollout.steps.n = 0;
    qb_confining_end(&confining);
    qb_batch_free(&batch);
    return heard;
}

static void no_lie_is_believed(void)
{
    static lie_fn *const lies[] = {
        the_same_image_twice,
        an_image_that_is_none,
        more_words_than_there_are,
        a_text_without_an_end,
        two_texts_in_one,
        a_notice_of_pages,
        notices_without_end,
        a_step_that_is_none,
        steps_that_nobody_wants,
        an_order_with_an_image_twice,
        an_outcome_of_megabytes,
        its_sandbox_twice,
        a_question_that_nobody_asks,
        the_end_before_all_are_told,
        an_error_that_is_none,
    };

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct heard h = relay(lies[i]);

        if (!h.misled)
            printf("\n  lie %zu: %s\n", i, h.last);
        CU_ASSERT_TRUE(h.misled);
        CU_ASSERT_EQUAL(h.images, JOBS);
        CU_ASSERT_EQUAL(h.asked, 0);
        CU_ASSERT_TRUE(h.notices <= QB_RELAY_NOTICES + JOBS + 2);
    }
}

/* A line of a report is made by whoever is believed. */
static void lines_of_reports(int fd)
{
    struct qb_composed c = {.texts = {strdup("\033[2J{}")}, .lens = {6}};
    struct qb_outcome o = {.result.status = QB_STATUS_CHANGED, .composed = &c};

    for (uint64_t job = 0; job < JOBS; job++)
        say_outcome(fd, job, &o);
}

static void no_line_is_taken(void)
{
    struct heard h = relay(lines_of_reports);

    CU_ASSERT_FALSE(h.misled);
    CU_ASSERT_EQUAL(h.images, JOBS);
    CU_ASSERT_EQUAL(h.composed, 0);
}

int main(void)
{
    static const struct unit_test tests[] = {UNIT(no_lie_is_believed), UNIT(no_line_is_taken)};

    return unit_main("relay_lies", tests, UNIT_COUNT(tests));
}
