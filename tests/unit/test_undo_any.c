/* Random images and requests with keep_undo, undone: every byte of the old image is as it was.  And
 * after one bit of a table of either header was changed, the undo is refused, or hides nothing of
 * what the amended image shows.
 *
 * QB_UNDO_ANY sets the number of images, QB_UNDO_ANY_FIRST the first seed. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "amends.h"
#include "dice.h"
#include "scratch.h"
#include "undoing.h"

#ifdef __SANITIZE_ADDRESS__
#define IMAGES 200
#else
#define IMAGES 1000
#endif
#define BITS 6 /* changed of each image, one after the other */

enum { SECTOR = 512 };

static unsigned long number(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);

    return text ? strtoul(text, NULL, 10) : otherwise;
}

static uint8_t *load(const char *path, uint64_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *bytes;
    struct stat st;

    CU_ASSERT_EQUAL_FATAL(fstat(fd, &st), 0);
    *size = (uint64_t)st.st_size;
    bytes = malloc(*size + 1);
    CU_ASSERT_FATAL(bytes != NULL);
    CU_ASSERT_EQUAL(read(fd, bytes, *size), (ssize_t)*size);
    close(fd);
    return bytes;
}

static void save(const char *path, const uint8_t *bytes, uint64_t size)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    CU_ASSERT_EQUAL(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

/* Asks for the undo, and carries it out if `apply`; whether it was allowed. */
static bool undo(struct amended *m, const char **why)
{
    static char text[400];
    struct qb_undo *u = qb_undo_new(m->path);
    bool allowed;

    amended_note(m);
    allowed = qb_undo_check(u, m->io, &m->facts, (struct qb_claim){.writable = true}) == 0;
    snprintf(text, sizeof(text), "%s", allowed ? "" : qb_undo_result(u)->err.text);
    *why = text;
    if (allowed) {
        CU_ASSERT_EQUAL(qb_undo_flip(u, m->io), 0);
        CU_ASSERT_EQUAL(qb_undo_flipped(u, m->io, 0), 0);
    }
    qb_undo_close(u);
    return allowed;
}

static unsigned long amends, conversions, refusals, harmless;

static struct subject subject(uint64_t seed)
{
    struct subject s = subject_any(seed, false, false);

    s.rq.keep_undo = true;
    return s;
}

static bool is_extended(const uint8_t *sector)
{
    return sector[7] == 3 && sector[79] & 16;
}

/* ---- bit for bit ----------------------------------------------------------------------------- */

static void look_at(const struct subject *s, struct amended *m)
{
    uint64_t size, end;
    const char *why;
    uint8_t *now;
    struct reading was, is;

    if (!undo(m, &why)) {
        fprintf(stderr, "\n%s: not undone: %s\n", s->name, why);
        CU_FAIL("an undo of what nobody has touched was refused");
        return;
    }
    now = load(m->path, &size);
    reading_take_image(&s->image, NULL, &was);
    reading_take(now, size, NULL, &is);
    end = was.end < s->image.size ? was.end : s->image.size;
    if (reading_differs(&was, &is)[0] || is.wrong[0] || is.corruptions != was.corruptions ||
        size < end || memcmp(now, s->image.bytes, SECTOR) != 0 ||
        (!(s->rq.set & (QB_KEY_BACKING_FILE | QB_KEY_RECLAIM)) &&
         memcmp(now, s->image.bytes, end) != 0)) {
        fprintf(stderr, "\n%s: %s %s\n", s->name, reading_differs(&was, &is), is.wrong);
        CU_FAIL("the undone image is another one");
    }
    reading_free(&was);
    reading_free(&is);
    free(now);
}

static void what_nobody_touched_is_undone_byte_for_byte(void)
{
    unsigned long first = number("QB_UNDO_ANY_FIRST", 0), n = number("QB_UNDO_ANY", IMAGES);

    for (unsigned long seed = first; seed < first + n; seed++) {
        struct subject s = subject(seed);
        struct amended m;

        if (!s.heavy && amended_try(&m, &s.image, &s.rq)) {
            amends++;
            conversions += is_extended(m.old) != is_extended(m.now);
            look_at(&s, &m);
            amended_end(&m);
        } else if (!s.heavy) {
            amended_end(&m);
        }
        subject_free(&s);
    }
    printf("%lu amends undone, %lu of them with L2 entries of another size ... ", amends,
           conversions);
    CU_ASSERT(amends > n / 8);
    CU_ASSERT(conversions > n / 100);
}

/* ---- a bit that is another ------------------------------------------------------------------- */

static uint64_t get(const uint8_t *at, unsigned n)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n; i++)
        v = v << 8 | at[i];
    return v;
}

