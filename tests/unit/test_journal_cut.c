/* Journals after a power cut: of the sectors, and pages, that were written since the last sync, any
 * subset may be on the disk, and the others hold zeros, what was there before, or anything.  Every
 * record that was synced is read, no other is made up, and what is appended afterwards is read. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "journal/history.h"
#include "dice.h"
#include "journals.h"

enum { SECTOR = 512, PAGE = 4096, WRITES = 14, RECORDS = 600, STATES = 900 };

static const char id[] = "20260101-000000-0000c1";

/* A journal as it was composed: what each record says, and how much of the file was synced when. */
struct story {
    char *text;
    size_t n;
    size_t ends[WRITES];   /* of the file after each write */
    size_t synced[WRITES]; /* of the file, by then */
    size_t n_writes;
    struct {
        char path[64];
        size_t end; /* byte after its line */
    } records[RECORDS];
    size_t n_records;
};

/* Each record has a name of its own, so that one that is read can be told from all others. */
static void add(struct story *s, struct qb_journal *j, struct dice *d)
{
    static const char filler[] = "________________________________________";
    char *path = s->records[s->n_records++].path;

    snprintf(path, sizeof(s->records[0].path), "/%zu%s", s->n_records,
             filler + roll(d, (unsigned)sizeof(filler)));
    qb_journal_begin(j, "planned");
    qb_journal_path(j, path);
    qb_journal_number(j, "virtual_size", s->n_records);
    if (roll(d, 3) == 0)
        qb_journal_bytes(j, "old_sector", s, SECTOR);
    qb_journal_end(j);
}

static void find_ends(struct story *s)
{
    for (size_t i = 0; i < s->n_records; i++) {
        char want[80];
        char *at;

        snprintf(want, sizeof(want), "\"path\":\"%s\"", s->records[i].path);
        at = memmem(s->text, s->n, want, strlen(want));
        CU_ASSERT_PTR_NOT_NULL_FATAL(at);
        at = memchr(at, '\n', s->n - (size_t)(at - s->text));
        s->records[i].end = (size_t)(at - s->text) + 1;
    }
}

/* Writes of one to many pages; some are synced, by themselves or by the barrier of a wave, which
 * covers only what was written before it began. */
static struct story tell(uint64_t seed)
{
    struct dice d = dice_of(seed);
    struct story s = {0};
    struct qb_journal j;
    struct qb_err err;

    unlink(scratch_journal(id));
    CU_ASSERT_EQUAL_FATAL(qb_journal_create(scratch_journal(id), &j, &err), 0);
    qb_journal_begin(&j, "run");
    qb_journal_text(&j, "run", id);
    qb_journal_number(&j, "images", 1000);
    qb_journal_end(&j);
    CU_ASSERT_EQUAL(qb_journal_sync(&j), 0);
    while (s.n_writes < WRITES) {
        size_t records = 1 + roll(&d, 40);
        bool barrier = roll(&d, 2);

        if (barrier)
            qb_journal_file(&j);
        for (size_t i = 0; i < records; i++)
            add(&s, &j, &d);
        s.synced[s.n_writes] = (size_t)j.synced;
        CU_ASSERT_EQUAL(qb_journal_write(&j), 0);
        s.ends[s.n_writes++] = (size_t)j.length;
        if (barrier)
            qb_journal_synced(&j, 0);
        else if (roll(&d, 4) == 0)
            qb_journal_sync(&j);
    }
    qb_journal_close(&j);
    s.text = read_journal(id, &s.n);
    find_ends(&s);
    return s;
}

/* The file after a cut: `length` bytes, of which those from `synced` on are lost in pieces. */
static char *cut(const struct story *s, struct dice *d, size_t synced, size_t length)
{
    size_t piece = roll(d, 2) ? PAGE : SECTOR;
    unsigned kind = roll(d, 3), odds = 2 + roll(d, 8);
    char *text = malloc(length + 1);

    memcpy(text, s->text, length);
    for (size_t at = synced; at < length; at = at / piece * piece + piece) {
        size_t end = QB_MIN(at / piece * piece + piece, length);

        if (roll(d, odds) > 0)
            continue;
        for (size_t i = at; i < end; i++)
            text[i] = kind == 0   ? 0
                      : kind == 1 ? (char)roll(d, 256)
                                  : s->text[i % QB_MAX(synced, 1)]; /* other lines of its kind */
    }
    return text;
}

