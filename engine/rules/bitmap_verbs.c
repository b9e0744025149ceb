/* Applies what is asked of bitmaps, verb by verb, to the list of them: nothing is read. */
#include <stdio.h>
#include <string.h>

#include "rules/bitmaps.h"
#include "plan/rule.h"
#include "base/wildcard.h"

static bool matches(const struct qb_name_list *globs, const char *name)
{
    for (size_t i = 0; i < globs->n; i++)
        if (qb_wildcard_match(globs->items[i], name, strlen(name)))
            return true;
    return false;
}

static bool removes(const struct qb_plan *plan, const struct qb_bitmap *b)
{
    const struct qb_request *rq = plan->in.rq;

    if (qb_bitmaps_remove_all(rq))
        return true;
    if (qb_bitmaps_mended(rq) && (b->flags & QB_BITMAP_IN_USE))
        return true;
    if (qb_mends(rq, QB_REPAIR_BITMAPS) && b->odd)
        return true;
    return qb_asked(rq, QB_KEY_BITMAPS) && matches(&rq->bitmaps_remove, b->name);
}

static int index_name(struct qb_bitmap_work *w, size_t i, struct qb_err *err)
{
    if (!qb_index_room(&w->by_name, 1))
        return qb_fail_memory(err);
    qb_index_add(&w->by_name, qb_key_of_text(w->now.items[i].entry.name), i);
    return 0;
}

