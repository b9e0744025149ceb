/* Shows what people asked of a run by qbatch ctl. */
#include <stdio.h>

#include "fleet/status_images.h"
#include "record/orders_json.h"
#include "util/text.h"

void qb_status_orders(const struct qb_history *h)
{
    qb_vec_each (order, &h->orders) {
        fputs(order == h->orders.items ? "hand      " : "          ", stdout);
        qb_text_safe(stdout, order->at);
        fputc(' ', stdout);
        qb_order_print(stdout, order);
        fputs(", by ", stdout);
        qb_text_safe(stdout, order->who);
        putchar('\n');
    }
}
