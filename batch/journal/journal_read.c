/* Reads a journal: distinguishes a power cut from damage, and never guesses lost records. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "base/own.h"
#include "journal/journal.h"

static const char synced_is[] = "{\"is\":\"synced\"";

static int fail(const char *path, struct qb_err *err)
{
    return qb_fail_sys(err, errno, QB_NOWHERE, "%.250s: cannot read the journal", path);
}

struct text {
    char *bytes;
    size_t len;
};

static void free_text(struct text *t)
{
    free(t->bytes);
}

static int slurp(int fd, const char *path, struct text *out, struct qb_err *err)
{
    struct stat st;
    ssize_t n = 1;

    if (fstat(fd, &st) < 0)
        return fail(path, err);
    out->bytes = malloc((size_t)st.st_size + 1);
    if (!out->bytes)
        return qb_fail_memory(err);
    while (n > 0 && out->len < (size_t)st.st_size) {
        n = pread(fd, out->bytes + out->len, (size_t)st.st_size - out->len, (off_t)out->len);
        if (n < 0)
            return fail(path, err);
        out->len += (size_t)n;
    }
    return 0;
}

/* ---- lines ----------------------------------------------------------------------------------- */

struct line {
    const char *text;
    size_t len; /* without its newline */
    size_t size;
    bool torn; /* it has none */
};

static struct line line_at(const char *text, size_t n)
{
    const char *newline = memchr(text, '\n', n);
    size_t len = newline ? (size_t)(newline - text) : n;

    return (struct line){text, len, len + (newline != NULL), !newline};
}

static bool is_blank(const struct line *l)
{
    size_t n = 0;

    while (n < l->len && l->text[n] == ' ')
        n++;
    return n == l->len && !l->torn;
}

static bool sum_is_right(const struct line *l)
{
    char head[QB_JOURNAL_HEAD];

    if (l->torn || l->len < sizeof(head))
        return false;
    qb_journal_sum(l->text + sizeof(head), l->len - sizeof(head), head);
    return memcmp(l->text, head, sizeof(head)) == 0;
}

/* The record of a line; false where it is not valid in a journal whose records have this tag. */
static bool parse(const struct line *l, const char *tag, struct qb_parsed *record)
{
    const char *of;

    if (!sum_is_right(l) ||
        !qb_json_parse(l->text + QB_JOURNAL_HEAD, l->len - QB_JOURNAL_HEAD, record))
        return false;
    of = qb_json_get_text(record, "of");
    if (!*tag || !of || strcmp(of, tag) == 0)
        return true;
    qb_json_drop(record);
    return false;
}

/* The tag of the records is that of the first one; `tag` stays where that is not there. */
static void find_tag(const struct text *t, char tag[8])
{
    struct line first = line_at(t->bytes, t->len);
    struct qb_parsed record;
    const char *of;

    if (!parse(&first, "", &record))
        return;
    of = qb_json_get_text(&record, "of");
    snprintf(tag, 8, "%s", of ? of : "");
    qb_json_drop(&record);
}

/* The greatest offset that a valid record, wherever it is, names as synced.  A record can only name
 * an offset before itself. */
static uint64_t find_synced(const struct text *t, const char *tag)
{
    const size_t head = QB_JOURNAL_HEAD, is = sizeof(synced_is) - 1;
    uint64_t synced = 0;
    struct line l;

    for (size_t at = 0; at < t->len; at += l.size) {
        struct qb_parsed record;

        l = line_at(t->bytes + at, t->len - at);
        if (l.len < head + is || memcmp(l.text + head, synced_is, is) != 0 ||
            !parse(&l, tag, &record))
            continue;
        synced = qb_max(synced, qb_min(qb_json_get_number(&record, "length", 0), (uint64_t)at));
        qb_json_drop(&record);
    }
    while (synced > 0 && t->bytes[synced - 1] != '\n') /* of a journal that was edited */
        synced--;
    return synced;
}

/* Whether the record is about the journal, and not for the reader. */
static bool is_own(const struct qb_parsed *record, struct qb_journal_end *end)
{
    const char *is = qb_json_get_text(record, "is");
    bool cut = is && strcmp(is, "cut") == 0;

    end->cuts += cut;
    return cut || (is && strcmp(is, "synced") == 0);
}

