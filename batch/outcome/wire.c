#include "outcome/wire.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "outcome/outcome.h"

static bool make_room(struct qb_wire *w, size_t n)
{
    size_t room = w->room ? w->room : 4096;
    char *bytes;

    while (room - w->n < n)
        room *= 2;
    bytes = room > w->room ? realloc(w->bytes, room) : w->bytes;
    if (!bytes)
        return false;
    w->bytes = bytes;
    w->room = room;
    return true;
}

void qb_wire_put(struct qb_wire *w, const void *bytes, size_t n)
{
    if (w->failed || n == 0)
        return;
    if (w->room - w->n < n && !make_room(w, n)) {
        w->failed = true;
        return;
    }
    memcpy(w->bytes + w->n, bytes, n);
    w->n += n;
}

/* One more than its length; 0: NULL. */
void qb_wire_text(struct qb_wire *w, const char *text)
{
    uint32_t size = text ? (uint32_t)strlen(text) + 1 : 0;

    qb_wire_put(w, &size, sizeof(size));
    qb_wire_put(w, text, size);
}

const void *qb_wired_bytes(struct qb_wired *w, size_t n)
{
    const char *at = w->at;

    w->bad |= (size_t)(w->end - w->at) < n;
    if (w->bad)
        return NULL;
    w->at += n;
    return at;
}

void qb_wired_take(struct qb_wired *w, void *out, size_t n)
{
    const char *at = qb_wired_bytes(w, n);

    if (at)
        memcpy(out, at, n);
    else
        memset(out, 0, n);
}

const char *qb_wired_text(struct qb_wired *w, size_t *len)
{
    uint32_t size;
    const char *text;

    qb_wired_take(w, &size, sizeof(size));
    text = size ? qb_wired_bytes(w, size) : NULL;
    if (!text)
        return NULL;
    if (memchr(text, '\0', size) != text + size - 1) {
        w->bad = true;
        return NULL;
    }
    if (len)
        *len = size - 1;
    return text;
}

/* ---- members of structs ---------------------------------------------------------------------- */

void qb_wire_members(struct qb_wire *w, const void *from, const struct qb_wire_member *list,
                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *at = (const char *)from + list[i].at;

        if (list[i].kind == QB_WIRE_TEXT)
            qb_wire_text(w, *(const char *const *)(const void *)at);
        else
            qb_wire_put(w, at, list[i].size);
    }
}

static void take_below(struct qb_wired *w, void *out, unsigned below)
{
    unsigned n;

    qb_wired_take(w, &n, sizeof(n));
    w->bad |= n >= below;
    if (!w->bad)
        memcpy(out, &n, sizeof(n));
}

static void take_member(struct qb_wired *w, char *out, const struct qb_wire_member *m)
{
    unsigned char truth;
    double real;

    switch (m->kind) {
    case QB_WIRE_NUMBER:
        qb_wired_take(w, out, m->size);
        break;
    case QB_WIRE_SECONDS: /* of a timing */
        qb_wired_take(w, &real, sizeof(real));
        real = real >= 0 && real < QB_TIMING_SECONDS ? real : 0;
        memcpy(out, &real, sizeof(real));
        break;
    case QB_WIRE_BOOL:
        qb_wired_take(w, &truth, 1);
        *(bool *)out = truth != 0;
        break;
    case QB_WIRE_BELOW:
        take_below(w, out, m->below);
        break;
    case QB_WIRE_TEXT:
        *(const char **)(void *)out = qb_wired_text(w, NULL);
        break;
    }
}

void qb_wired_members(struct qb_wired *w, void *out, const struct qb_wire_member *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        take_member(w, (char *)out + list[i].at, &list[i]);
}
