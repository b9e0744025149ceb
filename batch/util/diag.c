#include "util/diag.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "util/character.h"
#include "util/text.h"

enum {
    KEPT_MAX = 1000,    /* mistakes; the rest are counted */
    WINDOW = 120,       /* characters of a long line that are shown */
    WINDOW_BEFORE = 50, /* of them, before the place */
};

int qb_diags_init(struct qb_diags *diags, const char *file, char *source, size_t source_len)
{
    *diags = (struct qb_diags){.file = strdup(file), .source = source, .source_len = source_len};
    return diags->file ? 0 : qb_diag_memory(diags);
}

void qb_diags_free(struct qb_diags *diags)
{
    qb_vec_each (d, &diags->list)
        free(d->text);
    qb_vec_free(&diags->list);
    free(diags->file);
    free(diags->source);
    *diags = (struct qb_diags){0};
}

size_t qb_diags_count(const struct qb_diags *diags)
{
    return diags->list.n - diags->notes + diags->lost;
}

void qb_diag_is_note(struct qb_diags *diags)
{
    struct qb_diag *last = diags->list.n ? &diags->list.items[diags->list.n - 1] : NULL;

    if (!last || diags->lost || last->is_note)
        return;
    last->is_note = true;
    diags->notes++;
}

int qb_diag_add(struct qb_diags *diags, enum qb_mistake code, struct qb_place at,
                const char *did_you_mean, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    if (diags->list.n < KEPT_MAX) {
        va_start(args, fmt);
        if (vasprintf(&text, fmt, args) < 0)
            text = NULL;
        va_end(args);
    }
    if (!text ||
        !qb_vec_push(
            &diags->list,
            (struct qb_diag){.code = code, .at = at, .text = text, .did_you_mean = did_you_mean})) {
        free(text);
        diags->lost++;
    }
    return -1;
}

int qb_diag_memory(struct qb_diags *diags)
{
    return qb_diag_add(diags, QB_M_MEMORY, (struct qb_place){0}, NULL, "out of memory");
}

static int by_place(const void *a, const void *b)
{
    const struct qb_diag *const *x = a, *const *y = b;
    const struct qb_place *p = &(*x)->at, *q = &(*y)->at;

    if (p->line != q->line)
        return p->line < q->line ? -1 : 1;
    if (p->column != q->column)
        return p->column < q->column ? -1 : 1;
    return *x < *y ? -1 : 1;
}

void qb_diags_sort(struct qb_diags *diags)
{
    size_t n = diags->list.n;
    struct qb_diag *sorted = n ? malloc(n * sizeof(*sorted)) : NULL;
    struct qb_diag **order = n ? malloc(n * sizeof(*order)) : NULL;

    if (order && sorted) { /* without memory they stay in the order they were found in */
        for (size_t i = 0; i < n; i++)
            order[i] = diags->list.items + i;
        qsort(order, n, sizeof(*order), by_place);
        for (size_t i = 0; i < n; i++)
            sorted[i] = *order[i];
        memcpy(diags->list.items, sorted, n * sizeof(*sorted));
    }
    free(order);
    free(sorted);
}

/* ---- the line and the caret ------------------------------------------------------------------ */

struct span {
    const char *at, *end;
};

static struct span find_line(const struct qb_diags *diags, unsigned line)
{
    struct span s = {diags->source, diags->source + diags->source_len};
    const char *stop;

    while (--line > 0) {
        stop = memchr(s.at, '\n', (size_t)(s.end - s.at));
        if (!stop)
            return (struct span){s.end, s.end};
        s.at = stop + 1;
    }
    if (s.at == diags->source && s.end - s.at >= 3 && memcmp(s.at, "\xef\xbb\xbf", 3) == 0)
        s.at += 3; /* a byte order mark is not a column */
    stop = memchr(s.at, '\n', (size_t)(s.end - s.at));
    s.end = stop ? stop : s.end;
    if (s.end > s.at && s.end[-1] == '\r')
        s.end--;
    return s;
}

/* The next character's bytes (1 for a byte that is no UTF-8); *c is 0 then. */
static size_t take(struct span s, uint32_t *c)
{
    char copy[5] = {0};
    size_t len;

    memcpy(copy, s.at, QB_MIN((size_t)(s.end - s.at), 4));
    len = qb_character(copy, c);
    return QB_MAX(len, 1);
}

/* As put_line draws it. */
static unsigned width(uint32_t c)
{
    return qb_character_is_harmful(c) ? 1 : qb_character_width(c);
}

static struct span skip(struct span s, unsigned characters)
{
    uint32_t c;

    while (characters-- > 0 && s.at < s.end)
        s.at += take(s, &c);
    return s;
}

static void put_line(struct span s, bool cut_before, FILE *f)
{
    unsigned shown = 0;
    uint32_t c;

    fputs(cut_before ? "    ..." : "    ", f);
    for (size_t len; s.at < s.end && shown < WINDOW; s.at += len, shown++) {
        len = take(s, &c);
        if (c == '\t')
            fputc('\t', f);
        else if (qb_character_is_harmful(c))
            fputc('?', f);
        else
            fwrite(s.at, 1, len, f);
    }
    fputs(s.at < s.end ? "...\n" : "\n", f);
}

static void put_caret(struct span s, bool cut_before, unsigned before, unsigned length, FILE *f)
{
    unsigned shown = 0;
    uint32_t c;

    fputs(cut_before ? "       " : "    ", f);
    for (; before > 0 && s.at < s.end; before--, shown++) {
        s.at += take(s, &c);
        if (c == '\t')
            fputc('\t', f);
        else
            fprintf(f, "%*s", (int)width(c), "");
    }
    fputc('^', f);
    if (s.at < s.end) {
        s.at += take(s, &c);
        for (unsigned i = width(c); i > 1; i--)
            fputc('~', f);
    }
    while (--length > 0 && s.at < s.end && ++shown < WINDOW) {
        s.at += take(s, &c);
        for (unsigned i = width(c); i > 0; i--)
            fputc('~', f);
    }
    fputc('\n', f);
}

static void render_place(const struct qb_diags *diags, struct qb_place at, FILE *f)
{
    struct span line = find_line(diags, at.line);
    unsigned before = at.column - 1, hidden = before > WINDOW - 30 ? before - WINDOW_BEFORE : 0;

    line = skip(line, hidden);
    put_line(line, hidden > 0, f);
    put_caret(line, hidden > 0, before - hidden, QB_MAX(at.length, 1), f);
}

void qb_diags_render(const struct qb_diags *diags, FILE *f)
{
    for (size_t i = 0; i < diags->list.n; i++) {
        const struct qb_diag *d = &diags->list.items[i];

        qb_text_safe(f, diags->file ? diags->file : "?");
        if (d->at.line > 0 && !diags->one_line)
            fprintf(f, ":%u:%u", d->at.line, d->at.column);
        fputs(d->is_note ? ": note: " : ": error: ", f);
        qb_text_safe(f, d->text);
        if (d->did_you_mean)
            fprintf(f, "; did you mean \"%s\"?", d->did_you_mean);
        fputc('\n', f);
        if (d->at.line > 0 && diags->source)
            render_place(diags, d->at, f);
    }
    if (diags->lost)
        fprintf(f, "and %zu more\n", diags->lost);
}
