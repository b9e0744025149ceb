#include "manifest/manifest_text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/own.h"
#include "base/crc32.h"
#include "util/slow_input.h"
#include "util/text.h"
#include "manifest/yaml.h"

enum { BAD_BYTES_MAX = 20, READ_AT_LEAST = 4096 };

typedef QB_VEC(char) text_vec;

static void free_text(text_vec *v)
{
    qb_vec_free(v);
}

/* Reads all of fd and appends a NUL.  0, or an errno. */
static int read_all(int fd, text_vec *v)
{
    for (;;) {
        ssize_t n;

        if (v->n > QB_YAML_MAX_BYTES)
            return EFBIG;
        while (v->cap < v->n + READ_AT_LEAST)
            if (!qb_vec_room(&v->items, v->cap, &v->cap, 1))
                return ENOMEM;
        n = qb_incoming_read(fd, v->items + v->n, v->cap - v->n - 1);
        if (n == 0)
            break;
        if (n < 0)
            return errno;
        v->n += (size_t)n;
    }
    v->items[v->n] = '\0';
    return 0;
}

int qb_source_load(const char *path, struct qb_diags *diags)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = qb_incoming_open(path);
    const char *name = is_stdin ? "<stdin>" : path;
    QB_AUTO(free_text) text_vec v = {0};
    int errnum = fd < 0 ? errno : read_all(fd, &v);
    size_t len = v.n;

    qb_incoming_close(fd);
    if (errnum) {
        qb_diags_init(diags, name, NULL, 0);
        if (errnum == EFBIG)
            return qb_diag_add(diags, QB_M_TOO_BIG, (struct qb_place){0}, NULL,
                               "a manifest of more than %d MiB", QB_YAML_MAX_BYTES >> 20);
        return qb_diag_add(diags, QB_M_FILE, (struct qb_place){0}, NULL, "cannot read it: %s",
                           strerror(errnum));
    }
    return qb_diags_init(diags, name, qb_take(&v.items), len);
}

void qb_source_print(const struct qb_diags *diags, char out[QB_SOURCE_PRINT])
{
    snprintf(out, QB_SOURCE_PRINT, "%08x-%zu", qb_crc32(0, diags->source, diags->source_len),
             diags->source_len);
}

/* What is wrong with the character at `s`, or NULL.  Line ends that only some programs accept would
 * make line numbers differ from those of an editor. */
static const char *complaint(const char *s, size_t len, const char *end)
{
    const unsigned char *u = (const unsigned char *)s;

    if (len == 0)
        return "not UTF-8";
    if (len == 1 && u[0] == '\r' && (end - s < 2 || s[1] != '\n'))
        return "a carriage return without a line feed";
    if (len == 1 && ((u[0] < 0x20 && !strchr("\t\n\r", u[0])) || u[0] == 0x7f))
        return "a control character";
    if (len == 2 && u[0] == 0xc2 && u[1] < 0xa0)
        return "a control character";
    if (len == 3 && (memcmp(s, "\xe2\x80\xa8", 3) == 0 || memcmp(s, "\xe2\x80\xa9", 3) == 0))
        return "a line separator that is not a line feed";
    if (len == 3 && (memcmp(s, "\xef\xbb\xbf", 3) == 0 || memcmp(s, "\xef\xbf\xbe", 3) >= 0) &&
        u[0] == 0xef)
        return "a character that text does not have";
    return NULL;
}

static bool is_ascii(char c)
{
    return c != '\0' && (unsigned char)c < 0x80;
}

/* Whether the first four characters, 8 bytes, are ASCII in UTF-16 of either byte order. */
static bool is_utf16_without_mark(const char *s)
{
    size_t little = 0, big = 0;

    for (size_t i = 0; i < 8; i += 2) {
        little += is_ascii(s[i]) && s[i + 1] == '\0';
        big += s[i] == '\0' && is_ascii(s[i + 1]);
    }
    return little == 4 || big == 4;
}

/* Recognises a file that is not text at all, for one message instead of one for each byte. */
static const char *other_kind(const char *s, size_t len)
{
    if (len >= 4 && memcmp(s, "QFI\xfb", 4) == 0)
        return "this is a qcow2 image, not a manifest; for images: qbatch amend -o KEY=VALUE "
               "IMAGE...";
    if (len >= 2 && (memcmp(s, "\xff\xfe", 2) == 0 || memcmp(s, "\xfe\xff", 2) == 0))
        return "this is UTF-16 or UTF-32; a manifest is UTF-8: save it as UTF-8";
    if (len >= 8 && is_utf16_without_mark(s))
        return "this looks like UTF-16 without a byte order mark; a manifest is UTF-8: save it as "
               "UTF-8";
    if (memchr(s, 0, QB_MIN(len, (size_t)512)))
        return "this is not text, and so not a manifest";
    return NULL;
}

/* The text ends with a NUL, so no character extends past its end. */
int qb_source_check(struct qb_diags *diags)
{
    const char *s = diags->source, *end = s + diags->source_len;
    struct qb_place at = {1, 1, 1};
    unsigned found = 0;

    if (other_kind(s, diags->source_len)) {
        qb_diag_add(diags, QB_M_UTF8, (struct qb_place){0}, NULL, "%s",
                    other_kind(s, diags->source_len));
        return -1;
    }
    if (end - s >= 3 && memcmp(s, QB_BYTE_ORDER_MARK, 3) == 0)
        s += 3;
    for (; s < end && found < BAD_BYTES_MAX; at.column++) {
        size_t n = *s ? qb_text_utf8(s) : 1;
        const char *what = complaint(s, n, end);

        if (what) {
            char byte[16] = "";

            if (n < 2)
                snprintf(byte, sizeof(byte), " (byte 0x%02x)", (unsigned char)*s);
            qb_diag_add(diags, n ? QB_M_CONTROL : QB_M_UTF8, at, NULL, "%s%s", what, byte);
            found++;
        }
        if (*s == '\n')
            at = (struct qb_place){at.line + 1, 0, 1};
        s += QB_MAX(n, 1);
    }
    return found ? -1 : 0;
}
