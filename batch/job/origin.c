#include "job/origin.h"

#include <string.h>

#include "base/own.h"

bool qb_origin_add_label(struct qb_origin *o, const char *key, const char *value)
{
    struct qb_label label = {strdup(key), strdup(value)};

    if (label.key && label.value && qb_vec_push(&o->labels, label))
        return true;
    free(label.key);
    free(label.value);
    return false;
}

void qb_origin_free(struct qb_origin *o)
{
    free(qb_take(&o->host));
    free(qb_take(&o->caller));
    free(qb_take(&o->command));
    qb_vec_each (label, &o->labels) {
        free(label->key);
        free(label->value);
    }
    qb_vec_free(&o->labels);
}
