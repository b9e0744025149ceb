#include "chain/backing_name.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "qcow2/disk.h"

enum { DEPTH_MAX = 8, KEY_MAX = 128 };

/* What a json: name says, with nested objects as dotted keys.  The texts are those of `root`. */
struct described {
    json_t *root;
    const char *driver, *file_driver, *filename; /* NULL: not given */
    bool odd; /* an option that may change what is read, or that is given twice */
};

/* Options that do not change what is read. */
static const char *const neutral[] = {
    "node-name",     "read-only",      "auto-read-only",      "discard",
    "detect-zeroes", "file.node-name", "file.read-only",      "file.auto-read-only",
    "file.discard",  "file.aio",       "file.locking",        "file.detect-zeroes",
    "cache.direct",  "cache.no-flush", "file.cache.no-flush", "file.cache.direct",
};

static void set_once(struct described *d, const char **to, const json_t *value)
{
    const char *text = json_string_value(value);

    if (!text || !text[0] || *to)
        d->odd = true;
    *to = text;
}

static bool is_neutral(const char *key)
{
    for (size_t i = 0; i < sizeof(neutral) / sizeof(neutral[0]); i++)
        if (strcmp(key, neutral[i]) == 0)
            return true;
    return false;
}

static void note(struct described *d, const char *key, const json_t *value)
{
    if (strcmp(key, "driver") == 0)
        set_once(d, &d->driver, value);
    else if (strcmp(key, "file.driver") == 0)
        set_once(d, &d->file_driver, value);
    else if (strcmp(key, "file.filename") == 0)
        set_once(d, &d->filename, value);
    else
        d->odd |= !is_neutral(key) || json_is_array(value);
}

/* NOLINTNEXTLINE(misc-no-recursion): at most DEPTH_MAX deep */
static void note_members(struct described *d, const char *prefix, json_t *object, unsigned depth)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        char key[KEY_MAX];
        int n = snprintf(key, sizeof(key), "%s%s%s", prefix, prefix[0] ? "." : "", name);

        if (n < 0 || (size_t)n >= sizeof(key) || depth == DEPTH_MAX)
            d->odd = true;
        else if (json_is_object(value))
            note_members(d, key, value, depth + 1);
        else
            note(d, key, value);
    }
}

/* False where the text is not one object, or names a member twice.  QEMU takes single quotes, too:
 * such a name counts as not local. */
static bool describe(const char *text, struct described *d)
{
    *d = (struct described){.root = json_loads(text, JSON_REJECT_DUPLICATES, NULL)};
    if (!json_is_object(d->root))
        return false;
    note_members(d, "", d->root, 0);
    return true;
}

static bool is_plain_file(const struct described *d)
{
    return !d->odd && d->filename && d->filename[0] == '/' &&
           (!d->file_driver || strcmp(d->file_driver, "file") == 0 ||
            strcmp(d->file_driver, "host_device") == 0);
}

static const char *known_format(const char *driver)
{
    return strcmp(driver, "qcow2") == 0 ? "qcow2" : strcmp(driver, "raw") == 0 ? "raw" : NULL;
}

static int fail_not_local(const char *name, struct qb_err *err)
{
    return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, "the backing file %s is not a local path",
                   name);
}

static int locate_described(const struct described *d, const char *fmt, char **path,
                            const char **as, bool *found)
{
    const char *says = d->driver ? known_format(d->driver) : "";

    *as = fmt[0] ? fmt : says;
    *found = is_plain_file(d) && *as;
    if (!*found)
        return 0;
    *path = strdup(d->filename);
    return *path ? 0 : -1;
}

/* The path and format of a name that begins with json: */
static int locate_json(const char *name, const char *fmt, char **path, const char **as,
                       struct qb_err *err)
{
    struct described d;
    bool found = false;
    int r = 0;

    if (describe(name + 5, &d))
        r = locate_described(&d, fmt, path, as, &found);
    json_decref(d.root);
    if (r < 0)
        return qb_fail_memory(err);
    return found ? 0 : fail_not_local(name, err);
}

static bool has_protocol(const char *name)
{
    return name[strcspn(name, ":/")] == ':';
}

/* The path, malloc'ed, of a name that is one. */
static char *path_of(const char *image_path, const char *name)
{
    const char *slash = strrchr(image_path, '/');
    int before = name[0] == '/' || !slash ? 0 : (int)(slash + 1 - image_path);
    char *path;

    return asprintf(&path, "%.*s%s", before, image_path, name) < 0 ? NULL : path;
}

int qb_backing_locate(const char *image_path, const char *name, const char *fmt, char **path,
                      const char **as, struct qb_err *err)
{
    *path = NULL;
    *as = fmt;
    if (strncmp(name, "json:", 5) == 0)
        return locate_json(name, fmt, path, as, err);
    if (strncmp(name, "file:/", 6) == 0)
        name += 5;
    else if (has_protocol(name))
        return fail_not_local(name, err);
    *path = path_of(image_path, name);
    return *path ? 0 : qb_fail_memory(err);
}

char *qb_backing_full(const char *image_path, const char *name)
{
    return has_protocol(name) ? strdup(name) : path_of(image_path, name);
}

/* ---- what a text may have inside --------------------------------------------------------------
 */

static unsigned hex4(const char *at)
{
    unsigned value = 0;

    for (size_t i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *found = at[i] ? strchr(digits, at[i]) : NULL;

        if (!found)
            return 0;
        value = value << 4 | (unsigned)(found - digits) % 16;
    }
    return value;
}

static char *put_utf8(char *to, unsigned c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* The character of the escape at *at, which moves past it; 0: it is none, or NUL. */
static unsigned take_escape(const char **at)
{
    static const char names[] = "bfnrt", means[] = "\b\f\n\r\t";
    const char *s = *at, *name;
    unsigned c, low;

    if (s[1] == 'u') {
        c = hex4(s + 2);
        *at = c ? s + 6 : s + 2;
        low = c >= 0xd800 && c < 0xdc00 && s[6] == '\\' && s[7] == 'u' ? hex4(s + 8) : 0;
        if (low < 0xdc00 || low >= 0xe000)
            return c;
        *at = s + 12;
        return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    name = s[1] ? strchr(names, s[1]) : NULL;
    *at = s[1] ? s + 2 : s + 1;
    return name ? (unsigned char)means[name - names] : (unsigned char)s[1];
}

/* The text with the escapes of JSON undone wherever they are: it has each string inside that a
 * reader would find, whatever quotes and grammar that reader takes. */
static char *without_escapes(const char *text)
{
    char *out = malloc(strlen(text) + 1), *to = out;

    while (out && *text) {
        unsigned c;

        if (*text != '\\') {
            *to++ = *text++;
            continue;
        }
        c = take_escape(&text);
        if (c)
            to = put_utf8(to, c);
    }
    if (out)
        *to = '\0';
    return out;
}

bool qb_backing_may_name(const char *name, const char *last)
{
    QB_AUTO(qb_buf) char *plain = NULL;

    if (strstr(name, last))
        return true;
    if (strncmp(name, "json:", 5) != 0)
        return false;
    plain = without_escapes(name + 5);
    return !plain || strstr(plain, last);
}
