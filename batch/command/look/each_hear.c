/* What a process tells that reads images, which is not believed: no number is used, and no text
 * shown, that this program could not have made. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32.h"
#include "base/num.h"
#include "base/own.h"
#include "look/each_fleet.h"

enum { SANDBOX_BYTES = 4096, MANY = 256 /* answers */ };

/* ---- texts ----------------------------------------------------------------------------------- */

/* No text of ours moves a terminal's cursor, or has lines where there is to be one.  JSON has DEL
 * as it is. */
static bool is_text(const char *text, size_t len, bool json, size_t *lines)
{
    *lines = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        *lines += c == '\n';
        if ((c < ' ' && c != '\n' && c != '\t') || (c == 0x7f && !json))
            return false;
    }
    return true;
}

/* For programs an image is one line. */
static bool is_shown(const struct qb_each *each, const struct qb_answer *a)
{
    bool one = each->json && !a->is_part;
    size_t lines;

    if (each->escapes)
        return true;
    if (!is_text(a->text, a->len, each->json, &lines) || (each->json && lines > one) ||
        (one && a->len && a->text[a->len - 1] != '\n'))
        return false;
    if (!a->failure)
        return true;
    return is_text(a->failure, strlen(a->failure), false, &lines) && lines == 1 &&
           a->failure[strlen(a->failure) - 1] == '\n';
}

/* With a NUL after it. */
static bool take_text(struct qb_each_hearer *h, uint64_t size, char **out, size_t *len)
{
    *len = 0;
    if (size == 0)
        return true;
    *out = malloc(size);
    if (!*out || !qb_mortal_take(&h->process, *out, size - 1))
        return false;
    (*out)[size - 1] = '\0';
    *len = size - 1;
    return true;
}

static bool take_texts(struct qb_each_hearer *h, const struct qb_each_told *t, struct qb_answer *a)
{
    size_t len;
    bool got = take_text(h, t->sizes[0], &a->text, &a->len) &&
               take_text(h, t->sizes[1], &a->failure, &len);

    for (size_t i = 0; got && i < QB_SINK_COUNT; i++)
        got = take_text(h, t->sizes[2 + i], &a->files[i].text, &a->files[i].len);
    return got;
}

/* ---- an answer ------------------------------------------------------------------------------- */

/* What one image's texts may have: as much as there was memory to make them. */
static bool has_room(const struct qb_each_hearer *h, const struct qb_each_told *t)
{
    struct qb_each_fleet *f = h->f;
    uint64_t most = QB_MAX(f->memory, QB_EACH_HELD_MAX) + (1 << 20), all = 0;

    for (size_t i = 0; i < QB_EACH_TEXTS; i++) {
        if (t->sizes[i] > most)
            return false;
        all += t->sizes[i];
    }
    return all <= most && (t->image == qb_answers_turn(f->answers) ||
                           qb_answers_held(f->answers) <= QB_EACH_HELD_MAX + 2 * most);
}

static bool is_possible(const struct qb_each_hearer *h, const struct qb_each_told *t)
{
    const struct qb_each *each = h->f->each;

    if (t->image >= each->batch->n_jobs || t->code >= QB_E_COUNT ||
        (each->verdicts && t->verdict >= each->verdicts) || !has_room(h, t))
        return false;
    if (h->ignored == t->image + 1)
        return true;
    return !qb_answers_has(h->f->answers, t->image) &&
           (!t->is_part || t->image == qb_answers_turn(h->f->answers));
}

/* Drops what was shown before the process died that told it; false: it is not the same again. */
static bool drop_shown(struct qb_each_shown *s, size_t image, struct qb_answer *a)
{
    size_t n;

    if (s->image != image)
        *s = (struct qb_each_shown){.image = image};
    n = (size_t)QB_MIN(s->bytes - s->again, a->len);
    s->sum_again = qb_crc32(s->sum_again, a->text, n);
    s->again += n;
    if (s->again == s->bytes ? s->sum_again != s->sum : !a->is_part)
        return false;
    a->len -= n;
    if (n)
        memmove(a->text, a->text + n, a->len + 1);
    if (a->is_part && s->again == s->bytes) {
        s->sum = s->sum_again = qb_crc32(s->sum, a->text, a->len);
        s->again = s->bytes += a->len;
    }
    return true;
}

