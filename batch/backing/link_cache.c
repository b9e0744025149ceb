#include "backing/link_cache.h"

#include <stdlib.h>

#include "base/own.h"

enum { LINKS_KEPT = 65536 }; /* files whose links outlive a wave, some 200 bytes each */

#define NO_LINK SIZE_MAX

static void forget(struct qb_link_cache *c)
{
    qb_vec_each (l, &c->links)
        free(l->backing);
    c->links.n = 0;
    qb_index_clear(&c->by_id);
}

void qb_link_cache_free(struct qb_link_cache *c)
{
    forget(c);
    qb_vec_free(&c->links);
    qb_index_free(&c->by_id);
}

static uint64_t key_of(struct qb_file_id id)
{
    return qb_key_of_file(id.dev, id.ino);
}

static size_t find(const struct qb_link_cache *c, struct qb_file_id id)
{
    struct qb_probe p = qb_index_probe(&c->by_id, key_of(id));

    while (qb_index_next(&c->by_id, &p)) {
        const struct qb_link *l = &c->links.items[p.item];

        if (l->id.ino == id.ino && l->id.dev == id.dev)
            return p.item;
    }
    return NO_LINK;
}

const struct qb_link *qb_link_cache_find(struct qb_link_cache *c, struct qb_file_id id,
                                         struct timespec changed)
{
    size_t at = find(c, id);
    struct qb_link *l = at == NO_LINK ? NULL : &c->links.items[at];

    if (!l || (l->wave != c->wave &&
               (l->changed.tv_sec != changed.tv_sec || l->changed.tv_nsec != changed.tv_nsec)))
        return NULL;
    l->wave = c->wave;
    return l;
}

const struct qb_link *qb_link_cache_put(struct qb_link_cache *c, struct qb_link link)
{
    size_t at = find(c, link.id);

    link.wave = c->wave;
    if (at != NO_LINK) {
        free(c->links.items[at].backing);
        c->links.items[at] = link;
        return &c->links.items[at];
    }
    if (!qb_index_room(&c->by_id, 1) || !qb_vec_push(&c->links, link)) {
        free(link.backing);
        return NULL;
    }
    qb_index_add(&c->by_id, key_of(link.id), c->links.n - 1);
    return &c->links.items[c->links.n - 1];
}

void qb_link_cache_next_wave(struct qb_link_cache *c)
{
    c->wave++;
    if (c->links.n > LINKS_KEPT)
        forget(c);
}
