/* Identity and state of a file while its locks are held: a later call can detect changes by them.
 */
#ifndef QB_JOURNAL_SEEN_H
#define QB_JOURNAL_SEEN_H

#include <sys/stat.h>

#include "base/digest.h"
#include "journal/journal.h"

struct qb_seen {
    bool valid; /* false: not recorded, or a device, which has no such times */
    uint64_t dev, ino, length, mtime_ns;
    struct qb_digest as_found; /* of all its bytes (as_found.h), after a verification that failed */
};

struct qb_seen qb_seen_of_stat(const struct stat *st);
struct qb_seen qb_seen_of(int fd);
struct qb_seen qb_seen_at(const char *path);

/* Whether both are valid, and have the same inode number: that of a device may change with each
 * mount. */
bool qb_seen_is_same(const struct qb_seen *a, const struct qb_seen *b);

/* Whether the file is the same, and neither length nor modification time has changed.  Those of an
 * overwrite need not survive a power cut: equal ones prove nothing after one. */
bool qb_seen_is_unwritten(const struct qb_seen *then, const struct qb_seen *now);

/* Adds it to the record that is being composed, without `as_found`; nothing if it is not valid. */
void qb_seen_put(struct qb_journal *j, const struct qb_seen *seen);
struct qb_seen qb_seen_read(const struct qb_parsed *record);

#endif
