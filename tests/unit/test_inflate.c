/* Compressed clusters that are compared by what the guest reads are decompressed in parts, which
 * any thread may take. */
#include <string.h>

#include "amends.h"
#include "io/crew.h"
#include "unit.h"

/* Counts what is left to a crew, and computes it on the calling thread, in the order of the last
 * digits. */
struct counting {
    unsigned hands;
    size_t loops, parts;
};

static unsigned hands_of(void *arg)
{
    return ((struct counting *)arg)->hands;
}

static double each_by_digits(void *arg, size_t n, unsigned hands, qb_part_fn *fn, void *fn_arg)
{
    struct counting *c = arg;

    CU_ASSERT(hands <= c->hands);
    c->loops++;
    c->parts += n;
    for (size_t digit = 0; digit < 10; digit++)
        for (size_t i = digit; i < n; i += 10)
            fn(fn_arg, (unsigned)(i % hands), i);
    return 0;
}

/* The amend with its verification; what a crew of so many had to do for both. */
static struct counting count(const struct subject *s, unsigned hands)
{
    struct counting c = {.hands = hands};
    struct qb_crew crew = {hands_of, each_by_digits, &c};
    struct qb_mem_log *log = run_machine(&s->image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, 0);

    qb_io_set_crew(io, &crew);
    CU_ASSERT_EQUAL(qb_amend_plan(a, io, &s->rq), 0);
    CU_ASSERT_EQUAL(qb_amend_remember(a, io), 0);
    CU_ASSERT_EQUAL(qb_amend_append(a, io), 0);
    CU_ASSERT_EQUAL(qb_amend_flip(a, io), 0);
    CU_ASSERT_EQUAL(qb_amend_verify(a, io), 0);
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    return c;
}

static struct subject compressed(const char *name)
{
    size_t i = 0, k = 0;

    while (strcmp(recipes[i].name, name) != 0)
        i++;
    while (strcmp(wishes[k].name, "zstd") != 0)
        k++;
    return subject_of(&recipes[i], &wishes[k]);
}

/* Recompression takes each cluster twice: for its length, and for its bytes. */
static void all_threads_decompress_what_is_compared(void)
{
    static const char *const names[] = {"compressed", "compressed, clusters of 4 KiB"};

    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        struct subject s = compressed(names[i]);

        for (unsigned hands = 1; hands < 6; hands += 2) {
            struct counting metadata, content;

            s.rq.verify = QB_VERIFY_METADATA;
            metadata = count(&s, hands);
            s.rq.verify = QB_VERIFY_CONTENT;
            content = count(&s, hands);
            CU_ASSERT_EQUAL(content.loops > metadata.loops, hands > 1);
            CU_ASSERT(hands == 1 || content.parts >= metadata.parts + metadata.parts / 2);
        }
        subject_free(&s);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(all_threads_decompress_what_is_compared),
    };
    int rc;

    amends_begin();
    rc = unit_main("inflate", tests, UNIT_COUNT(tests));
    amends_end();
    return rc;
}
