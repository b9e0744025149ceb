/* Reading a journal: what is damaged is told, never guessed at. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "batch/journal.h"

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

static int slurp(const char *path, struct text *out, struct qb_err *err)
{
    FILE *f = fopen(path, "re");
    struct stat st;
    int r = 0;

    if (!f || fstat(fileno(f), &st) < 0) {
        r = fail(path, err);
    } else if (!(out->bytes = malloc((size_t)st.st_size + 1))) {
        r = qb_fail_memory(err);
    } else {
        out->len = fread(out->bytes, 1, (size_t)st.st_size, f);
        if (ferror(f))
            r = fail(path, err);
    }
    if (f)
        fclose(f);
    return r;
}

/* The record of one line, without its newline; false when it is none. */
static bool parse(const char *line, size_t len, struct qb_json *record)
{
    char head[QB_JOURNAL_HEAD];

    if (len < sizeof(head))
        return false;
    qb_journal_sum(line + sizeof(head), len - sizeof(head), head);
    return memcmp(line, head, sizeof(head)) == 0 &&
           qb_json_parse(line + sizeof(head), len - sizeof(head), record);
}

int qb_journal_read(const char *path, qb_journal_fn *fn, void *arg, struct qb_journal_end *end,
                    struct qb_err *err)
{
    QB_AUTO(free_text) struct text t = {0};

    *end = (struct qb_journal_end){0};
    if (slurp(path, &t, err) < 0)
        return -1;
    while (end->length < t.len) {
        const char *line = t.bytes + end->length;
        const char *newline = memchr(line, '\n', t.len - end->length);
        size_t len = newline ? (size_t)(newline - line) : t.len - end->length;
        struct qb_json record;
        int r;

        end->torn = !newline;
        if (end->torn)
            return 0;
        if (!parse(line, len, &record))
            return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "%.250s: line %zu is damaged", path,
                           end->lines + 1);
        r = fn(arg, &record, end->length, err);
        qb_json_drop(&record);
        if (r < 0)
            return -1;
        end->lines++;
        end->length += len + 1;
    }
    return 0;
}

int qb_journal_read_at(const char *path, uint64_t at, qb_journal_fn *fn, void *arg,
                       struct qb_err *err)
{
    QB_AUTO(qb_buf) char *line = NULL;
    FILE *f = fopen(path, "re");
    struct qb_json record;
    size_t room = 0;
    ssize_t len = f && fseeko(f, (off_t)at, SEEK_SET) == 0 ? getline(&line, &room, f) : -1;
    int r;

    if (f)
        fclose(f);
    if (len < 1 || !parse(line, (size_t)len - 1, &record))
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "%.250s: no record at byte %llu", path,
                       (unsigned long long)at);
    r = fn(arg, &record, at, err);
    qb_json_drop(&record);
    return r;
}
