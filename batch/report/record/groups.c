#include "record/groups.h"

#include <string.h>

#include "base/own.h"

static uint32_t digest_of(const char *s) /* FNV-1a */
{
    uint32_t h = 2166136261u;

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static struct qb_group *find(struct qb_groups *groups, const struct qb_grouped *i, uint32_t digest)
{
    qb_vec_each (g, &groups->list) {
        if (g->digest != digest || g->status != i->status || g->code != i->code)
            continue;
        if (i->text ? g->text && strcmp(g->text, i->text) == 0 : !g->text)
            return g;
    }
    return NULL;
}

static struct qb_group *make(struct qb_groups *groups, const struct qb_grouped *i, uint32_t digest)
{
    struct qb_group g = {.status = i->status, .code = i->code, .digest = digest};

    if (i->text && !(g.text = strdup(i->text)))
        return NULL;
    if (qb_vec_push(&groups->list, g))
        return &groups->list.items[groups->list.n - 1];
    free(g.text);
    return NULL;
}

bool qb_groups_add(struct qb_groups *groups, struct qb_grouped image)
{
    uint32_t digest = digest_of(image.text);
    struct qb_group *g = find(groups, &image, digest);

    if (!g && groups->list.n >= QB_GROUPS_MAX) {
        image.text = NULL;
        g = find(groups, &image, digest = 0);
    }
    if (!g)
        g = make(groups, &image, digest);
    if (!g)
        return false;
    g->n++;
    return g->members.n >= groups->keep || qb_vec_push(&g->members, image.member);
}

/* Groups of one size keep the order in which they were met. */
static int order(const void *a, const void *b)
{
    const struct qb_group *x = a, *y = b;

    if (x->status != y->status)
        return x->status < y->status ? -1 : 1;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return x->members.n && y->members.n && x->members.items[0].job < y->members.items[0].job ? -1
                                                                                             : 1;
}

void qb_groups_sort(struct qb_groups *groups)
{
    if (groups->list.n > 1)
        qsort(groups->list.items, groups->list.n, sizeof(groups->list.items[0]), order);
}

void qb_groups_free(struct qb_groups *groups)
{
    qb_vec_each (g, &groups->list) {
        free(qb_take(&g->text));
        qb_vec_free(&g->members);
    }
    qb_vec_free(&groups->list);
}
