/* Numbers that look random and are the same for the same seed on every machine. */
#ifndef QB_TESTS_DICE_H
#define QB_TESTS_DICE_H

#include <stdint.h>

struct dice {
    uint64_t state;
};

/* A number below `below`, which is at least 1. */
static inline unsigned roll(struct dice *d, unsigned below)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return (unsigned)(d->state >> 33) % below;
}

/* Seeds that are neighbours give dice that have nothing in common. */
static inline struct dice dice_of(uint64_t seed)
{
    struct dice d = {(seed + 1) * 0x9e3779b97f4a7c15ull};

    d.state += d.state == 0;
    for (int i = 0; i < 8; i++)
        roll(&d, 2);
    return d;
}

#endif
