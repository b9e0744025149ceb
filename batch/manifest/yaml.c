#include "manifest/yaml.h"

#include <string.h>
#include <yaml.h>

#include "base/num.h"
#include "manifest/manifest_text.h"
#include "manifest/syntax.h"

enum { BLOCK_BYTES = 64 << 10, QUOTED_MAX = 60 };

/* Nodes and texts come from blocks that are freed together. */
struct qb_yaml_block {
    struct qb_yaml_block *next;
    size_t used, size;
    char bytes[] __attribute__((aligned(16)));
};

struct parse {
    struct qb_yaml *yaml;
    struct qb_diags *diags;
    const char *text; /* without a byte order mark */
    yaml_parser_t parser;
    size_t nodes;
    bool incomplete; /* the tree has holes where aliases stood */
    unsigned depth;
    struct qb_node *open[QB_YAML_MAX_DEPTH];      /* collections around the next node */
    struct qb_node **slot[QB_YAML_MAX_DEPTH];     /* where the next node goes */
    const struct qb_node *key[QB_YAML_MAX_DEPTH]; /* read, and its value comes next */
    unsigned keys[QB_YAML_MAX_DEPTH];
};

static void *allot(struct qb_yaml *yaml, size_t n)
{
    struct qb_yaml_block *b = yaml->blocks;
    void *at;

    n = (n + 7) & ~(size_t)7;
    if (!b || b->size - b->used < n) {
        size_t size = QB_MAX(n, (size_t)BLOCK_BYTES);

        b = malloc(sizeof(*b) + size);
        if (!b)
            return NULL;
        *b = (struct qb_yaml_block){.next = yaml->blocks, .size = size};
        yaml->blocks = b;
    }
    at = b->bytes + b->used;
    b->used += n;
    return at;
}

void qb_yaml_free(struct qb_yaml *yaml)
{
    while (yaml->blocks) {
        struct qb_yaml_block *next = yaml->blocks->next;

        free(yaml->blocks);
        yaml->blocks = next;
    }
    yaml->root = NULL;
}

/* ---- the tree -------------------------------------------------------------------------------- */

static struct qb_place place_of(const yaml_mark_t *start, const yaml_mark_t *end)
{
    struct qb_place at = {(unsigned)start->line + 1, (unsigned)start->column + 1, 1};

    if (end->index > start->index) /* what lies past the line's end is not drawn */
        at.length = (unsigned)(end->index - start->index);
    return at;
}

static struct qb_node *new_node(struct parse *p, enum qb_node_kind kind, struct qb_place at)
{
    struct qb_node *node;

    if (++p->nodes > QB_YAML_MAX_NODES) {
        qb_diag_add(p->diags, QB_M_TOO_BIG, at, NULL, "the manifest has more than %d values",
                    QB_YAML_MAX_NODES);
        return NULL;
    }
    node = allot(p->yaml, sizeof(*node));
    if (!node) {
        qb_diag_memory(p->diags);
        return NULL;
    }
    *node = (struct qb_node){.kind = kind, .at = at};
    return node;
}

static bool wants_key(const struct parse *p)
{
    return p->depth > 0 && p->open[p->depth - 1]->kind == QB_NODE_MAPPING && !p->key[p->depth - 1];
}

/* A key is stored until its value comes.  A second key of the same name is a mistake, but its value
 * is read all the same. */
static int put_key(struct parse *p, const struct qb_node *node)
{
    unsigned top = p->depth - 1;

    if (node->kind != QB_NODE_SCALAR)
        return qb_diag_add(p->diags, QB_M_WRONG_TYPE, node->at, NULL, "%s cannot be a key",
                           qb_node_kind_name(node));
    for (const struct qb_node *n = p->open[top]->first; n; n = n->next) {
        if (strcmp(n->key->text, node->text) != 0)
            continue;
        qb_diag_add(p->diags, QB_M_DUPLICATE_KEY, node->at, NULL,
                    "\"%.*s\" is there twice, first in line %u", QUOTED_MAX, node->text,
                    n->key->at.line);
        break;
    }
    if (++p->keys[top] > QB_YAML_MAX_KEYS)
        return qb_diag_add(p->diags, QB_M_TOO_BIG, node->at, NULL,
                           "more than %d keys in one mapping", QB_YAML_MAX_KEYS);
    p->key[top] = node;
    return 0;
}

/* Adds the node to the open collection. */
static int put_node(struct parse *p, struct qb_node *node)
{
    unsigned top = p->depth - 1;

    if (!node)
        return -1;
    if (p->depth == 0) {
        p->yaml->root = node;
        return 0;
    }
    if (wants_key(p))
        return put_key(p, node);
    node->key = p->key[top];
    p->key[top] = NULL;
    *p->slot[top] = node;
    p->slot[top] = &node->next;
    return 0;
}

static int open_collection(struct parse *p, enum qb_node_kind kind, struct qb_place at)
{
    struct qb_node *node = new_node(p, kind, at);

    if (put_node(p, node) < 0)
        return -1;
    if (p->depth == QB_YAML_MAX_DEPTH)
        return qb_diag_add(p->diags, QB_M_TOO_DEEP, at, NULL, "nested more than %d levels deep",
                           QB_YAML_MAX_DEPTH);
    p->open[p->depth] = node;
    p->slot[p->depth] = &node->first;
    p->key[p->depth] = NULL;
    p->keys[p->depth] = 0;
    p->depth++;
    return 0;
}

