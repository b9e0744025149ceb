/* What the files that write an image share. */
#ifndef QB_SCENE_IMAGE_PARTS_H
#define QB_SCENE_IMAGE_PARTS_H

#include "scene/image.h"

enum { BENCH_BITMAP_ENTRY = 32 }; /* bytes of the directory for one bitmap: its name has up to 8 */

/* Writes all n bytes at this offset of the file. */
int bench_put(int fd, const void *bytes, size_t n, uint64_t at, struct qb_err *err);

/* The directory, the tables and the bits; buf has space for a cluster. */
int bench_put_bitmaps(const struct bench_layout *layout, int fd, uint8_t *buf, struct qb_err *err);

/* Bytes that are not zero, from offset `at` of the file to `end`; buf has space for a cluster. */
int bench_put_junk(const struct bench_layout *layout, int fd, uint64_t at, uint64_t end,
                   uint8_t *buf, struct qb_err *err);

/* A raw disk: see bench_shape.raw_step. */
int bench_put_raw(const struct bench_layout *layout, int fd, struct qb_err *err);

/* The external data file of the image at this path; buf has space for a cluster. */
int bench_write_data_file(const struct bench_layout *layout, const char *path, uint8_t *buf,
                          struct qb_err *err);

#endif
