#include "record/orders_json.h"

#include "util/text.h"

void qb_orders_json(struct qb_json *o, const qb_orders *orders)
{
    struct qb_json list;

    if (!orders || orders->n == 0)
        return;
    list = qb_json_list();
    qb_vec_each (order, orders) {
        struct qb_json item = qb_json_object();

        qb_json_text(&item, "what", order->what);
        if (order->path)
            qb_json_path(&item, order->path);
        qb_json_text(&item, "who", order->who);
        qb_json_number(&item, "uid", order->uid);
        qb_json_text(&item, "at", order->at);
        qb_json_append(&list, item);
    }
    qb_json_child(o, "hand", list);
}

static void read_one(void *arg, const struct qb_parsed *item)
{
    qb_order_read(item, arg);
}

void qb_orders_read(const struct qb_parsed *o, qb_orders *out)
{
    qb_json_each_object(o, "hand", read_one, out);
}

void qb_order_print(FILE *f, const struct qb_order *order)
{
    qb_text_safe(f, order->what);
    if (order->path) {
        fputc(' ', f);
        qb_text_safe(f, order->path);
    }
}
