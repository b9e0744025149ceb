/* Writes what people asked of a run by qbatch ctl into a page. */
#ifndef QB_PAGE_HTML_ORDERS_H
#define QB_PAGE_HTML_ORDERS_H

#include <stdio.h>

#include "outcome/orders.h"

/* Nothing where nobody did.  `run` is its number among several; 0: it is the only one. */
void qb_html_put_orders(FILE *f, const qb_orders *orders, size_t run);

#endif
