/* Computes with sizes and offsets without unnoticed overflow.  Ranges are half-open everywhere:
 * [first, end). */
#ifndef QB_BASE_NUM_H
#define QB_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A half-open range of bytes of a file. */
struct qb_range {
    uint64_t first;
    uint64_t end;
};

/* ceil(n / unit) for any n; unit > 0. */
static inline uint64_t qb_div_up(uint64_t n, uint64_t unit)
{
    return n / unit + (n % unit != 0);
}

/* n rounded up to a multiple of unit; saturates instead of wrapping. */
static inline uint64_t qb_round_up(uint64_t n, uint64_t unit)
{
    uint64_t r;
    return __builtin_mul_overflow(qb_div_up(n, unit), unit, &r) ? UINT64_MAX - UINT64_MAX % unit
                                                                : r;
}

/* Whether [at, at + count * each) is computable and ends at or before `limit`. */
static inline bool qb_range_ok(uint64_t at, uint64_t count, uint64_t each, uint64_t limit)
{
    uint64_t bytes, end;
    return !__builtin_mul_overflow(count, each, &bytes) &&
           !__builtin_add_overflow(at, bytes, &end) && end <= limit;
}

/* Whether the two half-open ranges share a byte. */
static inline bool qb_ranges_touch(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
    return a < b_end && b < a_end;
}

/* Whether all n bytes are zero. */
bool qb_all_zero(const void *bytes, size_t n);

/* A random odd multiplier for a hash table (the top bits of key * multiplier choose the slot), so
 * that a hostile image cannot choose the slots. */
uint64_t qb_hash_multiplier(void);

/* They evaluate the one that they yield twice, so neither may be a call: functions are below. */
#define QB_MIN(a, b) ((a) < (b) ? (a) : (b))
#define QB_MAX(a, b) ((a) > (b) ? (a) : (b))

static inline uint64_t qb_min(uint64_t a, uint64_t b)
{
    return QB_MIN(a, b);
}

static inline uint64_t qb_max(uint64_t a, uint64_t b)
{
    return QB_MAX(a, b);
}

static inline double qb_min_double(double a, double b)
{
    return QB_MIN(a, b);
}

static inline double qb_max_double(double a, double b)
{
    return QB_MAX(a, b);
}

#endif
