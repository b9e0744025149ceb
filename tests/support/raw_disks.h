/* Raw disks in memory, and whether an image reads like one. */
#ifndef QB_TESTS_RAW_DISKS_H
#define QB_TESTS_RAW_DISKS_H

#include "amends.h"

#define RAW_SECTOR  512u
#define RAW_CONVERT .convert_from = "raw", .convert_to = "qcow2", .verify = QB_VERIFY_METADATA

/* A conversion with clusters of 4 KiB. */
extern const struct qb_request raw_small;

/* A disk whose every third sector is zero. */
struct image_bytes raw_disk(uint64_t size);

/* The size, bytes, in whole sectors. */
uint64_t raw_sectors(uint64_t size);

/* "" where the image has a disk of `size` bytes that reads as the raw disk, zeros behind, and is
 * whole. */
const char *raw_differs(const struct image_bytes *image, const struct image_bytes *raw,
                        uint64_t size);

/* Asserts that; `at` is for the message. */
void raw_expect(const struct image_bytes *image, const struct image_bytes *raw, uint64_t size,
                const char *at);

/* Asserts that the request is refused with a text that has this in it, and nothing written. */
void raw_expect_refusal(const struct image_bytes *raw, const struct qb_request *rq,
                        enum qb_code code, const char *text);

#endif
