#include "util/json_read.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "util/base64.h"

bool qb_json_parse(const char *text, size_t len, struct qb_parsed *out)
{
    *out = (struct qb_parsed){.value = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL)};
    if (json_is_object((json_t *)out->value))
        return true;
    qb_json_drop(out);
    return false;
}

void qb_json_drop(struct qb_parsed *o)
{
    json_decref(o->value);
    o->value = NULL;
}

const char *qb_json_get_text(const struct qb_parsed *o, const char *key)
{
    return json_string_value(json_object_get(o->value, key));
}

uint64_t qb_json_get_number(const struct qb_parsed *o, const char *key, uint64_t otherwise)
{
    const json_t *v = json_object_get(o->value, key);

    return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v)
                                                            : otherwise;
}

bool qb_json_get_bool(const struct qb_parsed *o, const char *key)
{
    return json_is_true(json_object_get(o->value, key));
}

int64_t qb_json_get_signed(const struct qb_parsed *o, const char *key)
{
    return json_integer_value(json_object_get(o->value, key));
}

double qb_json_get_real(const struct qb_parsed *o, const char *key)
{
    return json_number_value(json_object_get(o->value, key));
}

bool qb_json_has(const struct qb_parsed *o, const char *key)
{
    return json_object_get(o->value, key) != NULL;
}

void qb_json_each_text(const struct qb_parsed *o,
                       void (*fn)(void *arg, const char *key, const char *text), void *arg)
{
    const char *key;
    json_t *value;

    json_object_foreach(o->value, key, value) if (json_is_string(value))
        fn(arg, key, json_string_value(value));
}

void qb_json_each_object(const struct qb_parsed *o, const char *key,
                         void (*fn)(void *arg, const struct qb_parsed *item), void *arg)
{
    const json_t *list = json_object_get(o->value, key);

    for (size_t i = 0; i < json_array_size(list); i++) { /* 0 of what is no list */
        const struct qb_parsed item = {.value = json_array_get(list, i)};

        if (json_is_object((json_t *)item.value))
            fn(arg, &item);
    }
}

bool qb_json_each_item(const struct qb_parsed *o, const char *key,
                       bool (*fn)(void *arg, const char *text), void *arg)
{
    const json_t *list = json_object_get(o->value, key);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));

        if (!text || !fn(arg, text))
            return false;
    }
    return true;
}

size_t qb_json_count(const struct qb_parsed *o)
{
    return json_object_size(o->value);
}

size_t qb_json_list_count(const struct qb_parsed *o, const char *key)
{
    return json_array_size(json_object_get(o->value, key));
}

struct qb_parsed qb_json_get_child(const struct qb_parsed *o, const char *key)
{
    json_t *child = json_object_get(o->value, key);

    return (struct qb_parsed){.value = json_is_object(child) ? child : NULL};
}

bool qb_json_get_bytes(const struct qb_parsed *o, const char *key, void *out, size_t n)
{
    const char *encoded = qb_json_get_text(o, key);
    size_t got = 0;

    return encoded && qb_base64_read(encoded, out, n, &got) == 0 && got == n;
}

char *qb_json_get_path_of(const struct qb_parsed *o, const char *key)
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

char *qb_json_get_path(const struct qb_parsed *o)
{
    return qb_json_get_path_of(o, "path");
}

int qb_parsed_line(FILE *f, const struct qb_parsed *o)
{
    errno = 0;
    if (json_dumpf(o->value, f, JSON_COMPACT | JSON_REAL_PRECISION(6)) == 0 &&
        fputc('\n', f) != EOF)
        return 0;
    errno = errno ? errno : ENOMEM;
    return -1;
}

const char *qb_json_version(void)
{
    return JANSSON_VERSION;
}
