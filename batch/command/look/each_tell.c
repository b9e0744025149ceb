/* The process that reads images, and tells its parent the answers. */
#include <string.h>
#include <unistd.h>

#include "host/sched.h"
#include "look/each_fleet.h"
#include "util/whole.h"

enum { WHOLE_BYTES = 64 << 10 }; /* a text of so many is not copied */

struct qb_each_teller {
    pthread_mutex_t mutex; /* one message at a time */
    int fd;
    struct qb_wire wire;
};

/* Nobody is there any more who could be told. */
static _Noreturn void end_here(void)
{
    _exit(QB_EXIT_FAILED);
}

static void put(struct qb_each_teller *t, const void *bytes, size_t n)
{
    if (n < WHOLE_BYTES) {
        qb_wire_put(&t->wire, bytes, n);
        return;
    }
    qb_mortal_tell(t->fd, &t->wire);
    if (qb_write_whole(t->fd, bytes, n))
        end_here();
}

static void put_head(struct qb_each_teller *t, enum qb_each_word word, size_t len)
{
    const struct qb_each_head head = {.word = word, .len = (uint32_t)len};

    put(t, &head, sizeof(head));
}

void qb_each_tell_sandbox(struct qb_each_fleet *f)
{
    struct qb_wire wire = {0};

    qb_confining_put(f->each->confining, &wire);
    if (wire.failed)
        end_here();
    put_head(f->teller, QB_EACH_SANDBOX, wire.n);
    put(f->teller, wire.bytes, wire.n);
    qb_mortal_tell(f->teller->fd, &f->teller->wire);
    free(wire.bytes);
}

/* What it could not open any more another process looks at, with a helper of its own. */
static void end_without_helper(const struct qb_each_fleet *f, const struct qb_answer *a)
{
    if (a->failed && qb_helper_is_lost(&f->each->confining->helper))
        _exit(QB_MORTAL_LOST_HELPER);
}

static void tell(struct qb_each_fleet *f, size_t i, const struct qb_answer *a)
{
    struct qb_each_told told = {.image = i,
                                .verdict = a->verdict,
                                .code = a->code,
                                .failed = a->failed,
                                .is_part = a->is_part,
                                .lost = a->lost};
    const char *texts[QB_EACH_TEXTS] = {a->text, a->failure};
    size_t lens[QB_EACH_TEXTS] = {a->len, a->failure ? strlen(a->failure) : 0};

    for (size_t k = 0; k < QB_SINK_COUNT; k++) {
        texts[2 + k] = a->files[k].text;
        lens[2 + k] = a->files[k].len;
    }
    for (size_t k = 0; k < QB_EACH_TEXTS; k++)
        told.sizes[k] = texts[k] ? 1 + lens[k] : 0;
    pthread_mutex_lock(&f->teller->mutex);
    put_head(f->teller, QB_EACH_ANSWER, sizeof(told));
    put(f->teller, &told, sizeof(told));
    for (size_t k = 0; k < QB_EACH_TEXTS; k++)
        put(f->teller, texts[k], texts[k] ? lens[k] : 0);
    qb_mortal_tell(f->teller->fd, &f->teller->wire);
    pthread_mutex_unlock(&f->teller->mutex);
}

void qb_each_tell(struct qb_each_fleet *f, size_t i, struct qb_answer *answer)
{
    end_without_helper(f, answer);
    tell(f, i, answer);
    qb_answer_clear(answer);
}

/* Answers were told before. */
static void on_answer(void *arg, size_t i, const struct qb_answer *answer)
{
    if (answer->is_part)
        tell(arg, i, answer);
}

static void tell_end(struct qb_each_teller *t, int failed, const struct qb_err *err)
{
    struct qb_each_end end = {.failed = failed};

    if (failed) {
        end.code = err->code;
        memcpy(end.text, err->text, sizeof(end.text));
    }
    put_head(t, QB_EACH_END, sizeof(end));
    put(t, &end, sizeof(end));
    qb_mortal_tell(t->fd, &t->wire);
}

void qb_each_read_apart(void *fleet, int fd)
{
    struct qb_each_teller teller = {.mutex = PTHREAD_MUTEX_INITIALIZER, .fd = fd};
    struct qb_each_fleet *f = fleet;

    f->teller = &teller;
    f->each->confining->has_parent = true;
    qb_answers_mirror(f->answers, on_answer, f);
    tell_end(&teller, qb_each_work(f), f->err);
    qb_confining_end(f->each->confining);
}
