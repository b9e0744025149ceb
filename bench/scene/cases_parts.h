/* Declares what the parts of the cases share: cases.c (each case's work), cases_io.c (keys and bare
 * I/O that many have), cases_space.c (those that give space back, or take it). */
#ifndef QB_SCENE_CASES_PARTS_H
#define QB_SCENE_CASES_PARTS_H

#include "scene/scene.h"

/* ---- cases_io.c ------------------------------------------------------------------------------ */

/* A key of the request. */
void bench_add_key(struct bench_scene *s, const char *name, const char *text);
void bench_add_value_key(struct bench_scene *s, const char *name, enum bench_param param);

/* Bytes of each table that hold entries, in pages of the file system. */
uint64_t bench_table_used(const struct bench_layout *l);

/* The limit reads all L1 and L2 tables, or all refcount blocks, or writes that many clusters past
 * the end.
 */
void bench_read_tables(struct bench_scene *s);
void bench_read_blocks(struct bench_scene *s);
void bench_append_clusters(struct bench_scene *s, uint64_t clusters);

/* Another width of the refcounts. */
int bench_refcount_width(struct bench_scene *s, struct qb_err *err);

/* ---- cases_space.c --------------------------------------------------------------------------- */

int bench_give_back(struct bench_scene *s, struct qb_err *err);
int bench_compact(struct bench_scene *s, struct qb_err *err);
int bench_convert_raw(struct bench_scene *s, struct qb_err *err);
int bench_fill_device(struct bench_scene *s, struct qb_err *err);

#endif
