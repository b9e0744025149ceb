/* What is believed of a process that reads the backing chain of an image. */
#include <stdlib.h>
#include <string.h>

#include "manifest/chain_apart.h"
#include "chain/chain.h"
#include "unit.h"

/* As an answer begins. */
struct head {
    uint32_t failed, n;
    struct qb_err err;
};

static struct qb_parcel *answer_of(struct head head, const char *links, size_t len)
{
    struct qb_parcel *p = calloc(1, sizeof(*p));

    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    memcpy(p->bytes, &head, sizeof(head));
    memcpy(p->bytes + sizeof(head), links, len);
    p->len = sizeof(head) + len;
    return p;
}

static int take(struct head head, const char *links, size_t len, struct qb_apart_chain *out,
                struct qb_err *err)
{
    struct qb_parcel *p = answer_of(head, links, len);
    int r = qb_apart_chain_take(p, out, err);

    free(p);
    return r;
}

static void links_are_taken(void)
{
    struct qb_apart_chain chain = {0};
    struct qb_err err;

    CU_ASSERT_EQUAL(take((struct head){.n = 2}, "\1/a\0\0/b/c", 10, &chain, &err), 2);
    CU_ASSERT_EQUAL(take((struct head){.n = 1}, "\1d", 3, &chain, &err), 1);
    CU_ASSERT_EQUAL(take((struct head){.n = 0}, "", 0, &chain, &err), 0);
    CU_ASSERT_EQUAL_FATAL(chain.n, 3);
    CU_ASSERT_TRUE(chain.links[0].is_qcow2);
    CU_ASSERT_FALSE(chain.links[1].is_qcow2);
    CU_ASSERT_STRING_EQUAL(chain.links[1].path, "/b/c");
    CU_ASSERT_STRING_EQUAL(chain.links[2].path, "d");
    qb_apart_chain_free(&chain);
}

static void answers_that_are_cut_off_or_too_long_are_refused(void)
{
    static const struct {
        uint32_t n;
        const char *links;
        size_t len;
    } wrong[] = {
        {1, "", 0},                /* no link at all */
        {1, "\1", 1},              /* no path */
        {1, "\1\0", 2},            /* an empty one */
        {1, "\1/a", 3},            /* that does not end */
        {2, "\1/a\0", 4},          /* fewer than it says */
        {2, "\1/a\0\1/b", 7},      /* the second does not end */
        {UINT32_MAX, "\1/a\0", 4}, /* more than there could be */
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct qb_apart_chain chain = {0};
        struct qb_err err = {.code = QB_E_NONE};

        CU_ASSERT_EQUAL(
            take((struct head){.n = wrong[i].n}, wrong[i].links, wrong[i].len, &chain, &err), -1);
        CU_ASSERT_EQUAL(err.code, QB_E_CRASHED);
        qb_apart_chain_free(&chain);
    }
}

static void one_without_a_whole_head_is_refused(void)
{
    struct qb_parcel *p = answer_of((struct head){.n = 0}, "", 0);
    struct qb_apart_chain chain = {0};
    struct qb_err err;

    for (size_t len = 0; len < sizeof(struct head); len += 7) {
        p->len = len;
        CU_ASSERT_EQUAL(qb_apart_chain_take(p, &chain, &err), -1);
    }
    p->len = sizeof(p->bytes) + 1;
    CU_ASSERT_EQUAL(qb_apart_chain_take(p, &chain, &err), -1);
    free(p);
}

/* However many answers it gives. */
static void no_chain_is_deeper_than_one_can_be(void)
{
    struct qb_apart_chain chain = {0};
    struct qb_err err;
    int r = 1;

    for (unsigned i = 0; i < QB_CHAIN_MAX_DEPTH; i++)
        r &= take((struct head){.n = 1}, "\1/a", 4, &chain, &err) == 1;
    CU_ASSERT_TRUE(r);
    CU_ASSERT_EQUAL(take((struct head){.n = 1}, "\1/a", 4, &chain, &err), -1);
    CU_ASSERT_EQUAL(chain.n, QB_CHAIN_MAX_DEPTH);
    qb_apart_chain_free(&chain);
}

static void an_error_is_one_that_reading_can_have(void)
{
    struct head head = {.failed = 1, .err = {.code = QB_E_NOT_QCOW2, .text = "not an image"}};
    struct qb_apart_chain chain = {0};
    struct qb_err err;

    CU_ASSERT_EQUAL(take(head, "", 0, &chain, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_NOT_QCOW2);
    CU_ASSERT_STRING_EQUAL(err.text, "not an image");
    head.err.code = QB_E_NONE;
    CU_ASSERT_EQUAL(take(head, "", 0, &chain, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_CRASHED);
    head.err.code = QB_E_COUNT;
    CU_ASSERT_EQUAL(take(head, "", 0, &chain, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_CRASHED);
    head.err.code = QB_E_NOT_QCOW2;
    memset(head.err.text, 'x', sizeof(head.err.text)); /* does not end */
    CU_ASSERT_EQUAL(take(head, "", 0, &chain, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_CRASHED);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(links_are_taken),
        UNIT(answers_that_are_cut_off_or_too_long_are_refused),
        UNIT(one_without_a_whole_head_is_refused),
        UNIT(no_chain_is_deeper_than_one_can_be),
        UNIT(an_error_is_one_that_reading_can_have),
    };

    return unit_main("chain_apart", tests, UNIT_COUNT(tests));
}
