#include "util/json.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "util/base64.h"
#include "util/text.h"

struct qb_json qb_json_object(void)
{
    return (struct qb_json){.value = json_object(), .whole = true};
}

struct qb_json qb_json_list(void)
{
    return (struct qb_json){.value = json_array(), .whole = true};
}

/* jansson's setters take their value over and fail on NULL, of the object as of the value. */
static void put(struct qb_json *o, const char *key, json_t *value)
{
    if (json_object_set_new_nocheck(o->value, key, value) < 0)
        o->whole = false;
}

void qb_json_null(struct qb_json *o, const char *key)
{
    put(o, key, json_null());
}

void qb_json_bool(struct qb_json *o, const char *key, bool b)
{
    put(o, key, json_boolean(b));
}

/* JSON's integers are signed 64 bits here; larger values (a damaged offset) are written in hex. */
void qb_json_number(struct qb_json *o, const char *key, uint64_t n)
{
    char hex[24];

    if (n <= INT64_MAX) {
        put(o, key, json_integer((json_int_t)n));
        return;
    }
    snprintf(hex, sizeof(hex), "0x%llx", (unsigned long long)n);
    put(o, key, json_string(hex));
}

void qb_json_signed(struct qb_json *o, const char *key, int64_t n)
{
    put(o, key, json_integer(n));
}

void qb_json_real(struct qb_json *o, const char *key, double d)
{
    put(o, key, json_real(d));
}

static bool is_utf8(const char *s)
{
    for (size_t len; *s; s += len)
        if ((len = qb_text_utf8(s)) == 0)
            return false;
    return true;
}

/* The string with every byte that is not UTF-8 replaced. */
static json_t *text(const char *s)
{
    QB_AUTO(qb_buf) char *fixed = NULL;
    size_t used = 0;

    if (is_utf8(s))
        return json_string(s);
    fixed = malloc(3 * strlen(s) + 1);
    if (!fixed)
        return NULL;
    while (*s) {
        size_t len = qb_text_utf8(s);

        memcpy(fixed + used, len ? s : "\xef\xbf\xbd", len ? len : 3);
        used += len ? len : 3;
        s += QB_MAX(len, 1);
    }
    return json_stringn(fixed, used);
}

void qb_json_text(struct qb_json *o, const char *key, const char *s)
{
    put(o, key, s && *s ? text(s) : json_null());
}

void qb_json_string(struct qb_json *o, const char *key, const char *s)
{
    put(o, key, text(s));
}

void qb_json_child(struct qb_json *o, const char *key, struct qb_json child)
{
    o->whole &= child.whole;
    put(o, key, child.value);
}

void qb_json_append(struct qb_json *list, struct qb_json item)
{
    list->whole &= item.whole;
    if (json_array_append_new(list->value, item.value) < 0)
        list->whole = false;
}

void qb_json_append_string(struct qb_json *list, const char *s)
{
    if (json_array_append_new(list->value, text(s)) < 0)
        list->whole = false;
}

static json_t *base64(const char *s)
{
    size_t n = strlen(s);
    QB_AUTO(qb_buf) char *out = malloc(qb_base64_len(n) + 1);

    if (!out)
        return NULL;
    qb_base64_write(s, n, out);
    return json_stringn(out, qb_base64_len(n));
}

void qb_json_path_of(struct qb_json *o, const char *key, const char *path)
{
    char bytes[64];

    put(o, key, text(path));
    snprintf(bytes, sizeof(bytes), "%s_bytes_base64", key);
    if (!is_utf8(path))
        put(o, bytes, base64(path));
}

void qb_json_path(struct qb_json *o, const char *path)
{
    qb_json_path_of(o, "path", path);
}

/* The members of the object, between other texts. */
static int write_members(FILE *f, struct qb_json o, const char *before, const char *after)
{
    QB_AUTO(qb_buf) char *members = o.whole ? json_dumps(o.value, JSON_COMPACT) : NULL;

    json_decref(o.value);
    if (!members) {
        errno = ENOMEM;
        return -1;
    }
    return fprintf(f, "%s%.*s%s", before, (int)strlen(members) - 2, members + 1, after) < 0 ? -1
                                                                                            : 0;
}

