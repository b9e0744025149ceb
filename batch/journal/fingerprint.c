/* Fingerprints of requests. */
#include <string.h>

#include "job/rules.h"
#include "journal/run_journal.h"
#include "qcow2/deflate.h"

static uint32_t add_text(uint32_t sum, const char *s)
{
    return s ? qb_crc32(sum, s, strlen(s) + 1) : qb_crc32(sum, "\1", 1);
}

/* Everything that decides what the image shall be and how; not how much memory it may take. */
static uint32_t asks(const struct qb_request *rq)
{
    const uint64_t numbers[] = {
        rq->set,           rq->compat,      rq->size,         rq->size_is_delta, rq->lazy_refcounts,
        rq->refcount_bits, rq->encryption,  rq->cluster_size, rq->extended_l2,   rq->data_file_raw,
        rq->zero_clusters, rq->zero_method, rq->allow_shrink, rq->drop_bitmaps,  rq->fail_if_dirty,
        rq->verify,        rq->keep_undo,   rq->on_leaks,
    };
    uint32_t sum = 0;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint8_t bytes[8]; /* the same on every machine */

        for (unsigned k = 0; k < 8; k++)
            bytes[k] = (uint8_t)(numbers[i] >> (8 * k));
        sum = qb_crc32(sum, bytes, sizeof(bytes));
    }
    sum = add_text(sum, rq->backing_file);
    sum = add_text(sum, rq->backing_fmt);
    sum = add_text(sum, rq->preallocation);
    sum = add_text(sum, rq->compression_type);
    return add_text(sum, rq->data_file);
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
