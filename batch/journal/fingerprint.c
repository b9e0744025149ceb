/* Computes fingerprints of requests. */
#include <string.h>

#include "job/keys.h"
#include "job/rules.h"
#include "journal/run_journal.h"
#include "base/crc32.h"

static uint32_t add_text(uint32_t sum, const char *s)
{
    return s ? qb_crc32(sum, s, strlen(s) + 1) : qb_crc32(sum, "\1", 1);
}

static uint32_t add_number(uint32_t sum, uint64_t number)
{
    uint8_t bytes[8]; /* the same on every machine */

    for (unsigned k = 0; k < 8; k++)
        bytes[k] = (uint8_t)(number >> (8 * k));
    return qb_crc32(sum, bytes, sizeof(bytes));
}

/* Whether the key's member is among those that `asks` lists. */
static bool is_listed(const struct qb_key_row *key)
{
#define IS(member) (key->field == offsetof(struct qb_request, member))
    return IS(compat) || IS(size) || IS(lazy_refcounts) || IS(refcount_bits) || IS(encryption) ||
           IS(cluster_size) || IS(extended_l2) || IS(data_file_raw) || IS(zero_clusters) ||
           IS(zero_method) || IS(keep_undo) || IS(backing_file) || IS(backing_fmt) ||
           IS(preallocation) || IS(compression_type) || IS(data_file);
#undef IS
}

/* A list of texts beyond its first one, which add_value has taken. */
static uint32_t add_names(uint32_t sum, const struct qb_key_row *key, const void *holder,
                          uint64_t n)
{
    for (size_t i = 1; key->kind == QB_KIND_NAMES && i < n; i++) {
        const char *text;
        uint64_t number;

        qb_part_get(key, holder, i, &number, &text);
        sum = add_text(sum, text);
    }
    return sum;
}

static uint32_t add_value(uint32_t sum, const struct qb_key_row *key, const void *holder)
{
    const char *text;
    uint64_t number;

    qb_part_get(key, holder, 0, &number, &text);
    return add_names(add_text(add_number(sum, number), text), key, holder, number);
}

/* Each item of a list of mappings, part by part. */
static uint32_t add_items(uint32_t sum, const struct qb_key_row *key, const struct qb_request *rq)
{
    struct qb_items list = qb_mappings_get(key, rq);

    for (size_t i = 0; i < list.n; i++)
        qb_parts_each(part, key) sum =
            add_value(sum, part, (const char *)list.items + i * key->item_size);
    return sum;
}

/* Keys of the table that were added later, by name, so that their order does not matter. */
static uint32_t add_new_keys(uint32_t sum, const struct qb_request *rq)
{
    qb_keys_each (key, QB_SECTION_amend) {
        const char *text;
        uint64_t number;
        uint32_t one;

        qb_key_get(key, rq, &number, &text);
        if (is_listed(key) || (!number && !text))
            continue;
        one = add_value(add_text(0, key->name), key, rq);
        if (key->kind == QB_KIND_MAPPINGS)
            one = add_items(one, key, rq);
        sum ^= one;
    }
    return sum;
}

/* Everything that decides what the image shall be and how; not how much memory it may take.
 *
 * Journals keep the result, so that it must not change for a request that an earlier version could
 * read: a member that is new goes to the end of `later`, where 0 is what all requests had before,
 * and an amend key that is new counts, by itself, where it is set. */
static uint32_t asks(const struct qb_request *rq)
{
    const uint64_t numbers[] = {
        rq->set,           rq->compat,      rq->size,         rq->size_is,      rq->lazy_refcounts,
        rq->refcount_bits, rq->encryption,  rq->cluster_size, rq->extended_l2,  rq->data_file_raw,
        rq->zero_clusters, rq->zero_method, rq->allow_shrink, rq->drop_bitmaps, rq->fail_if_dirty,
        rq->verify,        rq->keep_undo,
    };
    const uint64_t later[] = {rq->on_leaks, rq->fail_if_remote, rq->free_lost_tables};
    uint32_t sum = 0;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sum = add_number(sum, numbers[i]);
    sum = add_text(sum, rq->backing_file);
    sum = add_text(sum, rq->backing_fmt);
    sum = add_text(sum, rq->preallocation);
    sum = add_text(sum, rq->compression_type);
    sum = add_text(sum, rq->data_file);
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++)
        if (later[i])
            sum = add_number(add_number(sum, i), later[i]);
    return add_new_keys(sum, rq);
}

void qb_asks_note(struct qb_batch *batch)
{
    for (size_t i = 0; i < batch->n_jobs; i++) {
        struct qb_job *job = &batch->jobs[i];

        /* The images of one entry have one request. */
        if (i > 0 && job->rules == job[-1].rules &&
            memcmp(&job->request, &job[-1].request, sizeof(job->request)) == 0) {
            job->asks = job[-1].asks;
            continue;
        }
        job->asks = asks(&job->request);
        if (job->rules)
            job->asks = qb_rules_print(job->rules, job->asks);
    }
}
