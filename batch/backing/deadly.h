/* Remembers headers that end the process which reads them, from one process (host/mortal.h) to the
 * next: where the headers of many files are read in advance (tree.h), or of those that images name
 * (order.h).
 *
 * A process says in memory that it has in common with its parent which headers it is reading.  When
 * it dies these are suspects: the next one reads them before the others, each alone; one that ends
 * a second process which read no other header is deadly, and is not read any more. */
#ifndef QB_BACKING_DEADLY_H
#define QB_BACKING_DEADLY_H

#include "host/mortal.h"
#include "qcow2/image.h"

struct qb_deadly;

/* In the parent: NULL when memory is short. */
struct qb_deadly *qb_deadly_new(void);
void qb_deadly_free(struct qb_deadly *deadly); /* may be NULL */

/* In the parent, after a death: how many headers the process was reading, which no longer counts
 * once there are more deaths of this kind than `most` files explain. */
size_t qb_deadly_bury(struct qb_deadly *deadly, size_t most, const char *how);

/* ---- in a process; NULL: none is known ---------------------------------------------------------
 */

bool qb_deadly_has_suspects(const struct qb_deadly *deadly);
bool qb_deadly_suspects(const struct qb_deadly *deadly, dev_t dev, ino_t ino);

/* qb_image_open; QB_E_CRASHED for a header that is deadly.  `alone`: no other thread reads one. */
int qb_deadly_open(struct qb_deadly *deadly, bool alone, struct qb_io *io, struct qb_file *file,
                   struct qb_image *img, struct qb_err *err);

/* Fails with QB_E_CRASHED if its header is deadly; else 0. */
int qb_deadly_check(const struct qb_deadly *deadly, const struct qb_file *file, struct qb_err *err);

#endif