static size_t find_record(const struct story *s, const char *path)
{
    size_t i = 0;

    while (i < s->n_records && strcmp(s->records[i].path, path) != 0)
        i++;
    return i;
}

/* Every durable record is there, and all that are there were written as they are. */
static void expect(const struct story *s, const struct qb_history *h, size_t synced)
{
    size_t n = 0, durable = 0;

    for (size_t i = 0; i < s->n_records; i++)
        durable += s->records[i].end <= synced;
    for (size_t i = 0; i < h->traces.n; i++) {
        const struct qb_trace *t = &h->traces.items[i];
        size_t k = find_record(s, t->path);

        if (strcmp(t->path, "/after") == 0)
            continue;
        CU_ASSERT_FATAL(k < s->n_records);
        CU_ASSERT_EQUAL(t->virtual_size, k + 1);
        n += s->records[k].end <= synced;
    }
    CU_ASSERT_EQUAL(n, durable);
}

/* Opens for writing, appends and reads once more. */
static void expect_to_go_on(const struct story *s, size_t synced)
{
    struct qb_history h, before;
    struct qb_journal j;
    struct qb_err err;

    CU_ASSERT_EQUAL_FATAL(qb_history_reopen(scratch_folder(), id, &before, &j, &err), 0);
    CU_ASSERT(j.synced <= synced && j.unsynced); /* what was written again is not durable yet */
    qb_journal_begin(&j, "planned");
    qb_journal_path(&j, "/after");
    qb_journal_end(&j);
    CU_ASSERT_EQUAL(qb_journal_sync(&j), 0);
    qb_journal_begin(&j, "end"); /* it names all of the above as durable */
    qb_journal_end(&j);
    qb_journal_close(&j);
    CU_ASSERT_EQUAL_FATAL(qb_history_read(scratch_folder(), id, &h, &err), 0);
    CU_ASSERT_PTR_NOT_NULL(qb_history_find(&h, "/after"));
    CU_ASSERT_EQUAL(h.traces.n, before.traces.n + 1);
    CU_ASSERT(h.end.cuts <= before.end.cuts); /* one at the end is cut off */
    CU_ASSERT(h.ended && !h.end.torn);
    expect(s, &h, synced);
    qb_history_free(&before);
    qb_history_free(&h);
}

static void every_synced_record_is_read_after_any_cut_and_more_can_be_appended(void)
{
    size_t cuts = 0, torn = 0;

    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct story s = tell(seed);
        struct dice d = dice_of(seed + 100);

        for (size_t state = 0; state < STATES / 3; state++) {
            size_t w = roll(&d, (unsigned)s.n_writes), synced = s.synced[w];
            size_t length =
                roll(&d, 2) ? s.ends[w] : synced + roll(&d, (unsigned)(s.ends[w] - synced) + 1);
            char *text = cut(&s, &d, synced, length);
            struct qb_history h;
            struct qb_err err = {0};

            make_journal(id, text, length);
            CU_ASSERT_EQUAL_FATAL(qb_history_read(scratch_folder(), id, &h, &err), 0);
            expect(&s, &h, synced);
            cuts += h.end.cuts;
            torn += h.end.torn;
            qb_history_free(&h);
            expect_to_go_on(&s, synced);
            free(text);
        }
        free(s.text);
    }
    CU_ASSERT(cuts > STATES / 4 && torn > STATES / 8);
}

static void begin_run(struct qb_journal *j)
{
    unlink(scratch_journal(id));
    CU_ASSERT_EQUAL_FATAL(qb_journal_create(scratch_journal(id), j, NULL), 0);
    qb_journal_begin(j, "run");
    qb_journal_end(j);
}

