#include "page/html_orders.h"

#include <inttypes.h>

#include "util/xml.h"

void qb_html_put_orders(FILE *f, const qb_orders *orders, size_t run)
{
    if (!orders || orders->n == 0)
        return;
    fputs("<h2>Orders by qbatch ctl", f);
    if (run)
        fprintf(f, " to run %zu", run);
    fputs("</h2>\n<div class=wide><table>\n<thead><tr><th>When<th>Order<th>By<th class=n>User ID\n"
          "<tbody>\n",
          f);
    qb_vec_each (order, orders) {
        fputs("<tr><td>", f);
        qb_markup_text(f, order->at);
        fputs("<td>", f);
        qb_markup_text(f, order->what);
        if (order->path) {
            fputc(' ', f);
            qb_markup_text(f, order->path);
        }
        fputs("<td>", f);
        qb_markup_text(f, order->who);
        fprintf(f, "<td class=n>%" PRIu64 "\n", order->uid);
    }
    fputs("</table></div>\n", f);
}