/* ---- all of it ------------------------------------------------------------------------------- */

int qb_journal_read_fd(int fd, const char *path, qb_journal_fn *fn, void *arg, char tag[8],
                       struct qb_journal_end *end, struct qb_err *err)
{
    QB_AUTO(free_text) struct text t = {0};
    bool cut = false;
    size_t number = 1;
    struct line l;

    *end = (struct qb_journal_end){0};
    if (slurp(fd, path, &t, err) < 0)
        return -1;
    find_tag(&t, tag);
    end->synced = find_synced(&t, tag);
    for (size_t at = 0; at < t.len; at += l.size, number++) {
        struct qb_parsed record;
        int r = 0;

        l = line_at(t.bytes + at, t.len - at);
        end->torn = l.torn;
        if (is_blank(&l)) {
            end->length = at + l.size;
            continue;
        }
        if (!parse(&l, tag, &record)) {
            if (at < end->synced)
                return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "%.250s: line %zu is damaged", path,
                               number);
            end->cuts += !cut;
            cut = true;
            continue;
        }
        cut = false;
        if (!is_own(&record, end))
            r = fn(arg, &record, at, err);
        qb_json_drop(&record);
        if (r < 0)
            return -1;
        end->lines++;
        end->length = at + l.size;
    }
    return 0;
}

int qb_journal_read(const char *path, qb_journal_fn *fn, void *arg, struct qb_journal_end *end,
                    struct qb_err *err)
{
    int fd = qb_journal_open(path, O_RDONLY, err), r;
    char tag[8] = "";

    *end = (struct qb_journal_end){0};
    if (fd < 0)
        return -1;
    r = qb_journal_read_fd(fd, path, fn, arg, tag, end, err);
    close(fd);
    return r;
}

void qb_journal_mend(char *text, size_t n, const char *tag)
{
    size_t bad = 0, at = 0; /* [bad, at) is not valid */
    struct line l;

    for (; at < n; at += l.size) {
        struct qb_parsed record;

        l = line_at(text + at, n - at);
        if (!parse(&l, tag, &record))
            continue;
        qb_json_drop(&record);
        if (bad < at)
            qb_journal_fill(text + bad, at - bad, tag);
        bad = at + l.size;
    }
    if (bad < n)
        qb_journal_fill(text + bad, n - bad, tag);
}

/* The line that begins at byte `at`, malloc'ed, and its length; NULL where there is none. */
static char *read_line(int fd, uint64_t at, size_t *len)
{
    size_t room = 4096, used = 0;
    char *text = malloc(room), *end = NULL;
    ssize_t got = text ? 1 : 0;

    while (got > 0 && !end) {
        char *more = used < room ? text : realloc(text, room *= 2);

        if (!more)
            break;
        text = more;
        got = pread(fd, text + used, room - used, (off_t)(at + used));
        end = got > 0 ? memchr(text + used, '\n', (size_t)got) : NULL;
        used += got > 0 ? (size_t)got : 0;
    }
    if (end) {
        *len = (size_t)(end + 1 - text);
        return text;
    }
    free(text);
    return NULL;
}

int qb_journal_read_from(int fd, const char *path, uint64_t at, qb_journal_fn *fn, void *arg,
                         struct qb_err *err)
{
    size_t len = 0;
    QB_AUTO(qb_buf) char *text = read_line(fd, at, &len);
    struct line l = line_at(text ? text : "", len);
    struct qb_parsed record;
    int r;

    if (!parse(&l, "", &record))
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "%.250s: no record at byte %llu", path,
                       (unsigned long long)at);
    r = fn(arg, &record, at, err);
    qb_json_drop(&record);
    return r;
}

int qb_journal_read_at(const char *path, uint64_t at, qb_journal_fn *fn, void *arg,
                       struct qb_err *err)
{
    int fd = qb_journal_open(path, O_RDONLY, err);
    int r = fd < 0 ? -1 : qb_journal_read_from(fd, path, at, fn, arg, err);

    if (fd >= 0)
        close(fd);
    return r;
}
