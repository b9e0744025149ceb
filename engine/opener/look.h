/* What paths lead to, without opening it: stat(2) and its like.
 *
 * A process that has an empty root (confine.h) sees no path, and its opener's helper looks for it:
 * each function has that opener first.  With NULL, or that of a process which sees paths, it is the
 * call of the C library.
 *
 * The helper answers in full about images only.  Of any other name, as images have them, it tells
 * no more than an owner of an image could look up himself, and than is asked for: which file it
 * leads to, of what kind, whose, with how many names, and when that changed, and EACCES of what he
 * could not (look_judge.c).  Links are told on the way to an image only. */
#ifndef QB_OPENER_LOOK_H
#define QB_OPENER_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

struct qb_opener;
struct qb_file;

/* As stat(2): 0, or -1 with errno; ECHILD where the helper has ended.  Of names other than those of
 * images st_size, st_blocks, the permissions, and times but st_ctim are 0. */
int qb_look(const struct qb_opener *by, const char *path, struct stat *st);

/* Whether the path of an image is a symbolic link itself. */
bool qb_look_is_link(const struct qb_opener *by, const char *image);

/* As realpath(3), of the path of an image, or of the folder in it: to be freed, or NULL with errno.
 */
char *qb_look_real(const struct qb_opener *by, const char *image);
char *qb_look_real_folder(const struct qb_opener *by, const char *image);

/* Whether the path still leads to the very file that is open (same device and inode).  The second
 * one also sets *same_size, if it does, as qb_file_keeps_size, by the same call. */
bool qb_file_still_there(struct qb_file *file);
bool qb_file_still_there_as_long(struct qb_file *file, bool *same_size);

/* The folder of a path, as text; to be freed. */
char *qb_look_folder(const char *path);

/* Where looks are asked for: has those at the paths of these images, 1 up to QB_PARCEL_FILES, made
 * at once, for qb_file_still_there of each that follows, once, and soon: what is older than some
 * milliseconds is looked at again.  `numbers`: as of qb_opener_claim. */
void qb_look_ahead(struct qb_file *const *files, const size_t *numbers, size_t n);

/* Whether this opener is asked for looks. */
bool qb_look_asks(const struct qb_opener *by);

/* ---- look_errand.c: in the helper, with struct qb_opening_rules -------------------------------
 */

struct qb_parcel;

void qb_looking_errand(void *arg, const struct qb_parcel *request, struct qb_parcel *answer);
void qb_looking_many(void *arg, const struct qb_parcel *request, struct qb_parcel *answer);

#endif