static void take_answer(struct qb_each_hearer *h, size_t i, struct qb_answer *a)
{
    struct qb_err err;

    if (h->ignored == i + 1)
        return;
    if (!drop_shown(&h->shown, i, a)) {
        qb_fail(&err, QB_E_CHANGED, QB_NOWHERE,
                "the process that read it ended, and another one does not find what was shown");
        h->ignored = i + 1;
        qb_each_lose(h, i, &err);
    } else if (a->is_part) {
        if (a->len)
            qb_answers_part(h->f->answers, i, a, qb_each_is_stopped, h->f);
    } else {
        h->answered++;
        h->process.gathers = h->answered >= MANY;
        qb_answers_put(h->f->answers, i, a);
    }
}

static bool on_answer(struct qb_each_hearer *h)
{
    struct qb_each_told t;
    struct qb_answer a;
    bool right;

    if (!qb_mortal_take(&h->process, &t, sizeof(t)) || !is_possible(h, &t))
        return false;
    a = (struct qb_answer){.verdict = t.verdict,
                           .code = (enum qb_code)t.code,
                           .failed = t.failed != 0,
                           .is_part = t.is_part != 0,
                           .lost = t.lost != 0};
    right = take_texts(h, &t, &a) && is_shown(h->f->each, &a);
    if (right)
        take_answer(h, t.image, &a);
    qb_answer_clear(&a);
    return right;
}

void qb_each_lose(struct qb_each_hearer *h, size_t i, const struct qb_err *err)
{
    const struct qb_each *each = h->f->each;
    struct qb_answer a = {0};

    each->lose(each->arg, i, err, h->shown.image == i && h->shown.bytes > 0, &a);
    h->answered++;
    qb_answers_put(h->f->answers, i, &a);
}

/* ---- the other messages ---------------------------------------------------------------------- */

static bool on_sandbox(struct qb_each_hearer *h, size_t len)
{
    char bytes[SANDBOX_BYTES];
    struct qb_wired wired = {bytes, bytes + len, false};

    return len <= sizeof(bytes) && qb_mortal_take(&h->process, bytes, len) &&
           qb_confining_take(h->f->each->confining, &wired);
}

static bool on_end(struct qb_each_hearer *h)
{
    if (!qb_mortal_take(&h->process, &h->end, sizeof(h->end)) || h->end.code >= QB_E_COUNT ||
        !memchr(h->end.text, '\0', sizeof(h->end.text)))
        return false;
    h->ended =
        h->end.failed || qb_each_is_stopped(h->f) || h->answered == h->f->each->batch->n_jobs;
    return h->ended;
}

static bool take_message(struct qb_each_hearer *h, struct qb_each_head head)
{
    switch (head.word) {
    case QB_EACH_ANSWER:
        return head.len == sizeof(struct qb_each_told) && on_answer(h);
    case QB_EACH_SANDBOX:
        return on_sandbox(h, head.len);
    case QB_EACH_END:
        return head.len == sizeof(struct qb_each_end) && on_end(h);
    default:
        return false;
    }
}

void qb_each_hear_anew(struct qb_each_hearer *h)
{
    h->misled = false;
    h->ignored = 0;
    h->shown.again = 0;
    h->shown.sum_again = 0;
}

/* A message that ends in the middle is none. */
void qb_each_hear(struct qb_each_hearer *h)
{
    struct qb_each_head head;

    while (!h->ended && !atomic_load(&h->f->stdout_errno) &&
           qb_mortal_take(&h->process, &head, sizeof(head)))
        if (!take_message(h, head)) {
            h->misled = !qb_mortal_is_over(&h->process);
            return;
        }
}
