/* A device that is too small when an amend is planned, and made larger before it is appended. */
#include "amend/amend.h"
#include "amends.h"
#include "images.h"
#include "mem/mem.h"
#include "unit.h"

enum { SECTOR = 512 };

static const struct image_shape shape = {
    .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536};
static const struct qb_request wide = {.struct_size = sizeof(wide),
                                       .set = QB_KEY_REFCOUNT_BITS,
                                       .refcount_bits = 64,
                                       .verify = QB_VERIFY_METADATA};

struct device {
    struct image_bytes image;
    struct qb_mem_log *log;
    struct qb_io *io;
    struct qb_amend *amend;
};

/* An image that fills its device, planned. */
static int plan_on_device(struct device *d, bool may_extend)
{
    struct qb_file file;

    d->image = image_make(&shape, "d9");
    d->log = run_machine(&d->image);
    d->io = run_io(d->log);
    d->amend = qb_amend_new("/nowhere/device");
    CU_ASSERT_EQUAL_FATAL(qb_mem_reopen(d->log, 0, &file), 0);
    file.is_block_device = true;
    CU_ASSERT_EQUAL_FATAL(
        qb_amend_open(d->amend, d->io, (struct qb_claim){.writable = true}, &file), 0);
    if (may_extend)
        qb_amend_may_extend(d->amend);
    return qb_amend_plan(d->amend, d->io, &wide);
}

static void end(struct device *d)
{
    qb_amend_close(d->amend);
    qb_io_close(d->io);
    qb_mem_log_free(d->log);
    image_bytes_free(&d->image);
}

/* The device is so much longer now. */
static void lengthen(struct device *d, uint64_t more)
{
    qb_amend_file(d->amend)->size += more;
}

static void a_device_that_nobody_extends_is_a_refusal_that_says_what_it_lacks(void)
{
    struct device d;
    const struct qb_result *r;

    CU_ASSERT_EQUAL(plan_on_device(&d, false), -1);
    r = qb_amend_result(d.amend);
    CU_ASSERT_EQUAL(r->err.code, QB_E_NO_SPACE);
    CU_ASSERT_TRUE(r->device_lacks > 0 && r->device_lacks % SECTOR == 0);
    CU_ASSERT_EQUAL(r->image_end_offset, d.image.size + r->device_lacks);
    end(&d);
}

static void what_is_planned_for_a_larger_device_is_not_appended_to_this_one(void)
{
    const struct qb_mem_event *events;
    const struct qb_result *r;
    struct device d;

    CU_ASSERT_EQUAL_FATAL(plan_on_device(&d, true), 0);
    r = qb_amend_result(d.amend);
    CU_ASSERT_EQUAL(r->status, QB_STATUS_WOULD_CHANGE);
    CU_ASSERT_EQUAL(r->err.code, QB_E_NONE);
    CU_ASSERT_EQUAL(r->device_lacks, qb_amend_lacks(d.amend));
    CU_ASSERT_EQUAL(qb_amend_append(d.amend, d.io), -1);
    CU_ASSERT_EQUAL(qb_amend_result(d.amend)->err.code, QB_E_INTERNAL);
    CU_ASSERT_EQUAL(qb_mem_events(d.log, &events), 0);
    end(&d);
}

static void a_sector_too_little_is_too_little(void)
{
    const struct qb_mem_event *events;
    struct device d;

    CU_ASSERT_EQUAL_FATAL(plan_on_device(&d, true), 0);
    lengthen(&d, qb_amend_lacks(d.amend) - SECTOR);
    CU_ASSERT_EQUAL(qb_amend_fit(d.amend), -1);
    CU_ASSERT_EQUAL(qb_amend_lacks(d.amend), SECTOR);
    CU_ASSERT_EQUAL(qb_amend_result(d.amend)->err.code, QB_E_NO_SPACE);
    CU_ASSERT_EQUAL(qb_amend_result(d.amend)->status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(qb_mem_events(d.log, &events), 0);
    end(&d);
}

static void a_device_that_got_what_it_lacked_takes_the_plan_as_it_is(void)
{
    struct device d;
    uint64_t image_end;

    CU_ASSERT_EQUAL_FATAL(plan_on_device(&d, true), 0);
    image_end = qb_amend_result(d.amend)->image_end_offset;
    lengthen(&d, qb_amend_lacks(d.amend));
    CU_ASSERT_EQUAL_FATAL(qb_amend_fit(d.amend), 0);
    CU_ASSERT_EQUAL(qb_amend_lacks(d.amend), 0);
    CU_ASSERT_EQUAL(qb_amend_append(d.amend, d.io), 0);
    CU_ASSERT_EQUAL(qb_amend_flip(d.amend, d.io), 0);
    CU_ASSERT_EQUAL(qb_amend_flipped(d.amend, 0), 0);
    CU_ASSERT_EQUAL(qb_amend_verify(d.amend, d.io), 0);
    CU_ASSERT_EQUAL(qb_amend_result(d.amend)->status, QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(qb_amend_result(d.amend)->image_end_offset, image_end);
    end(&d);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_device_that_nobody_extends_is_a_refusal_that_says_what_it_lacks),
        UNIT(what_is_planned_for_a_larger_device_is_not_appended_to_this_one),
        UNIT(a_sector_too_little_is_too_little),
        UNIT(a_device_that_got_what_it_lacked_takes_the_plan_as_it_is),
    };

    return unit_main("device_room", tests, UNIT_COUNT(tests));
}
