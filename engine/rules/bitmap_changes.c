/* Lists what an amend does with which bitmap, for the report. */
#include <string.h>

#include "rules/bitmaps.h"

enum { NAME_BYTES = 256 }; /* of a name in the report, with its NUL */

static unsigned changes_of(const struct qb_bitmap_work *w, const struct qb_new_bitmap *b)
{
    const struct qb_bitmap *old = b->old == QB_NO_BITMAP ? NULL : &w->old.list.items[b->old];
    unsigned turned = old ? (old->flags ^ b->entry.flags) & QB_BITMAP_AUTO : 0, changes = 0;

    if (!old)
        changes |= QB_BITMAP_CHANGE_ADDED;
    if (old && old->name != b->entry.name)
        changes |= QB_BITMAP_CHANGE_RENAMED;
    if (old && b->cleared && b->table)
        changes |= QB_BITMAP_CHANGE_CLEARED;
    if (b->merged)
        changes |= QB_BITMAP_CHANGE_MERGED;
    if (turned)
        changes |=
            b->entry.flags & QB_BITMAP_AUTO ? QB_BITMAP_CHANGE_ENABLED : QB_BITMAP_CHANGE_DISABLED;
    return changes;
}

/* Calls `fn` for each bitmap that changes: those that are removed, then the others. */
static void each_changed(struct qb_bitmap_work *w,
                         void (*fn)(struct qb_bitmap_work *w, const char *name, const char *from,
                                    unsigned changes))
{
    for (size_t i = 0; i < w->old.list.n; i++)
        if (w->gone[i])
            fn(w, w->old.list.items[i].name, NULL, QB_BITMAP_CHANGE_REMOVED);
    qb_vec_each (b, &w->now) {
        unsigned changes = changes_of(w, b);
        bool renamed = changes & QB_BITMAP_CHANGE_RENAMED;

        if (changes)
            fn(w, b->entry.name, renamed ? w->old.list.items[b->old].name : NULL, changes);
    }
}

/* Bytes of a name as the report has it, without a NUL: whole characters. */
static size_t shown_len(const char *text)
{
    size_t len = strnlen(text, NAME_BYTES - 1);

    while (len && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    return len;
}

static size_t text_size(const char *text)
{
    return text ? shown_len(text) + 1 : 0;
}

static void count_one(struct qb_bitmap_work *w, const char *name, const char *from,
                      unsigned changes)
{
    (void)changes;
    if (w->n_changed++ < QB_BITMAPS_LISTED)
        w->changed_bytes += sizeof(*w->changed) + text_size(name) + text_size(from);
}

static const char *keep_text(struct qb_bitmap_work *w, const char *text)
{
    char *at = w->changed_texts;

    if (!text)
        return NULL;
    memcpy(at, text, shown_len(text));
    at[shown_len(text)] = '\0';
    w->changed_texts += text_size(text);
    return at;
}

static void list_one(struct qb_bitmap_work *w, const char *name, const char *from, unsigned changes)
{
    struct qb_changed_bitmap *one = &w->changed[w->n_listed];

    if (w->n_listed == QB_BITMAPS_LISTED)
        return;
    w->n_listed++;
    one->name = keep_text(w, name);
    one->from = keep_text(w, from);
    one->changes = changes;
}

struct qb_bitmap_work *qb_bitmaps_list_changed(struct qb_plan *plan, struct qb_bitmap_work *w,
                                               struct qb_err *err)
{
    each_changed(w, count_one);
    if (qb_counts_hold(&plan->census.counts, w->changed_bytes, err) < 0)
        return NULL;
    w = realloc(w, sizeof(*w) + w->changed_bytes);
    if (!w) {
        qb_fail_memory(err);
        return NULL;
    }
    plan->own[QB_RULE_bitmaps] = w;
    w->changed = (struct qb_changed_bitmap *)(w + 1);
    w->changed_texts = (char *)(w->changed + QB_MIN(w->n_changed, QB_BITMAPS_LISTED));
    each_changed(w, list_one);
    return w;
}
