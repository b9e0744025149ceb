#include "measure/records.h"

#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

double *bench_record_seconds(const struct bench_record *r)
{
    double *seconds = malloc((r->n + 1) * sizeof(*seconds));

    for (size_t i = 0; seconds && i < r->n; i++)
        seconds[i] = r->runs[i].seconds;
    return seconds;
}

const struct bench_record *bench_records_find(const struct bench_records *all, const char *title,
                                              const char *who)
{
    for (const struct bench_record *r = all->items; r < all->items + all->n; r++) {
        if (!strcmp(r->title, title) && !strcmp(r->who, who))
            return r;
    }
    return NULL;
}

static void free_record(struct bench_record *r)
{
    free(r->command);
    free(r->runs);
    free(r->ratios);
}

struct bench_record *bench_records_add(struct bench_records *all, size_t n)
{
    struct bench_record r = {
        .n = n, .runs = calloc(n + 1, sizeof(*r.runs)), .ratios = calloc(n + 1, sizeof(*r.ratios))};

    if (r.runs && r.ratios && qb_vec_push(all, r))
        return &all->items[all->n - 1];
    free_record(&r);
    return NULL;
}

void bench_records_cut(struct bench_records *all, size_t n)
{
    while (all->n > n)
        free_record(&all->items[--all->n]);
}

void bench_records_free(struct bench_records *all)
{
    bench_records_cut(all, 0);
    qb_vec_free(all);
}
