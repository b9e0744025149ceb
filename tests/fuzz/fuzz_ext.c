/* Header extensions: the list never leaves its bounds, and is the same when written again. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "qcow2/ext.h"

static void check_again(qb_ext_list *list)
{
    qb_ext_list again = {0};
    uint64_t space = sizeof(struct qb_disk_ext), at = 0, end;
    struct qb_err err;
    uint8_t *bytes;

    qb_vec_each (e, list)
        space += qb_ext_space(e->len);
    bytes = malloc(space);
    qb_vec_each (e, list) {
        qb_ext_put(bytes + at, e->type, e->data, e->len);
        at += qb_ext_space(e->len);
    }
    qb_ext_put(bytes + at, QB_EXT_END, NULL, 0);
    FUZZ_HOLDS(qb_ext_parse(bytes, space, 0, space, &again, &end, &err) == 0, "%s", err.text);
    FUZZ_HOLDS(end == space && again.n == list->n, "the list changes when it is written");
    for (size_t i = 0; i < list->n; i++)
        FUZZ_HOLDS(again.items[i].type == list->items[i].type &&
                       again.items[i].len == list->items[i].len &&
                       memcmp(again.items[i].data, list->items[i].data, list->items[i].len) == 0,
                   "extension %zu changes when it is written", i);
    qb_vec_free(&again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint64_t first = fuzz_take(&in, 1), beyond = fuzz_take(&in, 1);
    uint8_t *bytes = fuzz_copy_rest(&in);
    uint64_t have = in.left, end = have + beyond, list_end = 0;
    qb_ext_list list = {0};
    struct qb_err err;

    if (qb_ext_parse(bytes, have, first, end, &list, &list_end, &err) == 0) {
        FUZZ_HOLDS(list_end <= end, "the end marker is behind the end");
        qb_vec_each (e, &list)
            FUZZ_HOLDS(e->data >= bytes + first && e->data + e->len <= bytes + have,
                       "an extension leaves the buffer");
        (void)qb_ext_find(&list, QB_EXT_BITMAPS);
        check_again(&list);
    }
    qb_vec_free(&list);
    free(bytes);
    return 0;
}
