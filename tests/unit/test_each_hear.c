/* What is believed of a process that reads images for `check`, `info` and `map`. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "look/each_fleet.h"
#include "unit.h"
#include "util/whole.h"

enum { JOBS = 4 };

struct seen {
    char text[256]; /* all that was shown */
    size_t answers, lost;
    enum qb_code lost_code;
    bool lost_begun;
};

static void on_answer(void *arg, size_t image, const struct qb_answer *answer)
{
    struct seen *s = arg;

    (void)image;
    if (answer->text)
        strncat(s->text, answer->text, sizeof(s->text) - strlen(s->text) - 1);
    s->answers += !answer->is_part;
}

static void lose(void *arg, size_t i, const struct qb_err *err, bool begun, struct qb_answer *out)
{
    struct seen *s = arg;

    (void)i;
    (void)out;
    s->lost++;
    s->lost_code = err->code;
    s->lost_begun = begun;
}

/* A message as a process tells it, right or not. */
struct message {
    uint32_t word, len;
    struct qb_each_told told;
    const char *texts; /* what follows, whatever the sizes say; NULL: nothing */
};

struct telling {
    const struct message *messages;
    size_t n;
};

static void tell_all(void *arg, int fd)
{
    const struct telling *t = arg;

    for (size_t i = 0; i < t->n; i++) {
        const struct message *m = &t->messages[i];
        struct qb_each_head head = {m->word, m->len};

        qb_write_whole(fd, &head, sizeof(head));
        qb_write_whole(fd, &m->told, sizeof(m->told));
        if (m->texts)
            qb_write_whole(fd, m->texts, strlen(m->texts));
    }
}

struct fleet {
    struct qb_job jobs[JOBS];
    struct qb_batch batch;
    struct seen seen;
    struct qb_each each;
    struct qb_each_fleet f;
    struct qb_each_hearer h;
};

static void begin(struct fleet *all)
{
    memset(all, 0, sizeof(*all));
    all->batch = (struct qb_batch){.jobs = all->jobs, .n_jobs = JOBS};
    all->each = (struct qb_each){
        .batch = &all->batch, .arg = &all->seen, .lose = lose, .verdicts = 3, .json = true};
    all->f = (struct qb_each_fleet){.each = &all->each};
    all->f.answers = qb_answers_new(JOBS, 1 << 20, on_answer, &all->seen);
    CU_ASSERT_PTR_NOT_NULL_FATAL(all->f.answers);
    all->h.f = &all->f;
}

static void hear(struct fleet *all, const struct message *messages, size_t n)
{
    struct telling telling = {messages, n};
    const struct qb_mortal_wish wish = {.body = tell_all, .arg = &telling, .kept = -1};
    struct qb_err err;

    qb_each_hear_anew(&all->h);
    CU_ASSERT_EQUAL_FATAL(qb_mortal_start(&all->h.process, &wish, &err), 0);
    qb_each_hear(&all->h);
    qb_mortal_end(&all->h.process, false, NULL);
}

#define TOLD(...) .len = sizeof(struct qb_each_told), .told = {__VA_ARGS__}

static void what_is_right_is_shown(void)
{
    static const struct message right[] = {
        {QB_EACH_ANSWER, TOLD(.image = 1, .sizes = {3}), "b\n"},
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {2}, .is_part = 1), "a"},
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {2}), "\n"},
        {QB_EACH_ANSWER, TOLD(.image = 2, .sizes = {0, 3}, .failed = 1, .code = 1, .verdict = 2),
         "f\n"},
    };
    struct fleet all;

    begin(&all);
    hear(&all, right, 4);
    CU_ASSERT_FALSE(all.h.misled);
    CU_ASSERT_EQUAL(all.h.answered, 3);
    CU_ASSERT_STRING_EQUAL(all.seen.text, "a\nb\n");
    qb_answers_free(all.f.answers);
}