/* The page cache holds what the disk does not: it is written once more, not taken for synced. */
static void a_failed_sync_is_final_and_nothing_after_it_counts_as_durable(void)
{
    struct qb_journal j;
    uint64_t synced;

    begin_run(&j);
    CU_ASSERT_EQUAL(qb_journal_sync(&j), 0);
    synced = j.synced;
    qb_journal_begin(&j, "planned");
    qb_journal_path(&j, "/a");
    qb_journal_end(&j);
    CU_ASSERT_EQUAL(qb_journal_write(&j), 0);
    CU_ASSERT_PTR_NOT_NULL(qb_journal_file(&j));
    qb_journal_synced(&j, EIO);
    CU_ASSERT(j.synced == synced && j.errnum == EIO);
    qb_journal_begin(&j, "planned");
    qb_journal_path(&j, "/b");
    qb_journal_end(&j);
    CU_ASSERT_EQUAL(qb_journal_write(&j), EIO);
    CU_ASSERT_EQUAL(qb_journal_sync(&j), EIO);
    CU_ASSERT_PTR_NULL(qb_journal_file(&j));
    qb_journal_close(&j);
}

/* A block of another journal: its records are whole, and not of this run. */
static void records_of_another_run_are_not_read(void)
{
    struct qb_journal j;
    struct qb_history h;
    struct qb_err err;
    size_t n, other_n;
    char *text, *other, *both;

    begin_run(&j);
    qb_journal_close(&j);
    text = read_journal(id, &n);
    unlink(scratch_journal(id));
    CU_ASSERT_EQUAL_FATAL(qb_journal_create(scratch_journal(id), &j, &err), 0);
    snprintf(j.tag, sizeof(j.tag), "0000c2");
    qb_journal_begin(&j, "planned");
    qb_journal_path(&j, "/stranger");
    qb_journal_end(&j);
    qb_journal_close(&j);
    other = read_journal(id, &other_n);
    both = malloc(n + other_n);
    memcpy(both, text, n);
    memcpy(both + n, other, other_n);
    make_journal(id, both, n + other_n);
    CU_ASSERT_EQUAL_FATAL(qb_history_read(scratch_folder(), id, &h, &err), 0);
    CU_ASSERT(h.traces.n == 0 && h.end.cuts == 1);
    qb_history_free(&h);
    free(text);
    free(other);
    free(both);
}

/* A record cannot know what follows it; nothing is refused for what it claims. */
static void a_synced_record_that_names_more_than_there_was_does_no_harm(void)
{
    struct qb_journal j;
    struct qb_history h;
    struct qb_err err;
    size_t n;
    char *text;

    begin_run(&j);
    CU_ASSERT_EQUAL(qb_journal_write(&j), 0);
    j.synced = 1 << 30;
    for (const char *path = "abc"; *path; path++) {
        qb_journal_begin(&j, "planned");
        qb_journal_path(&j, path);
        qb_journal_end(&j);
        CU_ASSERT_EQUAL(qb_journal_write(&j), 0);
    }
    qb_journal_close(&j);
    text = read_journal(id, &n);
    text[n - 4] ^= 1; /* damaged, then torn */
    for (int torn = 0; torn <= 1; torn++, text[n - 4] ^= 1) {
        make_journal(id, text, n - 4 * (size_t)torn);
        CU_ASSERT_EQUAL_FATAL(qb_history_read(scratch_folder(), id, &h, &err), 0);
        CU_ASSERT(h.traces.n == 2 && h.end.torn == torn && h.end.cuts == 1);
        qb_history_free(&h);
    }
    free(text);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(every_synced_record_is_read_after_any_cut_and_more_can_be_appended),
        UNIT(a_failed_sync_is_final_and_nothing_after_it_counts_as_durable),
        UNIT(records_of_another_run_are_not_read),
        UNIT(a_synced_record_that_names_more_than_there_was_does_no_harm),
    };

    return scratch_main("journal_cut", tests, UNIT_COUNT(tests));
}
