/* Remembers headers that end the process which reads them, from one process (host/mortal.h) to the
 * next: where the headers of many files are read in advance (tree.h), or of those that images name
 * (order.h).
 *
 * A process says in memory that it has in common with its parent which headers it is reading.  When
 * it dies these are suspects: the next one reads them before the others, each alone; one that ends
 * a second process which read no other header is deadly, and is not decoded any more.  Of such a
 * one only a glimpse is taken (image/glimpse.h), alone, too; where that ends a process it is dark,
 * and is not read at all. */
#ifndef QB_BACKING_DEADLY_H
#define QB_BACKING_DEADLY_H

#include "host/mortal.h"
#include "image/image.h"

struct qb_deadly;

/* In the parent: NULL when memory is short. */
struct qb_deadly *qb_deadly_new(void);
void qb_deadly_free(struct qb_deadly *deadly); /* may be NULL */

/* In the parent, after a death: how many headers the process was reading, which no longer counts
 * once there are more deaths of this kind than `most` files explain. */
size_t qb_deadly_bury(struct qb_deadly *deadly, size_t most, const char *how);

/* ---- in a process; NULL: none is known ---------------------------------------------------------
 */

/* Whether there are headers that are to be looked at alone, before the others; and whether this is
 * one. */
bool qb_deadly_has_suspects(const struct qb_deadly *deadly);
bool qb_deadly_suspects(const struct qb_deadly *deadly, dev_t dev, ino_t ino);

/* Fails with QB_E_CRASHED if its header is deadly; else 0. */
int qb_deadly_check(const struct qb_deadly *deadly, const struct qb_file *file, struct qb_err *err);
bool qb_deadly_is_dark(const struct qb_deadly *deadly, const struct qb_file *file);

/* Around the reading of a header.  `alone`: no other thread reads one.  The mark may be NULL. */
struct qb_deadly_mark *qb_deadly_begin(struct qb_deadly *deadly, bool alone,
                                       const struct qb_file *file);
void qb_deadly_end(struct qb_deadly_mark *mark);

/* qb_image_open, alone; QB_E_CRASHED for a header that is deadly. */
int qb_deadly_open(struct qb_deadly *deadly, struct qb_io *io, struct qb_file *file,
                   struct qb_image *img, struct qb_err *err);

#endif
