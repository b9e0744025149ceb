#include "util/pattern.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

/* The expression is walked once.  For each open group: what it holds so far, written out, and its
 * last atom or group, which a repetition multiplies. */
struct group {
    uint64_t sum, last;
};

struct walk {
    const char *at;
    struct group groups[QB_PATTERN_MAX_BYTES + 1];
    size_t depth;
    bool back_reference;
};

#define TOO_MUCH (UINT64_C(1) << 30) /* saturates: no further product matters */

static void add(struct walk *w, uint64_t atoms)
{
    struct group *g = &w->groups[w->depth];

    g->last = QB_MIN(atoms, TOO_MUCH);
    g->sum = QB_MIN(g->sum + g->last, TOO_MUCH);
}

static void repeat(struct walk *w, uint64_t times)
{
    struct group *g = &w->groups[w->depth];
    uint64_t before = QB_MIN(g->last, g->sum);

    g->last = QB_MIN(before * QB_MIN(times, TOO_MUCH), TOO_MUCH);
    g->sum = QB_MIN(g->sum - before + g->last, TOO_MUCH);
}

static void close_group(struct walk *w)
{
    uint64_t inside = w->groups[w->depth].sum;

    if (w->depth > 0)
        w->depth--;
    else
        inside = 1; /* a parenthesis by itself */
    add(w, QB_MAX(inside, 1));
}

/* Behind the bracket: up to the one that closes it. */
static void skip_bracket(struct walk *w)
{
    w->at += *w->at == '^';
    w->at += *w->at == ']';
    for (; *w->at && *w->at != ']'; w->at++) {
        const char end[] = {w->at[1], ']', '\0'}, *close;

        if (w->at[0] != '[' || !w->at[1] || !strchr(":.=", w->at[1]))
            continue;
        close = strstr(w->at + 2, end);
        w->at = close ? close + 1 : w->at;
    }
    w->at += *w->at == ']';
}

/* Behind the brace.  One that holds no numbers is for regcomp to judge. */
static void read_interval(struct walk *w)
{
    char *end;
    unsigned long low, high;

    if (!isdigit((unsigned char)*w->at) && *w->at != ',') {
        add(w, 1);
        return;
    }
    low = high =
        isdigit((unsigned char)*w->at) ? strtoul(w->at, &end, 10) : (end = (char *)w->at, 0);
    if (*end == ',')
        high = isdigit((unsigned char)end[1]) ? strtoul(end + 1, &end, 10) : (end++, low + 1);
    w->at = end + (*end == '}');
    repeat(w, QB_MAX(QB_MAX(low, high), 1));
}

static void step(struct walk *w)
{
    char c = *w->at++;

    if (c == '\\' && *w->at) {
        w->back_reference |= *w->at >= '1' && *w->at <= '9';
        w->at++;
        add(w, 1);
    } else if (c == '[') {
        skip_bracket(w);
        add(w, 1);
    } else if (c == '(') {
        w->groups[++w->depth] = (struct group){0};
    } else if (c == ')') {
        close_group(w);
    } else if (c == '{') {
        read_interval(w);
    } else if (c == '+') {
        repeat(w, 2); /* a+ is written out as aa* */
    } else if (c != '*' && c != '?') {
        add(w, 1);
    }
}

bool qb_pattern_check(const char *expression, struct qb_why *why)
{
    struct walk w = {.at = expression};
    uint64_t atoms;

    if (strlen(expression) > QB_PATTERN_MAX_BYTES)
        return qb_why_not(why, NULL, "is an expression of more than %d bytes",
                          QB_PATTERN_MAX_BYTES);
    while (*w.at)
        step(&w);
    while (w.depth > 0)
        close_group(&w);
    atoms = w.groups[0].sum;
    if (w.back_reference)
        return qb_why_not(why, NULL,
                          "has a back-reference inside the expression, where POSIX has "
                          "none; \\1 to \\9 are for \"to\"");
    if (atoms > QB_PATTERN_MAX_ATOMS)
        return qb_why_not(
            why, NULL,
            "is too large an expression: with its repetitions written out it has more "
            "than %d characters (a{100} counts as 100, (a{9}){9} as 81)",
            QB_PATTERN_MAX_ATOMS);
    return true;
}