static int put_scalar(struct parse *p, const yaml_event_t *e, struct qb_place at)
{
    struct qb_node *node = new_node(p, QB_NODE_SCALAR, at);
    const char *text = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;
    char *copy;

    if (!node)
        return -1;
    if (memchr(text, '\0', len))
        return qb_diag_add(p->diags, QB_M_CONTROL, at, NULL, "a text with a NUL character");
    copy = allot(p->yaml, len + 1);
    if (!copy)
        return qb_diag_memory(p->diags);
    memcpy(copy, text, len);
    copy[len] = '\0';
    node->text = copy;
    node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return put_node(p, node);
}

static int put_hole(struct parse *p, struct qb_place at)
{
    struct qb_node *node = new_node(p, QB_NODE_SCALAR, at);

    if (node)
        node->text = "";
    return put_node(p, node);
}

/* Anchors and tags are mistakes but leave the tree as it is, so reading goes on. */
static void refuse_extras(struct parse *p, const void *anchor, const void *tag, struct qb_place at)
{
    if (anchor)
        qb_diag_add(p->diags, QB_M_ALIAS, at, NULL,
                    "anchors (&%.*s) are not supported; write the value out", QUOTED_MAX,
                    (const char *)anchor);
    if (tag)
        qb_diag_add(p->diags, QB_M_TAG, at, NULL, "tags (%.*s) are not supported; leave it out",
                    QUOTED_MAX, (const char *)tag);
}

static int take_event(struct parse *p, const yaml_event_t *e, bool *documents)
{
    struct qb_place at = place_of(&e->start_mark, &e->end_mark);

    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (*documents)
            return qb_diag_add(p->diags, QB_M_DOCUMENTS, at, NULL,
                               "a second document; a manifest is one");
        *documents = true;
        return 0;
    case YAML_SCALAR_EVENT:
        refuse_extras(p, e->data.scalar.anchor, e->data.scalar.tag, at);
        return put_scalar(p, e, at);
    case YAML_SEQUENCE_START_EVENT:
        refuse_extras(p, e->data.sequence_start.anchor, e->data.sequence_start.tag, at);
        return open_collection(p, QB_NODE_SEQUENCE, at);
    case YAML_MAPPING_START_EVENT:
        refuse_extras(p, e->data.mapping_start.anchor, e->data.mapping_start.tag, at);
        return open_collection(p, QB_NODE_MAPPING, at);
    case YAML_ALIAS_EVENT:
        qb_diag_add(p->diags, QB_M_ALIAS, at, NULL,
                    "aliases (*%.*s) are not supported; a pattern that begins with * needs quotes",
                    QUOTED_MAX, (const char *)e->data.alias.anchor);
        p->incomplete = true;
        return put_hole(p, at);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        p->depth--;
        return 0;
    default:
        return 0;
    }
}

static int syntax_mistake(struct parse *p)
{
    const yaml_parser_t *y = &p->parser;

    if (y->error == YAML_MEMORY_ERROR)
        return qb_diag_memory(p->diags);
    return qb_syntax_mistake(p->diags,
                             &(struct qb_syntax){.text = p->text,
                                                 .problem = y->problem ? y->problem : "not YAML",
                                                 .context = y->context ? y->context : "",
                                                 .line = y->problem_mark.line,
                                                 .column = y->problem_mark.column,
                                                 .from_line = y->context_mark.line,
                                                 .from_column = y->context_mark.column});
}

static int read_events(struct parse *p)
{
    bool documents = false, more = true;
    yaml_event_t event;

    while (more) {
        int rc;

        if (!yaml_parser_parse(&p->parser, &event))
            return syntax_mistake(p);
        more = event.type != YAML_STREAM_END_EVENT;
        rc = take_event(p, &event, &documents);
        yaml_event_delete(&event);
        if (rc < 0)
            return -1;
    }
    if (!p->yaml->root)
        return qb_diag_add(p->diags, QB_M_DOCUMENTS, (struct qb_place){1, 1, 1}, NULL,
                           "the manifest is empty; it begins with \"version: 1\"");
    return 0;
}

int qb_yaml_parse(struct qb_yaml *yaml, struct qb_diags *diags)
{
    struct parse p = {.yaml = yaml, .diags = diags};
    const char *text = diags->source;
    size_t len = diags->source_len;
    int rc;

    *yaml = (struct qb_yaml){0};
    if (qb_source_check(diags) < 0)
        return -1;
    if (len >= 3 && memcmp(text, QB_BYTE_ORDER_MARK, 3) == 0) {
        text += 3;
        len -= 3;
    }
    if (!yaml_parser_initialize(&p.parser))
        return qb_diag_memory(diags);
    p.text = text;
    yaml_parser_set_encoding(&p.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p.parser, (const unsigned char *)text, len);
    rc = read_events(&p);
    yaml_parser_delete(&p.parser);
    return p.incomplete ? -1 : rc;
}

const char *qb_node_kind_name(const struct qb_node *node)
{
    static const char *const names[] = {"a text", "a list", "a mapping"};

    return names[node->kind];
}

const char *qb_yaml_version(void)
{
    return yaml_get_version_string();
}
