/* The tail that an interrupted run left is cut where nothing refers to it, and nowhere else. */
#include <string.h>

#include "amend/trim.h"
#include "amends.h"
#include "poke.h"
#include "unit.h"

enum { END = 0xc00 }; /* of an image whose script is "d" */

struct tail {
    const char *name;
    const char *script;
    uint32_t tail_bytes; /* rubbish past the last cluster */
    uint64_t floor;      /* where the interrupted run began to write */
    struct poke poke;
    uint64_t cut; /* bytes */
};

static const struct tail tails[] = {
    {"a tail", "d", 3000, END, {0}, 3000},
    {"none", "d", 0, END, {0}, 0},
    {"what was there before the run", "d", 3000, END + 1000, {0}, 2000},
    {"all of it was", "d", 3000, END + 3000, {0}, 0},
    {"the image grew since", "d9", 3000, END, {0}, 3000},
    {"a snapshot has it", "d S @0d3", 3000, END, {0}, 3000},
    {"the image is damaged", "d", 3000, END, {IN_TABLE, 8, 8, 0x8000000000000a00}, 0},
    {"its header is", "d", 3000, END, {IN_HEADER, 0, 4, 0}, 0},
    {"it counts the tail", "d", 3000, END, {IN_BLOCK, 14, 2, 1}, 3000 - 1024},
};

static void the_tail_is_cut_and_no_more(void)
{
    for (size_t i = 0; i < UNIT_COUNT(tails); i++) {
        const struct tail *t = &tails[i];
        const struct image_shape shape = {.version = 3,
                                          .cluster_bits = 9,
                                          .refcount_order = 4,
                                          .size = 65536,
                                          .tail_bytes = t->tail_bytes};
        struct image_bytes image = image_make(&shape, t->script);
        struct qb_mem_log *log;
        struct qb_io *io;
        struct qb_amend *a;
        uint64_t cut;

        if (t->poke.len)
            poke_image(image.bytes, &t->poke);
        log = run_machine(&image);
        io = run_io(log);
        a = run_open(io, log, 0);
        cut = qb_trim_tail(io, qb_amend_file(a), t->floor, 0);
        if (cut != t->cut)
            fprintf(stderr, "\n%s: %llu\n", t->name, (unsigned long long)cut);
        CU_ASSERT_EQUAL(cut, t->cut);
        CU_ASSERT_EQUAL(qb_amend_file(a)->size, image.size - t->cut);
        CU_ASSERT_EQUAL(qb_amend_file(a)->guard.phase, QB_PHASE_READ);
        qb_amend_close(a);
        qb_io_close(io);
        qb_mem_log_free(log);
        image_bytes_free(&image);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(the_tail_is_cut_and_no_more),
    };

    return unit_main("trim", tests, UNIT_COUNT(tests));
}
