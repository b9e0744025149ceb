/* Composes JSON as text, in one buffer for each object or list.  What it writes is what jansson
 * would, byte for byte: reports are compared, and earlier ones are still read. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "util/base64.h"
#include "util/json.h"
#include "util/json_real.h"
#include "util/json_string.h"
#include "util/text.h"

enum { ROOM_FIRST = 256 /* bytes */ };

static void drop(struct qb_json *o)
{
    free(qb_take(&o->text));
    o->len = o->room = 0;
}

/* Once it lacks something there is no room for more. */
char *qb_json_grow(struct qb_json *o, size_t n)
{
    size_t room = QB_MAX(2 * o->room, QB_MAX(o->len + n, (size_t)ROOM_FIRST));
    char *text = o->whole ? realloc(o->text, room) : NULL;

    if (!text) {
        o->whole = false;
        o->room = o->len;
        return NULL;
    }
    o->text = text;
    o->room = room;
    return text + o->len;
}

static struct qb_json fresh(bool is_list, size_t bytes)
{
    struct qb_json o = {.lists = is_list, .whole = true};
    char *at = qb_json_grow(&o, bytes);

    if (at)
        *at = is_list ? '[' : '{';
    o.len = at != NULL;
    return o;
}

struct qb_json qb_json_object(void)
{
    return fresh(false, 1);
}

struct qb_json qb_json_object_of(size_t bytes)
{
    return fresh(false, bytes);
}

struct qb_json qb_json_list(void)
{
    return fresh(true, 1);
}

/* ---- members --------------------------------------------------------------------------------- */

char *qb_json_digits(char *at, uint64_t n)
{
    char digits[QB_JSON_NUMBER], *first = digits + sizeof(digits);
    size_t len;

    do
        *--first = (char)('0' + n % 10);
    while (n /= 10);
    len = (size_t)(digits + sizeof(digits) - first);
    memcpy(at, first, len);
    return at + len;
}

char *qb_json_hex(char *at, uint64_t n)
{
    return at + snprintf(at, QB_JSON_NUMBER, "\"0x%" PRIx64 "\"", n);
}

void qb_json_signed(struct qb_json *o, const char *key, int64_t n)
{
    char *at = qb_json_member(o, key, QB_JSON_NUMBER);

    if (!at)
        return;
    if (n < 0)
        *at++ = '-';
    qb_json_ends(o, qb_json_digits(at, n < 0 ? -(uint64_t)n : (uint64_t)n));
}

void qb_json_real(struct qb_json *o, const char *key, double d)
{
    char *at = qb_json_member(o, key, QB_JSON_REAL);

    o->whole &= isfinite(d) != 0;
    if (at && isfinite(d))
        qb_json_ends(o, at + qb_json_real_text(d, at));
}

void qb_json_string(struct qb_json *o, const char *key, const char *s)
{
    char *at = qb_json_member(o, key, qb_json_string_room(s));

    if (at)
        qb_json_ends(o, qb_json_string_text(at, s));
}

void qb_json_text(struct qb_json *o, const char *key, const char *s)
{
    if (s && *s)
        qb_json_string(o, key, s);
    else
        qb_json_null(o, key);
}

void qb_json_label(struct qb_json *o, const char *key, const char *s)
{
    char *at =
        qb_json_item(o, qb_json_string_room(key) + 1 + qb_max(qb_json_string_room(s), (size_t)4));

    if (!at)
        return;
    at = qb_json_string_text(at, key);
    *at++ = ':';
    if (*s)
        qb_json_ends(o, qb_json_string_text(at, s));
    else
        qb_json_put(o, at, "null", 4);
}

/* ---- one inside the other -------------------------------------------------------------------- */

static void put_whole(struct qb_json *o, char *at, struct qb_json *child)
{
    o->whole &= child->whole;
    if (child->text)
        qb_json_put(o, at, child->text, child->len);
    drop(child);
}

void qb_json_as_is(struct qb_json *o, const char *key, const char *value, size_t len)
{
    qb_json_put(o, qb_json_member(o, key, len), value, len);
}

void qb_json_child(struct qb_json *o, const char *key, struct qb_json child)
{
    qb_json_close(&child);
    put_whole(o, qb_json_member(o, key, child.len), &child);
}

void qb_json_append(struct qb_json *list, struct qb_json item)
{
    qb_json_close(&item);
    put_whole(list, qb_json_item(list, item.len), &item);
}

void qb_json_append_string(struct qb_json *list, const char *s)
{
    char *at = qb_json_item(list, qb_json_string_room(s));

    if (at)
        qb_json_ends(list, qb_json_string_text(at, s));
}

void qb_json_append_number(struct qb_json *list, uint64_t n)
{
    char *at = qb_json_item(list, QB_JSON_NUMBER);

    if (at)
        qb_json_ends(list, qb_json_digits(at, n));
}

/* ---- paths ----------------------------------------------------------------------------------- */

static void put_base64(struct qb_json *o, const char *key, const char *s)
{
    size_t n = strlen(s), len = qb_base64_len(n);
    char *at = qb_json_member(o, key, len + 2);

    if (!at)
        return;
    at[0] = at[len + 1] = '"';
    qb_base64_write(s, n, at + 1);
    qb_json_ends(o, at + len + 2);
}

void qb_json_path_of(struct qb_json *o, const char *key, const char *path)
{
    char bytes[64];

    qb_json_string(o, key, path);
    if (qb_text_is_utf8(path))
        return;
    snprintf(bytes, sizeof(bytes), "%s_bytes_base64", key);
    put_base64(o, bytes, path);
}

void qb_json_path(struct qb_json *o, const char *path)
{
    qb_json_path_of(o, "path", path);
}

/* ---- lines ----------------------------------------------------------------------------------- */

char *qb_json_take(struct qb_json o, size_t *len)
{
    qb_json_close(&o);
    qb_json_put(&o, qb_json_room(&o, 2), "\n", 2);
    if (!o.whole) {
        drop(&o);
        errno = ENOMEM;
        return NULL;
    }
    *len = o.len - 1;
    return o.text;
}

/* The text from its byte `from` on, less `less` bytes at its end. */
static int write_line(FILE *f, struct qb_json o, size_t from, size_t less)
{
    size_t len = 0;
    QB_AUTO(qb_buf) char *text = qb_json_take(o, &len);

    if (!text)
        return -1;
    len -= from + less;
    errno = 0;
    if (fwrite(text + from, 1, len, f) == len)
        return 0;
    errno = errno ? errno : EIO;
    return -1;
}

int qb_json_line(FILE *f, struct qb_json o)
{
    return write_line(f, o, 0, 0);
}

int qb_json_begin(FILE *f, struct qb_json o, const char *list)
{
    if (write_line(f, o, 0, 2) < 0)
        return -1;
    return fprintf(f, ",\"%s\":[", list) < 0 ? -1 : 0;
}

int qb_json_end(FILE *f, struct qb_json o)
{
    if (fputs("],", f) == EOF) {
        drop(&o);
        return -1;
    }
    return write_line(f, o, 1, 0);
}
