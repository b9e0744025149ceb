#include "util/json_flat.h"

#include <stdlib.h>
#include <string.h>

#include "util/json_string.h"

enum { DIGITS_MAX = 18 }; /* of any number that an int64_t holds */

struct reading {
    const char *at, *end;
    char *to; /* where the next text is kept */
};

static bool take(struct reading *r, const char *what)
{
    size_t len = strlen(what);

    if ((size_t)(r->end - r->at) < len || memcmp(r->at, what, len) != 0)
        return false;
    r->at += len;
    return true;
}

/* NULL where it has something that is to be decoded. */
static const char *take_text(struct reading *r)
{
    char *text = r->to;
    size_t n;

    if (!take(r, "\""))
        return NULL;
    n = qb_json_plain(text, r->at, (size_t)(r->end - r->at));
    r->at += n;
    r->to += n;
    *r->to++ = '\0'; /* in place of the quote before it, or after it */
    return take(r, "\"") ? text : NULL;
}

static bool take_integer(struct reading *r, int64_t *out)
{
    bool negative = take(r, "-");
    const char *first = r->at;
    int64_t n = 0;

    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        if (r->at - first == DIGITS_MAX)
            return false;
        n = n * 10 + (*r->at - '0');
    }
    *out = negative ? -n : n;
    return r->at > first && (*first != '0' || r->at - first == 1);
}

static bool take_value(struct reading *r, struct qb_flat_member *m)
{
    if (take(r, "true"))
        return m->kind = QB_FLAT_TRUE, true;
    if (take(r, "false"))
        return m->kind = QB_FLAT_FALSE, true;
    if (take(r, "null"))
        return m->kind = QB_FLAT_NULL, true;
    if (r->at < r->end && *r->at == '"')
        return m->kind = QB_FLAT_TEXT, (m->text = take_text(r)) != NULL;
    return m->kind = QB_FLAT_INTEGER, take_integer(r, &m->integer);
}

static bool take_member(struct reading *r, struct qb_flat *flat)
{
    struct qb_flat_member *m = &flat->members[flat->n];

    if (flat->n == QB_FLAT_MEMBERS)
        return false;
    *m = (struct qb_flat_member){0};
    if (!(m->key = take_text(r)) || qb_flat_find(flat, m->key) || !take(r, ":") ||
        !take_value(r, m))
        return false;
    flat->n++;
    return true;
}

static bool take_object(struct reading *r, struct qb_flat *flat)
{
    if (!take(r, "{"))
        return false;
    if (!take(r, "}")) {
        do
            if (!take_member(r, flat))
                return false;
        while (take(r, ","));
        if (!take(r, "}"))
            return false;
    }
    return r->at == r->end;
}

/* Each text is kept with a NUL, and has two quotes in what is read. */
struct qb_flat *qb_flat_parse(const char *text, size_t len)
{
    struct qb_flat *flat = malloc(sizeof(*flat) + len);
    struct reading r = {text, text + len, flat ? flat->bytes : NULL};

    if (!flat)
        return NULL;
    flat->n = 0;
    if (take_object(&r, flat))
        return flat;
    free(flat);
    return NULL;
}

const struct qb_flat_member *qb_flat_find(const struct qb_flat *flat, const char *key)
{
    for (size_t i = 0; i < flat->n; i++)
        if (strcmp(flat->members[i].key, key) == 0)
            return &flat->members[i];
    return NULL;
}
