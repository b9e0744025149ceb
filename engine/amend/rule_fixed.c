/* Keys of qemu-img that fix how an image was made: naming what it has is no change, and anything
 * else is refused. */
#include <string.h>

#include "amend/rule.h"

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    const struct qb_header *h = &img->header;
    const char *type = h->compression_type ? "zstd" : "zlib";

    (void)t;
    if (qb_asked(rq, QB_KEY_PREALLOCATION) && strcmp(qb_text_of(rq->preallocation), "off") != 0)
        return QB_REFUSE("preallocation cannot be changed by an amend");
    if (qb_asked(rq, QB_KEY_ENCRYPTION) && rq->encryption != (h->crypt_method != 0))
        return QB_REFUSE("encryption cannot be changed by an amend: the image is %sencrypted",
                         h->crypt_method ? "" : "not ");
    if (qb_asked(rq, QB_KEY_CLUSTER_SIZE) && rq->cluster_size != img->geom.cluster_size)
        return QB_REFUSE("cluster_size cannot be changed by an amend: the image has %llu",
                         (unsigned long long)img->geom.cluster_size);
    if (qb_asked(rq, QB_KEY_COMPRESSION_TYPE) &&
        strcmp(qb_text_of(rq->compression_type), type) != 0)
        return QB_REFUSE("compression_type cannot be changed by an amend: the image has %s", type);
    if (qb_asked(rq, QB_KEY_EXTENDED_L2) && rq->extended_l2 != (img->geom.l2_entry_size == 16))
        return QB_REFUSE("extended_l2 cannot be changed by an amend");
    return 0;
}

const struct qb_rule qb_rule_fixed = {.name = "how the image was made", .resolve = resolve};