/* A byte of an entry of an L2 table, or of the L1 table, to which this header leads; 0: none. */
static uint64_t draw_place(struct dice *d, const uint8_t *sector, const uint8_t *bytes,
                           uint64_t size)
{
    uint64_t l1 = get(sector + 40, 8), n = get(sector + 36, 4),
             cluster = 1ull << get(sector + 20, 4);
    uint64_t entry, table;

    if (n == 0 || l1 + 8 * n > size)
        return 0;
    entry = l1 + 8 * roll(d, (unsigned)n);
    table = get(bytes + entry, 8) & 0x00fffffffffffe00ull;
    if (roll(d, 8) == 0)
        return entry + roll(d, 8);
    if (table == 0 || table + cluster > size)
        return 0;
    for (unsigned tries = 0; tries < 50; tries++) { /* where something is, mostly */
        uint64_t at = table + 8 * roll(d, (unsigned)(roll(d, 2) ? cluster / 8 : 16));

        if (get(bytes + at, 8))
            return at + roll(d, 8);
    }
    return table + roll(d, (unsigned)cluster);
}

static void change_one(const struct subject *s, struct amended *m, const uint8_t *bytes,
                       uint64_t size, struct dice *d)
{
    uint64_t at = draw_place(d, roll(d, 2) ? m->old : m->now, bytes, size), undone_size;
    struct image_bytes changed = {.size = size};
    struct reading saw, is;
    const char *why;
    uint8_t *undone;

    if (at < SECTOR)
        return;
    changed.bytes = malloc(size);
    CU_ASSERT_FATAL(changed.bytes != NULL);
    memcpy(changed.bytes, bytes, size);
    changed.bytes[at] ^= (uint8_t)(1u << roll(d, 8));
    save(m->path, changed.bytes, size);
    if (!undo(m, &why)) {
        refusals++;
    } else {
        undone = load(m->path, &undone_size);
        reading_take(changed.bytes, size, NULL, &saw);
        reading_take(undone, undone_size, NULL, &is);
        if (!saw.wrong[0] && !saw.corruptions && (is.wrong[0] || reading_differs(&saw, &is)[0])) {
            fprintf(stderr, "\n%s, byte %llu: %s %s\n", s->name, (unsigned long long)at,
                    reading_differs(&saw, &is), is.wrong);
            CU_FAIL("an undo hid what the amended image showed");
        }
        harmless++;
        reading_free(&saw);
        reading_free(&is);
        free(undone);
    }
    free(changed.bytes);
}

static void a_changed_entry_is_seen_or_hides_nothing(void)
{
    unsigned long first = number("QB_UNDO_ANY_FIRST", 0), n = number("QB_UNDO_ANY", IMAGES);

    for (unsigned long seed = first; seed < first + n; seed++) {
        struct subject s = subject(seed);
        struct dice d = dice_of(seed + 0x42495453);
        struct amended m;

        /* All layers and names stay, so that both images show the same. */
        s.rq.set &=
            ~(unsigned)(QB_KEY_SIZE | QB_KEY_SNAPSHOTS | QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT);
        if (!s.heavy && amended_try(&m, &s.image, &s.rq)) {
            uint64_t size;
            uint8_t *bytes = load(m.path, &size);

            for (unsigned i = 0; i < BITS; i++)
                change_one(&s, &m, bytes, size, &d);
            free(bytes);
            amended_end(&m);
        } else if (!s.heavy) {
            amended_end(&m);
        }
        subject_free(&s);
    }
    printf("%lu changes refused, %lu hid nothing ... ", refusals, harmless);
    CU_ASSERT(refusals > n / 4);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_nobody_touched_is_undone_byte_for_byte),
        UNIT(a_changed_entry_is_seen_or_hides_nothing),
    };
    int rc;

    amends_begin();
    rc = scratch_main("undo_any", tests, UNIT_COUNT(tests));
    amends_end();
    return rc;
}
