#include "manifest/outline.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/own.h"
#include "base/digest.h"

enum { ENTRIES_MAX = 256, NAMED = 4 };

static uint64_t both(uint64_t a, uint64_t b)
{
    uint64_t words[2] = {a, b};

    return qb_digest_of(words, sizeof(words)).low;
}

/* Of what the node says, however it is written: comments, quotes and the order of keys do not
 * count. */
static uint64_t digest_of(const struct qb_node *node)
{
    uint64_t sum = node->kind;

    if (node->kind == QB_NODE_SCALAR)
        return both(qb_digest_of(node->text, strlen(node->text)).low, qb_node_is_null(node));
    for (const struct qb_node *v = node->first; v; v = v->next) {
        if (node->kind == QB_NODE_MAPPING)
            sum += both(digest_of(v->key), digest_of(v));
        else
            sum = both(sum, digest_of(v));
    }
    return both(sum, node->kind);
}

static bool note(struct qb_batch *batch, const char *name, const struct qb_node *node)
{
    const char *kept = qb_batch_keep(batch, name, strlen(name));

    return kept &&
           qb_vec_push(&batch->outline, (struct qb_outlined){kept, node->at.line, digest_of(node)});
}

static bool is_short(const struct qb_node *list)
{
    size_t n = 0;

    for (const struct qb_node *v = list->first; v && n <= ENTRIES_MAX; v = v->next)
        n++;
    return n <= ENTRIES_MAX;
}

static bool note_part(struct qb_batch *batch, const struct qb_node *top)
{
    QB_AUTO(qb_buf) char *name = NULL;
    size_t n = 0;
    bool ok = true;

    if (top->kind == QB_NODE_SCALAR || (top->kind == QB_NODE_SEQUENCE && !is_short(top)))
        return note(batch, top->key->text, top);
    for (const struct qb_node *v = top->first; ok && v; v = v->next) {
        int len = top->kind == QB_NODE_MAPPING
                      ? asprintf(&name, "%s.%s", top->key->text, v->key->text)
                      : asprintf(&name, "entry %zu of %s", ++n, top->key->text);

        ok = len >= 0 && note(batch, name, v);
        free(qb_take(&name));
    }
    return ok;
}

bool qb_outline_note(const struct qb_node *root, struct qb_batch *batch)
{
    for (const struct qb_node *v = root->first; v; v = v->next)
        if (strcmp(v->key->text, "limits") != 0 && !note_part(batch, v))
            return false;
    return true;
}

static const struct qb_outlined *find(const struct qb_batch *batch, const char *name)
{
    qb_vec_each (part, &batch->outline)
        if (strcmp(part->name, name) == 0)
            return part;
    return NULL;
}

static void put_name(FILE *f, size_t *n, const char *name, unsigned line)
{
    if (++*n > NAMED)
        return;
    fprintf(f, "%s%.60s", *n == 1 ? "" : ", ", name);
    if (line)
        fprintf(f, " (line %u)", line);
    else
        fputs(" (gone)", f);
}

bool qb_outline_differs(const struct qb_batch *was, const struct qb_batch *now,
                        char out[QB_OUTLINE_TEXT])
{
    FILE *f = fmemopen(out, QB_OUTLINE_TEXT, "w");
    size_t n = 0;

    snprintf(out, QB_OUTLINE_TEXT, "?");
    if (!f)
        return true;
    qb_vec_each (part, &now->outline) {
        const struct qb_outlined *before = find(was, part->name);

        if (!before || before->digest != part->digest)
            put_name(f, &n, part->name, part->line);
    }
    qb_vec_each (part, &was->outline)
        if (!find(now, part->name))
            put_name(f, &n, part->name, 0);
    if (n > NAMED)
        fprintf(f, " and %zu more", n - NAMED);
    return fclose(f) != 0 || n > 0;
}
