#include "scene/limit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "scene/limit_file.h"
#include "scene/limit_fleet.h"

enum { WORTH_SHARING = 8 << 20, WORTH_A_FLUSH = 1 << 20 }; /* bytes */

const struct bench_limit_method_row bench_limit_methods[BENCH_LIMIT_METHODS] = {
#define METHOD(ID, name, fleet, threads, wave, help) {name, fleet, threads, wave, help},
#include "scene/limit_methods.def"
#undef METHOD
};

/* ---- which method ---------------------------------------------------------------------------- */

static bool can_one(const struct bench_limit *l, enum bench_limit_method method)
{
    bool whole = l->append_size >= WORTH_A_FLUSH && l->append_used >= l->table_size;
    bool aligned =
        l->append_at % BENCH_LIMIT_ALIGNED == 0 && l->append_size % BENCH_LIMIT_ALIGNED == 0;

    switch (method) {
    case BENCH_LIMIT_SHARED:
        return l->threads > 1 &&
               l->tables * l->table_size + l->blocks_size + l->append_size >= WORTH_SHARING;
    case BENCH_LIMIT_DIRECT:
        return whole && aligned;
    case BENCH_LIMIT_EARLY:
        return whole;
    default:
        return true;
    }
}

static bool can_fleet(const struct bench_limit *l, enum bench_limit_method method)
{
    switch (method) {
    case BENCH_LIMIT_WAVES:
    case BENCH_LIMIT_FILES:
        return l->flip;
    case BENCH_LIMIT_RING:
        return bench_limit_ring_can(l);
    default:
        return true;
    }
}

bool bench_limit_can(const struct bench_limit *limit, bool fleet, enum bench_limit_method method)
{
    if (bench_limit_methods[method].fleet != fleet)
        return false;
    return fleet ? can_fleet(limit, method) : can_one(limit, method);
}

/* ---- arguments ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t at;
} words_of[] = {
#define LIMIT(name) {#name, offsetof(struct bench_limit, name)},
#include "scene/limit.def"
#undef LIMIT
};

size_t bench_limit_words(const struct bench_limit *limit, char words[][40])
{
    for (size_t i = 0; i < BENCH_LIMIT_WORDS; i++)
        snprintf(words[i], sizeof(words[i]), "%s=%" PRIu64, words_of[i].name,
                 *(const uint64_t *)(const void *)((const char *)limit + words_of[i].at));
    return BENCH_LIMIT_WORDS;
}

static bool take_word(struct bench_limit *limit, const char *word)
{
    for (size_t i = 0; i < BENCH_LIMIT_WORDS; i++) {
        size_t n = strlen(words_of[i].name);

        if (strncmp(word, words_of[i].name, n) || word[n] != '=')
            continue;
        *(uint64_t *)(void *)((char *)limit + words_of[i].at) = strtoull(word + n + 1, NULL, 10);
        return true;
    }
    return false;
}

int bench_limit_main(char **argv)
{
    struct bench_limit l = {.threads = 1};
    struct stat st;

    while (*argv && take_word(&l, *argv))
        argv++;
    if (!*argv || stat(*argv, &st) < 0)
        return bench_limit_complain(*argv ? *argv : "no path"), 2;
    if (l.method >= BENCH_LIMIT_METHODS ||
        bench_limit_methods[l.method].fleet != S_ISDIR(st.st_mode))
        return bench_limit_complain("not a method for this path"), 2;
    return (S_ISDIR(st.st_mode) ? bench_limit_fleet(&l, *argv) : bench_limit_one(&l, *argv)) < 0;
}
