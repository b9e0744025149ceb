#include "util/json_real.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 6, LEAST_EXPONENT = -9, POWERS = 19 };

/* 1e-9 to 1e9. */
static const double powers[POWERS] = {1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0,
                                      1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9};
static const double integers[] = {
    1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6, 1e7,
    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14}; /* each of them exactly */

/* d is n * 10^(exponent - 5), rounded to that many digits. */
struct decimal {
    unsigned n;
    int exponent;
};

/* The place in powers[] of the greatest that is not above d, which is within their reach. */
static int place_of(double d)
{
    uint64_t bits;
    int k;

    memcpy(&bits, &d, sizeof(bits));
    k = ((int)(bits >> 52) - 1023) * 1233; /* log10(2) is 1233/4096, a little less */
    k = (k >= 0 ? k / 4096 : (k - 4095) / 4096) - LEAST_EXPONENT;
    return k + (d >= powers[k + 1]);
}

/* false where the nearest decimal is not certain: d is too large or small, or close to the middle
 * of two.  Scaling rounds once, by less than 1e-9. */
static bool round_off(double d, struct decimal *out)
{
    double scaled, rest;
    int k;

    if (!(d >= powers[0] && d < powers[POWERS - 1]))
        return false;
    out->exponent = place_of(d) + LEAST_EXPONENT;
    k = DIGITS - 1 - out->exponent;
    scaled = k >= 0 ? d * integers[k] : d / integers[-k];
    out->n = (unsigned)scaled;
    rest = scaled - out->n;
    if (fabs(rest - 0.5) < 1e-6)
        return false;
    out->n += rest > 0.5;
    return out->n >= 100000 && out->n < 1000000;
}

/* Without zeros at the end; returns how many are left. */
static int put_digits(unsigned n, char digits[DIGITS])
{
    int len = DIGITS;

    for (int i = DIGITS; i-- > 0; n /= 10)
        digits[i] = (char)('0' + n % 10);
    while (len > 1 && digits[len - 1] == '0')
        len--;
    return len;
}

/* 1.234e-7: the exponent has one digit. */
static char *put_scientific(const char digits[DIGITS], int n, int exponent, char *at)
{
    *at++ = digits[0];
    if (n > 1) {
        *at = '.';
        memcpy(at + 1, digits + 1, DIGITS - 1);
        at += n;
    }
    *at++ = 'e';
    if (exponent < 0)
        *at++ = '-';
    *at++ = (char)('0' + abs(exponent));
    return at;
}

static size_t put_decimal(struct decimal v, char *out)
{
    char digits[DIGITS], *at = out;
    int n = put_digits(v.n, digits), before = v.exponent + 1; /* digits before the point */

    if (v.exponent < -4 || v.exponent >= DIGITS)
        return (size_t)(put_scientific(digits, n, v.exponent, at) - out);
    if (before <= 0) {
        memcpy(at, "0.000", 5);
        at += 2 - before;
        memcpy(at, digits, DIGITS);
        return (size_t)(at + n - out);
    }
    memcpy(at, digits, DIGITS); /* with the zeros before the point */
    at += before;
    *at++ = '.';
    if (n <= before) {
        *at++ = '0';
        return (size_t)(at - out);
    }
    memcpy(at, digits + before, (size_t)(n - before));
    return (size_t)(at + (n - before) - out);
}

/* By the C library: without its plus sign and leading zeros in the exponent. */
static size_t print(double d, char *out)
{
    char text[QB_JSON_REAL], *e;
    int exponent = 0;

    snprintf(text, sizeof(text), "%.*g", DIGITS, d);
    for (char *c = text; *c; c++) /* of the locale */
        if (*c == ',')
            *c = '.';
    e = strchr(text, 'e');
    if (e && sscanf(e + 1, "%d", &exponent) == 1)
        snprintf(e, (size_t)(text + sizeof(text) - e), "e%d", exponent);
    else if (!strchr(text, '.'))
        strcat(text, ".0");
    memcpy(out, text, strlen(text));
    return strlen(text);
}

size_t qb_json_real_text(double d, char out[QB_JSON_REAL])
{
    struct decimal v;

    if (d == 0 && !signbit(d)) {
        memcpy(out, "0.0", 3);
        return 3;
    }
    return round_off(d, &v) ? put_decimal(v, out) : print(d, out);
}
