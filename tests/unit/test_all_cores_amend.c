/* One image amended by several threads: what is planned and written is what one thread comes to. */
#include <stdlib.h>
#include <string.h>

#include "many_tables.h"
#include "unit.h"

enum { AMENDED = 240 };

static const unsigned threads[] = MANY_THREADS;

static void add_step(void *arg, const char *line)
{
    outcome_add(arg, line);
    outcome_add(arg, "\n");
}

/* Amends the subject by so many threads; *now is what became of the image, owned. */
static struct outcome amend(const struct subject *s, unsigned hands, struct image_bytes *now)
{
    struct pretended_crew crew;
    struct qb_mem_log *log = run_machine(&s->image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open_for(io, log, 0, &s->rq);
    struct outcome o = outcome_new();
    struct image_bytes content;

    qb_io_set_window(io, 1 << 12);
    pretend_crew(&crew, hands);
    qb_io_set_crew(io, hands ? &crew.crew : NULL);
    if (qb_amend_result(a)->status != QB_STATUS_FAILED && qb_amend_plan(a, io, &s->rq) == 0 &&
        qb_amend_result(a)->status == QB_STATUS_WOULD_CHANGE) {
        qb_amend_describe(a, add_step, &o);
        if (qb_amend_append(a, io) == 0 && qb_amend_flip(a, io) == 0 &&
            qb_amend_flipped(a, 0) == 0 && qb_amend_verify(a, io) == 0)
            qb_amend_settle(a, io);
    }
    outcome_add(&o, qb_amend_result(a)->err.text);
    content = run_content(log, 0);
    *now = image_bytes_copy(&content);
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    return o;
}

static void amended_image_is_the_same_by_any_number_of_threads(void)
{
    for (uint64_t seed = 0; seed < AMENDED; seed++) {
        struct subject s = many_tables(seed);
        struct image_bytes alone, now;
        struct outcome wanted = amend(&s, 0, &alone), o;

        for (size_t i = 0; i < UNIT_COUNT(threads); i++) {
            o = amend(&s, threads[i], &now);
            CU_ASSERT_STRING_EQUAL(o.text, wanted.text);
            CU_ASSERT_EQUAL(now.size, alone.size);
            CU_ASSERT(now.size == alone.size && memcmp(now.bytes, alone.bytes, now.size) == 0);
            image_bytes_free(&now);
            free(o.text);
        }
        image_bytes_free(&alone);
        free(wanted.text);
        subject_free(&s);
    }
    CU_ASSERT(pretended_loops() > AMENDED);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(amended_image_is_the_same_by_any_number_of_threads),
    };
    int r;

    amends_begin();
    r = unit_main("all_cores_amend", tests, UNIT_COUNT(tests));
    amends_end();
    return r;
}
