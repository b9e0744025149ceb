#include "outcome/orders.h"

#include <stdlib.h>
#include <string.h>

#include "util/text.h"

static void free_one(struct qb_order *order)
{
    free((char *)order->what);
    free((char *)order->who);
    free((char *)order->at);
    free((char *)order->path);
}

/* Appends copies; all but path are there.  false when memory is short. */
static bool add(qb_orders *orders, const struct qb_order *order)
{
    struct qb_order copy = {.what = strdup(order->what),
                            .who = strdup(order->who),
                            .at = strdup(order->at),
                            .path = order->path ? strdup(order->path) : NULL,
                            .uid = order->uid};

    if (copy.what && copy.who && copy.at && (copy.path || !order->path) &&
        qb_vec_push(orders, copy))
        return true;
    free_one(&copy);
    return false;
}

void qb_orders_free(qb_orders *orders)
{
    qb_vec_each (order, orders)
        free_one(order);
    qb_vec_free(orders);
}

bool qb_orders_of(const struct qb_hand *hand, const struct qb_batch *batch, qb_orders *out)
{
    size_t n = atomic_load(&hand->n_acts);
    bool ok = true;

    for (size_t i = 0; ok && i < n; i++) {
        struct qb_act act = hand->acts[i];
        char at[QB_TEXT_NUMBER];

        ok = add(out, &(struct qb_order){.what = act.what,
                                         .who = act.who,
                                         .at = qb_text_time(act.at, at),
                                         .path = act.image ? batch->jobs[act.image - 1].path : NULL,
                                         .uid = act.uid});
    }
    return ok;
}

void qb_order_read(const struct qb_parsed *o, qb_orders *out)
{
    char *path = qb_json_get_path(o);
    const char *what = qb_json_get_text(o, "what"), *who = qb_json_get_text(o, "who"),
               *at = qb_json_get_text(o, "at");

    if (what && who && at)
        add(out, &(struct qb_order){what, who, at, path, qb_json_get_number(o, "uid", 0)});
    free(path);
}
