#include "many_tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dice.h"
#include "unit.h"

enum { CLUSTERS = 3000 };

struct subject many_tables(uint64_t seed)
{
    static const char *const words[] = {"d", "d", "d", "z", "Z", "c", "o", "."};
    struct dice d = dice_of(seed);
    struct image_shape shape = {.version = 3,
                                .cluster_bits = 9,
                                .refcount_order = 3 + roll(&d, 4),
                                .size = CLUSTERS * 512,
                                .lazy_refcounts = roll(&d, 4) == 0,
                                .dirty = roll(&d, 6) == 0};
    char script[2000] = "";
    struct recipe r = {"many tables", shape, script, false};
    unsigned snapshots = 0;

    for (size_t n = 0; n < 60; n++) {
        size_t at = strlen(script);

        if (roll(&d, 20) == 0 && snapshots++ < 3)
            snprintf(script + at, sizeof(script) - at, "S ");
        else if (roll(&d, 10) == 0)
            snprintf(script + at, sizeof(script) - at, roll(&d, 2) ? "L " : "H3 ");
        else
            snprintf(script + at, sizeof(script) - at, "@%u%s%u ", roll(&d, CLUSTERS - 100),
                     words[roll(&d, UNIT_COUNT(words))], 1 + roll(&d, 90));
    }
    return subject_of(&r, &wishes[seed % n_wishes]);
}

/* ---- a crew ---------------------------------------------------------------------------------- */

static size_t n_loops;

size_t pretended_loops(void)
{
    return n_loops;
}

static unsigned pretend_hands(void *arg)
{
    return ((struct pretended_crew *)arg)->hands;
}

static double pretend_each(void *arg, size_t n, unsigned hands, qb_part_fn *fn, void *fn_arg)
{
    (void)arg;
    n_loops++;
    for (size_t i = n; i-- > 0;)
        fn(fn_arg, (unsigned)(i % hands), i);
    return 0;
}

void pretend_crew(struct pretended_crew *p, unsigned hands)
{
    *p = (struct pretended_crew){{pretend_hands, pretend_each, p}, hands};
}

/* ---- text ------------------------------------------------------------------------------------ */

struct outcome outcome_new(void)
{
    struct outcome o = {.text = calloc(1, MANY_TABLES_TEXT)};

    if (!o.text)
        abort();
    return o;
}

void outcome_add(struct outcome *o, const char *text)
{
    size_t n = strlen(text);

    if (o->len + n < MANY_TABLES_TEXT) {
        memcpy(o->text + o->len, text, n + 1);
        o->len += n;
    }
}