static void nothing_else_is_believed(void)
{
    static const struct message wrong[] = {
        {QB_EACH_WORDS, TOLD(.image = 0), NULL},
        {QB_EACH_ANSWER, .len = 4},
        {QB_EACH_SANDBOX, .len = 1 << 30},
        {QB_EACH_SANDBOX, .len = 8},
        {QB_EACH_END, .len = 8},
        {QB_EACH_ANSWER, TOLD(.image = JOBS), NULL},
        {QB_EACH_ANSWER, TOLD(.image = UINT64_MAX), NULL},
        {QB_EACH_ANSWER, TOLD(.image = 0, .code = QB_E_COUNT), NULL},
        {QB_EACH_ANSWER, TOLD(.image = 0, .verdict = 3), NULL},
        {QB_EACH_ANSWER, TOLD(.image = 1, .is_part = 1), NULL}, /* not its turn */
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {UINT64_MAX}), NULL},
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {[QB_EACH_TEXTS - 1] = UINT64_C(1) << 40}),
         NULL},
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {4}), "a\nb"},      /* two lines */
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {2}), "a"},         /* none */
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {5}), "\033[2\n"},  /* a terminal's */
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {0, 5}), "a\nb\n"}, /* for standard error */
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {0, 4}), "a\r\n"},
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {0, 1}), NULL},
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {2}, .is_part = 1), "\n"},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct fleet all;

        begin(&all);
        hear(&all, &wrong[i], 1);
        if (!all.h.misled || all.seen.text[0])
            printf("message %zu\n", i);
        CU_ASSERT_TRUE(all.h.misled);
        CU_ASSERT_EQUAL(all.h.answered, 0);
        CU_ASSERT_STRING_EQUAL(all.seen.text, "");
        qb_answers_free(all.f.answers);
    }
}

static void an_image_has_one_answer(void)
{
    static const struct message twice[] = {
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {3}), "a\n"},
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {3}), "a\n"},
    };
    static const struct message end[] = {{QB_EACH_END, .len = sizeof(struct qb_each_end)}};
    struct fleet all;

    begin(&all);
    hear(&all, twice, 2);
    CU_ASSERT_TRUE(all.h.misled);
    CU_ASSERT_EQUAL(all.h.answered, 1);
    hear(&all, end, 1); /* before all are answered for */
    CU_ASSERT_FALSE(all.h.ended);
    qb_answers_free(all.f.answers);
}

static void a_message_that_is_cut_off_is_a_death(void)
{
    static const struct message cut[] = {
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {100}), "a"},
    };
    struct fleet all;

    begin(&all);
    hear(&all, cut, 1);
    CU_ASSERT_FALSE(all.h.misled);
    CU_ASSERT_EQUAL(all.h.answered, 0);
    qb_answers_free(all.f.answers);
}

/* Of another process: what was shown is told again, in parts of any length. */
static void what_was_shown_is_not_shown_again(void)
{
    static const struct message first[] = {
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {5}, .is_part = 1), "abcd"},
    };
    static const struct message same[] = {
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {3}, .is_part = 1), "ab"},
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {5}, .is_part = 1), "cdef"},
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {3}), "g\n"},
    };
    static const struct message other[] = {
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {7}, .is_part = 1), "abXdef"},
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {3}), "g\n"},
        {QB_EACH_ANSWER, TOLD(.image = 1, .sizes = {3}), "b\n"},
    };
    static const struct message shorter[] = {
        {QB_EACH_ANSWER, TOLD(.image = 0, .sizes = {3}), "a\n"},
    };
    struct fleet all;

    begin(&all);
    hear(&all, first, 1);
    hear(&all, same, 3);
    CU_ASSERT_STRING_EQUAL(all.seen.text, "abcdefg\n");
    CU_ASSERT_EQUAL(all.seen.lost, 0);
    qb_answers_free(all.f.answers);
    begin(&all);
    hear(&all, first, 1);
    hear(&all, other, 3);
    CU_ASSERT_STRING_EQUAL(all.seen.text, "abcdb\n");
    CU_ASSERT_EQUAL(all.seen.lost_code, QB_E_CHANGED);
    CU_ASSERT_TRUE(all.seen.lost_begun);
    CU_ASSERT_FALSE(all.h.misled);
    qb_answers_free(all.f.answers);
    begin(&all);
    hear(&all, first, 1);
    hear(&all, shorter, 1);
    CU_ASSERT_EQUAL(all.seen.lost, 1);
    CU_ASSERT_STRING_EQUAL(all.seen.text, "abcd");
    qb_answers_free(all.f.answers);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_is_right_is_shown),
        UNIT(nothing_else_is_believed),
        UNIT(an_image_has_one_answer),
        UNIT(a_message_that_is_cut_off_is_a_death),
        UNIT(what_was_shown_is_not_shown_again),
    };

    return unit_main("each_hear", tests, UNIT_COUNT(tests));
}
