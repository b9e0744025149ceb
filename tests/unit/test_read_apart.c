/* The process that reads headers for one that keeps its rights: what is believed of its answer. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files/file.h"
#include "clones/read_apart.h"
#include "unit.h"

static char folder[] = "/tmp/qb-apart-XXXXXX";

static uint64_t state = 1;

static unsigned char any(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned char)(state >> 56);
}

static void fill(struct qb_parcel *p, unsigned how, size_t len)
{
    p->len = len;
    memset(p->bytes, how == 0 ? 0 : 0xff, sizeof(p->bytes));
    for (size_t i = 0; how > 1 && i < len; i++)
        p->bytes[i] = how == 2 ? any() : any() % 4;
    if (how > 3) { /* no image, for a reason of a number too large, or without an end */
        memset(p->bytes, 0xff, sizeof(p->bytes));
        memset(p->bytes, 0, sizeof(uint32_t));
        if (how > 4)
            memset(p->bytes + sizeof(uint32_t), 0, sizeof(uint32_t));
        if (how > 4)
            p->bytes[sizeof(uint32_t)] = 1;
    }
}

/* Whatever it is, and of whatever length. */
static void an_answer_is_right_or_refused(void)
{
    static struct qb_apart out[QB_APART_MAX];
    static struct qb_parcel p;
    unsigned taken = 0;

    for (unsigned how = 0; how < 6; how++)
        for (size_t len = 0; len <= sizeof(p.bytes); len += 4)
            for (size_t n = 0; n <= QB_APART_MAX + 1; n++) {
                fill(&p, how, len);
                if (!qb_apart_take(&p, n, out))
                    continue;
                CU_ASSERT_TRUE(n <= QB_APART_MAX);
                for (size_t i = 0; i < n; i++) {
                    taken++;
                    if (!out[i].is_image) {
                        CU_ASSERT_TRUE(out[i].err.code > 0 && out[i].err.code < QB_E_COUNT);
                        CU_ASSERT_TRUE(strlen(out[i].err.text) < sizeof(out[i].err.text));
                        continue;
                    }
                    CU_ASSERT_TRUE(out[i].info.version == 2 || out[i].info.version == 3);
                    CU_ASSERT_TRUE(strlen(out[i].info.backing_file) < sizeof(out[i].backing_file));
                    CU_ASSERT_TRUE(strlen(out[i].info.data_file) < sizeof(out[i].data_file));
                }
            }
    CU_ASSERT_EQUAL(taken, 0); /* neither zeros nor noise is an answer */
}

static void a_file_that_is_no_image_is_told_with_the_reason(void)
{
    static struct qb_apart out[QB_APART_MAX];
    struct qb_file file, *files[] = {&file, &file};
    struct qb_err err = {0};
    char path[64];
    FILE *f;

    snprintf(path, sizeof(path), "%s/a", folder);
    f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    for (int i = 0; i < 1000; i++)
        fputs("no image\n", f);
    fclose(f);
    CU_ASSERT_EQUAL_FATAL(qb_file_open(path, &file, NULL), 0);
    CU_ASSERT_EQUAL(qb_read_apart(files, 2, out, &err), 0);
    for (size_t i = 0; i < 2; i++) {
        CU_ASSERT_FALSE(out[i].is_image);
        CU_ASSERT_EQUAL(out[i].err.code, QB_E_NOT_QCOW2);
        CU_ASSERT_TRUE(out[i].err.text[0] != '\0');
    }
    qb_file_close(&file);
    unlink(path);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(an_answer_is_right_or_refused),
        UNIT(a_file_that_is_no_image_is_told_with_the_reason),
    };
    int rc;

    if (!mkdtemp(folder))
        return 2;
    rc = unit_main("read_apart", tests, UNIT_COUNT(tests));
    rmdir(folder);
    return rc;
}
