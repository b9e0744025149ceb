#include "run/reorder.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "base/own.h"

/* A packed result is a row of {words of zeros to skip, words that follow} and these words. */
struct piece {
    uint32_t zeros, words;
};

enum { WORDS = sizeof(struct qb_result) / sizeof(uint64_t), WORTH_SKIPPING = 2 };

static_assert(sizeof(struct qb_result) % sizeof(uint64_t) == 0, "a result is a row of words");
static_assert(sizeof(struct piece) == sizeof(uint64_t), "a piece's head is a word");

struct held {
    char *steps;
    struct qb_timing timing;
    uint64_t pieces[];
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

static size_t zeros_at(const uint64_t *words, size_t i)
{
    size_t n = 0;

    while (i + n < WORDS && words[i + n] == 0)
        n++;
    return n;
}

/* Words up to the next run of zeros that is worth a piece of its own. */
static size_t words_at(const uint64_t *words, size_t i)
{
    size_t n = 0;

    while (i + n < WORDS && (words[i + n] || zeros_at(words, i + n) < WORTH_SKIPPING))
        n++;
    return n;
}

static size_t pack(const uint64_t *words, uint64_t *out)
{
    size_t at = 0, used = 0;

    while (at < WORDS) {
        struct piece piece;

        piece.zeros = (uint32_t)zeros_at(words, at);
        at += piece.zeros;
        piece.words = (uint32_t)words_at(words, at);
        memcpy(&out[used], &piece, sizeof(piece));
        memcpy(&out[used + 1], &words[at], piece.words * sizeof(*words));
        used += 1 + piece.words;
        at += piece.words;
    }
    return used * sizeof(*out);
}

static void unpack(const uint64_t *in, uint64_t *words)
{
    size_t at = 0;

    memset(words, 0, WORDS * sizeof(*words));
    while (at < WORDS) {
        struct piece piece;

        memcpy(&piece, in, sizeof(piece));
        memcpy(&words[at + piece.zeros], in + 1, piece.words * sizeof(*words));
        at += (size_t)piece.zeros + piece.words;
        in += 1 + piece.words;
    }
}

void qb_hold_put(struct qb_hold *hold, size_t job, struct qb_outcome *outcome)
{
    uint64_t words[WORDS], packed[WORDS + 2]; /* a piece's head is no larger than what it skips */
    struct held *held;
    size_t n;

    memcpy(words, &outcome->result, sizeof(words));
    n = pack(words, packed);
    held = malloc(sizeof(*held) + n);

    if (held) {
        memcpy(held->pieces, packed, n);
        held->steps = qb_take(&outcome->steps);
        held->timing = outcome->timing;
    }
    hold->held[job] = held ? held : &lost;
    free(qb_take(&outcome->steps));
}

bool qb_hold_next(struct qb_hold *hold, size_t *job, struct qb_outcome *outcome)
{
    struct held *held = hold->next < hold->n_jobs ? hold->held[hold->next] : NULL;
    uint64_t words[WORDS];

    if (!held)
        return false;
    *job = hold->next++;
    *outcome = (struct qb_outcome){.result.status = QB_STATUS_FAILED};
    if (held == &lost) {
        qb_fail(&outcome->result.err, QB_E_MEMORY, QB_NOWHERE,
                "no memory to keep what became of this image");
        return true;
    }
    unpack(held->pieces, words);
    memcpy(&outcome->result, words, sizeof(words));
    outcome->steps = held->steps;
    outcome->timing = held->timing;
    hold->held[*job] = NULL;
    free(held);
    return true;
}