int qb_json_begin(FILE *f, struct qb_json o, const char *list)
{
    if (write_members(f, o, "{", ",") < 0)
        return -1;
    return fprintf(f, "\"%s\":[", list) < 0 ? -1 : 0;
}

int qb_json_end(FILE *f, struct qb_json o)
{
    return write_members(f, o, "],", "}\n");
}

int qb_json_line(FILE *f, struct qb_json o)
{
    int failed;

    errno = 0;
    failed = !o.whole || json_dumpf(o.value, f, JSON_COMPACT | JSON_REAL_PRECISION(6)) < 0 ||
             fputc('\n', f) == EOF;
    json_decref(o.value);
    if (failed && errno == 0)
        errno = ENOMEM;
    return failed ? -1 : 0;
}

/* ---- reading --------------------------------------------------------------------------------- */

bool qb_json_parse(const char *text, size_t len, struct qb_json *out)
{
    *out = (struct qb_json){.value = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL)};
    out->whole = json_is_object((json_t *)out->value);
    if (!out->whole)
        qb_json_drop(out);
    return out->whole;
}

void qb_json_drop(struct qb_json *o)
{
    json_decref(o->value);
    o->value = NULL;
}

const char *qb_json_get_text(const struct qb_json *o, const char *key)
{
    return json_string_value(json_object_get(o->value, key));
}

uint64_t qb_json_get_number(const struct qb_json *o, const char *key, uint64_t otherwise)
{
    const json_t *v = json_object_get(o->value, key);

    return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v)
                                                            : otherwise;
}

bool qb_json_get_bool(const struct qb_json *o, const char *key)
{
    return json_is_true(json_object_get(o->value, key));
}

int64_t qb_json_get_signed(const struct qb_json *o, const char *key)
{
    return json_integer_value(json_object_get(o->value, key));
}

double qb_json_get_real(const struct qb_json *o, const char *key)
{
    return json_number_value(json_object_get(o->value, key));
}

bool qb_json_has(const struct qb_json *o, const char *key)
{
    return json_object_get(o->value, key) != NULL;
}

void qb_json_each_text(const struct qb_json *o,
                       void (*fn)(void *arg, const char *key, const char *text), void *arg)
{
    const char *key;
    json_t *value;

    json_object_foreach(o->value, key, value) if (json_is_string(value))
        fn(arg, key, json_string_value(value));
}

struct qb_json qb_json_get_child(const struct qb_json *o, const char *key)
{
    json_t *child = json_object_get(o->value, key);

    return (struct qb_json){.value = json_is_object(child) ? child : NULL, .whole = true};
}

bool qb_json_get_bytes(const struct qb_json *o, const char *key, void *out, size_t n)
{
    const char *encoded = qb_json_get_text(o, key);
    size_t got = 0;

    return encoded && qb_base64_read(encoded, out, n, &got) == 0 && got == n;
}

char *qb_json_get_path_of(const struct qb_json *o, const char *key)
{
    char bytes[64];
    const char *plain = qb_json_get_text(o, key), *encoded;
    size_t n;
    char *path;

    snprintf(bytes, sizeof(bytes), "%s_bytes_base64", key);
    encoded = qb_json_get_text(o, bytes);
    n = encoded ? strlen(encoded) : 0;
    path = !encoded ? plain ? strdup(plain) : NULL : malloc(n + 1);
    if (!encoded || !path)
        return path;
    if (qb_base64_read(encoded, path, n, &n) < 0)
        return free(path), NULL;
    path[n] = '\0';
    return path;
}

char *qb_json_get_path(const struct qb_json *o)
{
    return qb_json_get_path_of(o, "path");
}

const char *qb_json_version(void)
{
    return JANSSON_VERSION;
}
