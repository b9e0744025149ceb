#include "batch/hold.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "base/own.h"

/* A packed result is a row of {zeros to skip, bytes that follow} and these bytes. */
struct piece {
    uint16_t zeros, bytes;
};

enum { WORTH_SKIPPING = 2 * sizeof(struct piece) };

struct held {
    char *steps;
    unsigned char pieces[];
};

static struct held lost; /* stands for an outcome that there was no memory for */

struct qb_hold {
    size_t n_jobs, next;
    struct held *held[];
};

struct qb_hold *qb_hold_new(size_t n_jobs)
{
    struct qb_hold *hold = calloc(1, sizeof(*hold) + n_jobs * sizeof(hold->held[0]));

    if (hold)
        hold->n_jobs = n_jobs;
    return hold;
}

void qb_hold_free(struct qb_hold *hold)
{
    for (size_t i = hold ? hold->next : 0; hold && i < hold->n_jobs; i++) {
        if (!hold->held[i] || hold->held[i] == &lost)
            continue;
        free(hold->held[i]->steps);
        free(hold->held[i]);
    }
    free(hold);
}

static size_t zeros_at(const unsigned char *p, size_t n)
{
    size_t i = 0;

    while (i < n && p[i] == 0)
        i++;
    return i;
}

/* Bytes up to the next run of zeros that is worth a piece of its own. */
static size_t bytes_at(const unsigned char *p, size_t n)
{
    size_t i = 0;

    while (i < n && zeros_at(p + i, QB_MIN(n - i, (size_t)WORTH_SKIPPING)) < WORTH_SKIPPING)
        i++;
    return i;
}

static size_t pack(const struct qb_result *result, unsigned char *out)
{
    const unsigned char *p = (const unsigned char *)result;
    size_t at = 0, used = 0;

    static_assert(sizeof(*result) <= UINT16_MAX, "a piece counts in 16 bits");
    while (at < sizeof(*result)) {
        struct piece piece;

        piece.zeros = (uint16_t)zeros_at(p + at, sizeof(*result) - at);
        at += piece.zeros;
        piece.bytes = (uint16_t)bytes_at(p + at, sizeof(*result) - at);
        memcpy(out + used, &piece, sizeof(piece));
        memcpy(out + used + sizeof(piece), p + at, piece.bytes);
        used += sizeof(piece) + piece.bytes;
        at += piece.bytes;
    }
    return used;
}

static void unpack(const unsigned char *in, struct qb_result *result)
{
    unsigned char *p = (unsigned char *)result;
    size_t at = 0;

    memset(result, 0, sizeof(*result));
    while (at < sizeof(*result)) {
        struct piece piece;

        memcpy(&piece, in, sizeof(piece));
        memcpy(p + at + piece.zeros, in + sizeof(piece), piece.bytes);
        at += (size_t)piece.zeros + piece.bytes;
        in += sizeof(piece) + piece.bytes;
    }
}

void qb_hold_put(struct qb_hold *hold, size_t job, struct qb_outcome *outcome)
{
    unsigned char packed[2 * sizeof(struct qb_result)]; /* a piece is smaller than what it skips */
    size_t n = pack(&outcome->result, packed);
    struct held *held = malloc(sizeof(*held) + n);

    if (held) {
        memcpy(held->pieces, packed, n);
        held->steps = qb_take(&outcome->steps);
    }
    hold->held[job] = held ? held : &lost;
    free(qb_take(&outcome->steps));
}

bool qb_hold_next(struct qb_hold *hold, size_t *job, struct qb_outcome *outcome)
{
    struct held *held = hold->next < hold->n_jobs ? hold->held[hold->next] : NULL;

    if (!held)
        return false;
    *job = hold->next++;
    *outcome = (struct qb_outcome){.result.status = QB_STATUS_FAILED};
    if (held == &lost) {
        qb_fail(&outcome->result.err, QB_E_MEMORY, QB_NOWHERE,
                "no memory to keep what became of this image");
        return true;
    }
    unpack(held->pieces, &outcome->result);
    outcome->steps = held->steps;
    hold->held[*job] = NULL;
    free(held);
    return true;
}