/* Begins the list with those that are not removed. */
static int begin(const struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err)
{
    bool asked = qb_asked(plan->in.rq, QB_KEY_BITMAPS);

    for (size_t i = 0; i < w->old.list.n; i++) {
        struct qb_new_bitmap b = {.entry = w->old.list.items[i], .old = i};

        if (i % 64 == 0 && qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        w->gone[i] = removes(plan, &b.entry);
        if (!w->gone[i] && b.entry.odd)
            return qb_bitmaps_refuse(&w->old.odd, err);
        w->changes |= w->gone[i];
        if (w->gone[i])
            continue;
        if (!qb_vec_push(&w->now, b))
            return qb_fail_memory(err);
        if (asked && index_name(w, w->now.n - 1, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- names that must be there ---------------------------------------------------------------- */

/* The bitmap of that name, or NULL. */
static struct qb_new_bitmap *find(const struct qb_bitmap_work *w, const char *name)
{
    struct qb_probe p = qb_index_probe(&w->by_name, qb_key_of_text(name));

    while (qb_index_next(&w->by_name, &p))
        if (strcmp(w->now.items[p.item].entry.name, name) == 0)
            return &w->now.items[p.item];
    return NULL;
}

/* The names that there are, as far as they fit. */
static const char *names_of(const struct qb_bitmap_work *w, char *room, size_t size)
{
    size_t used = (size_t)snprintf(room, size, "%s", w->now.n ? "it has " : "it has none");

    qb_vec_each (b, &w->now) {
        if (used + strlen(b->entry.name) + 16 > size) {
            snprintf(room + used, size - used, " and others");
            break;
        }
        used += (size_t)snprintf(room + used, size - used, "%s\"%s\"",
                                 b == w->now.items ? "" : ", ", b->entry.name);
    }
    return room;
}

static int missing(const struct qb_bitmap_work *w, const char *verb, const char *name,
                   struct qb_err *err)
{
    char room[200];

    return QB_REFUSE("bitmaps.%s: the image has no bitmap \"%.80s\"; %s", verb, name,
                     names_of(w, room, sizeof(room)));
}

static int check_consistent(const struct qb_new_bitmap *b, const char *verb, struct qb_err *err)
{
    if (!(b->entry.flags & QB_BITMAP_IN_USE))
        return 0;
    return QB_REFUSE("bitmaps.%s: bitmap \"%.80s\" is inconsistent (it was in use when its writer "
                     "went away) and can only be removed",
                     verb, b->entry.name);
}

struct qb_new_bitmap *qb_bitmaps_named(const struct qb_bitmap_work *w, const char *name,
                                       struct qb_err *err)
{
    struct qb_new_bitmap *b = find(w, name);

    if (!b)
        missing(w, "merge", name, err);
    return b && check_consistent(b, "merge", err) == 0 ? b : NULL;
}

/* A name as a request has it: the parser lets no other through, a program may. */
static int check_name(const char *verb, const char *name, struct qb_err *err)
{
    if (name && name[0] && strlen(name) <= QB_BITMAP_NAME_MAX)
        return 0;
    return QB_REFUSE("bitmaps.%s: the name of a bitmap has 1 to %u bytes", verb,
                     QB_BITMAP_NAME_MAX);
}

/* ---- rename ---------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

/* With a name that stands there twice it would matter what was done before, so that a second run
 * could not tell what is left to do. */
static int check_renames(const struct qb_bitmap_renames *list, struct qb_err *err)
{
    size_t n = 2 * list->n;
    QB_AUTO(qb_buf) const char **names = calloc(n + 1, sizeof(*names));

    if (!names)
        return qb_fail_memory(err);
    for (size_t i = 0; i < list->n; i++) {
        names[2 * i] = list->items[i].from;
        names[2 * i + 1] = list->items[i].to;
        if (check_name("rename", list->items[i].from, err) < 0 ||
            check_name("rename", list->items[i].to, err) < 0)
            return -1;
    }
    qsort(names, n, sizeof(*names), by_text);
    for (size_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return QB_REFUSE("bitmaps.rename: \"%.80s\" is named twice", names[i]);
    return 0;
}

static int rename_one(struct qb_bitmap_work *w, const struct qb_bitmap_rename *one,
                      struct qb_err *err)
{
    struct qb_new_bitmap *b = find(w, one->from), *there = find(w, one->to);

    if (!b && there) /* it is done */
        return check_consistent(there, "rename", err);
    if (!b)
        return missing(w, "rename", one->from, err);
    if (check_consistent(b, "rename", err) < 0)
        return -1;
    if (there)
        return QB_REFUSE("bitmaps.rename: \"%.80s\" cannot be renamed: there is a bitmap "
                         "\"%.80s\" already",
                         one->from, one->to);
    b->entry.name = one->to;
    return index_name(w, (size_t)(b - w->now.items), err);
}

static int rename_all(const struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err)
{
    const struct qb_bitmap_renames *list = &plan->in.rq->bitmaps_rename;

    if (check_renames(list, err) < 0)
        return -1;
    for (size_t i = 0; i < list->n; i++)
        if (qb_io_go_on(plan->in.io, err) < 0 || rename_one(w, &list->items[i], err) < 0)
            return -1;
    return 0;
}

/* ---- add ------------------------------------------------------------------------------------- */

/* The granularity of one that is added, as QEMU chooses it where nothing is said. */
static int granularity_of(const struct qb_plan *plan, const struct qb_bitmap_add *add,
                          uint8_t *bits, struct qb_err *err)
{
    uint64_t bytes = add->granularity;

    if (!bytes)
        bytes = QB_MIN(QB_MAX(plan->in.img->geom.cluster_size, 4096u), 65536u);
    *bits = QB_BITMAP_GRANULARITY_MIN;
    while (*bits < QB_BITMAP_GRANULARITY_MAX && bytes > UINT64_C(1) << *bits)
        ++*bits;
    if (bytes == UINT64_C(1) << *bits)
        return 0;
    return QB_REFUSE("bitmaps.add: a granularity of %llu bytes is not a power of two from 512 to "
                     "2 GiB",
                     (unsigned long long)bytes);
}

/* One of that name is there. */
static int check_same(struct qb_new_bitmap *b, uint8_t granularity_bits,
                      const struct qb_bitmap_add *add, struct qb_err *err)
{
    if (check_consistent(b, "add", err) < 0)
        return -1;
    if (b->entry.granularity_bits != granularity_bits)
        return QB_REFUSE("bitmaps.add: bitmap \"%.80s\" is there already, with a granularity of "
                         "%llu bytes, not %llu",
                         add->name, 1ull << b->entry.granularity_bits, 1ull << granularity_bits);
    b->disputed = add->disabled != !(b->entry.flags & QB_BITMAP_AUTO);
    return 0;
}

static int add_one(const struct qb_plan *plan, struct qb_bitmap_work *w,
                   const struct qb_bitmap_add *add, struct qb_err *err)
{
    struct qb_new_bitmap b = {.old = QB_NO_BITMAP}, *there;

    if (check_name("add", add->name, err) < 0 ||
        granularity_of(plan, add, &b.entry.granularity_bits, err) < 0)
        return -1;
    there = find(w, add->name);
    if (there)
        return check_same(there, b.entry.granularity_bits, add, err);
    b.entry.name = add->name;
    b.entry.flags = add->disabled ? 0 : QB_BITMAP_AUTO;
    w->changes = true;
    if (!qb_vec_push(&w->now, b))
        return qb_fail_memory(err);
    return index_name(w, w->now.n - 1, err);
}

static int add_all(const struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err)
{
    const struct qb_bitmap_adds *list = &plan->in.rq->bitmaps_add;

    for (size_t i = 0; i < list->n; i++)
        if (qb_io_go_on(plan->in.io, err) < 0 || add_one(plan, w, &list->items[i], err) < 0)
            return -1;
    return 0;
}

/* ---- clear, enable, disable ------------------------------------------------------------------ */

static void clear(struct qb_new_bitmap *b)
{
    b->cleared = true; /* with what was merged into it */
}

static void enable(struct qb_new_bitmap *b)
{
    b->entry.flags |= QB_BITMAP_AUTO;
    b->disputed = false;
}

static void disable(struct qb_new_bitmap *b)
{
    b->entry.flags &= ~QB_BITMAP_AUTO;
    b->disputed = false;
}

static bool is_plain(const char *glob)
{
    return !strpbrk(glob, "*?[\\");
}

bool qb_bitmaps_any_plain(const struct qb_name_list *globs)
{
    for (size_t i = 0; i < globs->n; i++)
        if (is_plain(globs->items[i]))
            return true;
    return false;
}

/* A pattern may match none; a name without any of its signs must be there. */
static int each_matching(const struct qb_plan *plan, struct qb_bitmap_work *w, const char *verb,
                         const struct qb_name_list *globs, void (*fn)(struct qb_new_bitmap *b),
                         struct qb_err *err)
{
    for (size_t i = 0; i < globs->n; i++)
        if (is_plain(globs->items[i]) && !find(w, globs->items[i]))
            return missing(w, verb, globs->items[i], err);
    for (size_t i = 0; globs->n && i < w->now.n; i++) {
        struct qb_new_bitmap *b = &w->now.items[i];

        if (i % 64 == 0 && qb_io_go_on(plan->in.io, err) < 0)
            return -1;
        if (!matches(globs, b->entry.name))
            continue;
        if (check_consistent(b, verb, err) < 0)
            return -1;
        fn(b);
    }
    return 0;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Once all verbs are applied. */
static int note_changes(struct qb_bitmap_work *w, struct qb_err *err)
{
    qb_vec_each (b, &w->now) {
        const struct qb_bitmap *old =
            b->old == QB_NO_BITMAP ? &b->entry : &w->old.list.items[b->old];

        if (b->disputed)
            return QB_REFUSE("bitmaps.add: bitmap \"%.80s\" is there already, and %s",
                             b->entry.name,
                             b->entry.flags & QB_BITMAP_AUTO ? "enabled" : "disabled");
        w->changes |= b->entry.flags != old->flags || b->entry.name != old->name;
    }
    return 0;
}

int qb_bitmaps_apply(const struct qb_plan *plan, struct qb_bitmap_work *w, uint64_t memory_limit,
                     struct qb_err *err)
{
    const struct qb_request *rq = plan->in.rq;

    if (begin(plan, w, err) < 0)
        return -1;
    if (!qb_asked(rq, QB_KEY_BITMAPS))
        return 0;
    if (rename_all(plan, w, err) < 0 || add_all(plan, w, err) < 0 ||
        qb_bitmaps_merge(plan, w, memory_limit, err) < 0)
        return -1;
    if (each_matching(plan, w, "clear", &rq->bitmaps_clear, clear, err) < 0 ||
        each_matching(plan, w, "enable", &rq->bitmaps_enable, enable, err) < 0 ||
        each_matching(plan, w, "disable", &rq->bitmaps_disable, disable, err) < 0)
        return -1;
    return note_changes(w, err);
}
