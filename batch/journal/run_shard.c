/* The shard that a run is, in its record. */
#include "journal/run_journal.h"
#include "shard/shard.h"

void qb_state_shard_record(struct qb_journal *j, struct qb_shard shard)
{
    if (!shard.of)
        return;
    qb_journal_number(j, "format", QB_JOURNAL_FORMAT_SHARDED);
    qb_journal_number(j, "shard", shard.number);
    qb_journal_number(j, "shards", shard.of);
}

struct qb_shard qb_state_shard_read(const struct qb_parsed *record)
{
    uint64_t number = qb_json_get_number(record, "shard", 0);
    uint64_t of = qb_json_get_number(record, "shards", 0);

    if (number < 1 || number > of || of > QB_SHARDS_MAX)
        return (struct qb_shard){0};
    return (struct qb_shard){(unsigned)number, (unsigned)of};
}
