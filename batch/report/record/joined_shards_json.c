/* What programs are told of shards that were joined. */
#include "record/joined_shards.h"

static void put_numbers(struct qb_json *o, const char *key, const unsigned *numbers, size_t n)
{
    struct qb_json list = qb_json_list();

    for (size_t i = 0; i < n; i++)
        qb_json_append_number(&list, numbers[i]);
    qb_json_child(o, key, list);
}

void qb_joined_shards_json(struct qb_json *o, const struct qb_joined_shards *j,
                           const struct qb_batch *batch)
{
    struct qb_json shards, list;

    if (!j || !j->of) {
        qb_json_null(o, "shards");
        return;
    }
    shards = qb_json_object();
    list = qb_json_list();
    qb_json_number(&shards, "of", j->of);
    qb_json_bool(&shards, "mixed", j->mixed);
    put_numbers(&shards, "missing", j->missing.items, j->missing.n);
    put_numbers(&shards, "unfinished", j->unfinished.items, j->unfinished.n);
    put_numbers(&shards, "overlapping", j->overlapping.items, j->overlapping.n);
    qb_json_number(&shards, "in_two", j->in_two.n);
    for (size_t i = 0; i < j->in_two.n && i < QB_IN_TWO_LISTED; i++) {
        struct qb_json two = qb_json_object();

        qb_json_path(&two, batch->jobs[j->in_two.items[i].first].path);
        qb_json_path_of(&two, "other_path", batch->jobs[j->in_two.items[i].other].path);
        qb_json_append(&list, two);
    }
    qb_json_child(&shards, "in_two_first", list);
    qb_json_child(o, "shards", shards);
}
