/* Keys of qemu-img that are fixed when an image is created: the value that the image has is
 * accepted as no change, any other is refused. */
#include "plan/rule.h"

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    const struct qb_header *h = &img->header;

    (void)t;
    if (qb_asked(rq, QB_KEY_ENCRYPTION) && rq->encryption != (h->crypt_method != 0))
        return QB_REFUSE("encryption cannot be changed by an amend: the image is %sencrypted",
                         h->crypt_method ? "" : "not ");
    if (qb_asked(rq, QB_KEY_CLUSTER_SIZE) && rq->cluster_size != img->geom.cluster_size)
        return QB_REFUSE("cluster_size cannot be changed by an amend: the image has %llu",
                         (unsigned long long)img->geom.cluster_size);
    return 0;
}

const struct qb_rule qb_rule_fixed = {.name = "how the image was made", .resolve = resolve};
