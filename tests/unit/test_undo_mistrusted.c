/* An undo of an amended image that verification found wrong, and what the run's own record of a
 * file refuses: another length, time or number. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "amend/as_found.h"
#include "scratch.h"
#include "undoing.h"

#define SHAPE                                                                                      \
    {                                                                                              \
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536                        \
    }

static const struct qb_claim writable = {.writable = true};
static const struct change down = {"down", SHAPE, "d9z9", {.set = QB_KEY_COMPAT, .compat = 2},
                                   {{0}},  NULL};
static const struct change wide = {
    "wide", SHAPE, "d9z9", {.set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64, .keep_undo = true},
    {{0}},  NULL};

static const struct change empty = {
    "empty", SHAPE, "", {.set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64}, {{0}}, NULL};

/* As the run leaves it in the journal; without keep_undo there is no proof. */
static void mistrust(struct amended *m)
{
    struct qb_file file = open_or_die(m->path, false);
    struct qb_err err;

    CU_ASSERT_EQUAL(qb_as_found(m->io, &file, &m->facts.as_found, &err), 0);
    qb_file_close(&file);
    m->facts.mistrusted = true;
    m->facts.proof = NULL;
}

/* The undo is refused with a sentence that begins so; "": it is granted. */
static void expect(struct amended *m, const char *words)
{
    struct qb_undo *u = qb_undo_new(m->path);
    bool granted = qb_undo_check(u, m->io, &m->facts, writable) == 0;
    const char *text = granted ? "" : qb_undo_result(u)->err.text;
    bool as_wanted = granted == !words[0] && strncmp(text, words, strlen(words)) == 0;

    if (!as_wanted)
        fprintf(stderr, "\nwanted: %s\nfound: %s\n", words, text);
    CU_ASSERT(as_wanted);
    qb_undo_close(u);
}

static void put(const struct amended *m, off_t at, uint8_t byte)
{
    int fd = open(m->path, O_WRONLY | O_CLOEXEC);

    CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void a_mistrusted_image_is_taken_back_as_it_was_found_or_not_at_all(void)
{
    struct amended m;

    amended_begin(&m, &down, IN_AMENDED);
    mistrust(&m);
    expect(&m, "");
    put(&m, 0xa00, 0x77); /* a guest's data, with the time that is noted */
    amended_note(&m);
    expect(&m, "the image was written since");
    amended_end(&m);
}

static void without_a_fingerprint_or_a_last_look_it_is_refused(void)
{
    static const char words[] = "the journal has no fingerprint of the file";
    struct amended m;

    amended_begin(&m, &down, IN_AMENDED);
    mistrust(&m);
    m.facts.seen = false;
    expect(&m, words);
    m.facts.seen = true;
    m.facts.as_found = (struct qb_digest){0};
    expect(&m, words);
    m.facts.mistrusted = false;
    expect(&m, "the journal has no record of what the amend wrote");
    amended_end(&m);
}

static void the_old_image_must_be_whole(void)
{
    struct amended m;

    amended_begin(&m, &down, IN_AMENDED);
    put(&m, 0x801, 0xff); /* its first L2 entry, past the file's end */
    mistrust(&m);
    amended_note(&m);
    expect(&m, "what the old header refers to is not whole any more");
    amended_end(&m);
}

static void a_header_that_is_neither_is_replaced_only_where_the_run_saw_it(void)
{
    struct amended m;

    amended_begin(&m, &down, IN_AMENDED);
    put(&m, 300, 1);
    mistrust(&m);
    amended_note(&m);
    expect(&m, "the image's header was written since");
    m.facts.header_wrong = true;
    expect(&m, "");
    amended_end(&m);
}

/* Of an external data file there is no fingerprint: see undo.h. */
static void a_data_file_and_a_damaged_header(void)
{
    struct amended m;

    amended_begin(&m, &empty, IN_AMENDED);
    m.old[79] |= 4; /* the incompatible bit */
    put(&m, 300, 1);
    mistrust(&m);
    amended_note(&m);
    m.facts.header_wrong = true;
    expect(&m, "the header was damaged: where a guest has written in the external data file");
    amended_end(&m);
}

static void the_file_must_be_as_the_run_left_it(void)
{
    struct amended m;

    amended_begin(&m, &wide, IN_AMENDED);
    expect(&m, "");
    m.facts.mtime_ns++;
    expect(&m, "the image was written since");
    m.facts.mtime_ns--;
    m.facts.length += 512;
    expect(&m, "the file's length has changed since");
    m.facts.length -= 512;
    m.facts.ino++;
    expect(&m, "another file took the image's place since");
    m.facts.ino--;
    expect(&m, "");
    amended_end(&m);
}

static void a_file_that_was_cut_is_called_so(void)
{
    struct amended m;

    amended_begin(&m, &wide, IN_AMENDED);
    CU_ASSERT_EQUAL(truncate(m.path, (off_t)m.facts.length - 512), 0);
    amended_note(&m);
    expect(&m, "the file was cut since");
    amended_end(&m);
}

/* Where the run could not write down how it left the file, the proof names it. */
static void without_the_run_s_last_look_the_proof_names_the_file(void)
{
    struct amended m;

    amended_begin(&m, &wide, IN_AMENDED);
    m.facts = (struct qb_undo_facts){.old_sector = m.old,
                                     .new_sector = m.now,
                                     .old_length = m.facts.old_length,
                                     .proof = &m.proof};
    expect(&m, "");
    m.proof.ino++;
    expect(&m, "another file took the image's place since");
    amended_end(&m);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_mistrusted_image_is_taken_back_as_it_was_found_or_not_at_all),
        UNIT(without_a_fingerprint_or_a_last_look_it_is_refused),
        UNIT(the_old_image_must_be_whole),
        UNIT(a_header_that_is_neither_is_replaced_only_where_the_run_saw_it),
        UNIT(a_data_file_and_a_damaged_header),
        UNIT(the_file_must_be_as_the_run_left_it),
        UNIT(a_file_that_was_cut_is_called_so),
        UNIT(without_the_run_s_last_look_the_proof_names_the_file),
    };

    return scratch_main("undo_mistrusted", tests, UNIT_COUNT(tests));
}
