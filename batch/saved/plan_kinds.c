#include "saved/plan_kinds.h"

#include <stdlib.h>
#include <string.h>

#include "util/text.h"

enum { KINDS_MAX = 100 };

/* What people call a change of a key; by default the key's name. */
static const char *word_of(const struct qb_change *c)
{
    if (strcmp(c->key, "compat") == 0 && c->to.kind == QB_VALUE_TEXT)
        return strcmp(c->to.text, "0.10") == 0 ? "downgrade" : "upgrade";
    if (strcmp(c->key, "size") == 0)
        return c->to.number > c->from.number ? "grow" : "shrink";
    if (strcmp(c->key, "backing_file") == 0 || strcmp(c->key, "backing_fmt") == 0)
        return "rebase";
    return c->key;
}

static void add_word(char words[QB_PLAN_KIND], const char *word)
{
    size_t used = strlen(words);

    if (!strstr(words, word))
        snprintf(words + used, QB_PLAN_KIND - used, "%s%s", used ? " and " : "", word);
}

static void change_words(const struct qb_result *r, char words[QB_PLAN_KIND])
{
    struct qb_change changes[QB_CHANGES_MAX];
    size_t n = qb_report_changes(r, changes);

    if (r->converted) {
        add_word(words, "convert");
        return; /* whatever properties it then has */
    }
    for (size_t i = 0; i < n; i++)
        add_word(words, word_of(&changes[i]));
    if (r->repaired || r->mark_cleared || r->refcounts_raised || r->flags_corrected ||
        r->leaks.freed)
        add_word(words, "repair");
    if (r->n_snapshots_deleted)
        add_word(words, "delete snapshots");
    if (!words[0])
        add_word(words, "rewrite"); /* such as space that is reclaimed */
}

static void words_of(const struct qb_result *r, char words[QB_PLAN_KIND])
{
    words[0] = '\0';
    switch (r->status) {
    case QB_STATUS_WOULD_CHANGE:
        change_words(r, words);
        break;
    case QB_STATUS_UNCHANGED:
        add_word(words, "unchanged");
        break;
    case QB_STATUS_SKIPPED:
        add_word(words, r->err.code == QB_E_WHEN ? "left out" : "skipped");
        break;
    default:
        add_word(words, "refused");
    }
}

void qb_plan_kinds_add(struct qb_plan_kinds *kinds, const struct qb_result *r)
{
    struct qb_plan_kind kind = {.n = 1, .changes = r->status == QB_STATUS_WOULD_CHANGE};

    words_of(r, kind.words);
    if (kinds->list.n >= KINDS_MAX && kind.changes)
        strcpy(kind.words, "other changes");
    qb_vec_each (k, &kinds->list)
        if (strcmp(k->words, kind.words) == 0) {
            k->n++;
            return;
        }
    kinds->short_of_memory |= !qb_vec_push(&kinds->list, kind);
}

static int by_frequency(const void *a, const void *b)
{
    const struct qb_plan_kind *x = a, *y = b;

    if (x->changes != y->changes)
        return x->changes ? -1 : 1;
    return x->n != y->n ? (x->n > y->n ? -1 : 1) : strcmp(x->words, y->words);
}

void qb_plan_kinds_print(struct qb_plan_kinds *kinds, FILE *f)
{
    char b[QB_TEXT_NUMBER];

    if (kinds->list.n)
        qsort(kinds->list.items, kinds->list.n, sizeof(kinds->list.items[0]), by_frequency);
    for (size_t i = 0; i < kinds->list.n; i++)
        fprintf(f, "%s%s %s", i ? ", " : "", qb_text_count(kinds->list.items[i].n, b),
                kinds->list.items[i].words);
    if (kinds->list.n == 0)
        fputs("no image", f);
}

uint64_t qb_plan_kinds_changes(const struct qb_plan_kinds *kinds)
{
    uint64_t n = 0;

    qb_vec_each (k, &kinds->list)
        n += k->changes ? k->n : 0;
    return n;
}

void qb_plan_kinds_free(struct qb_plan_kinds *kinds)
{
    qb_vec_free(&kinds->list);
}
