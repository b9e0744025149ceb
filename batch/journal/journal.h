/* Writes and reads journals: append-only files of records, one per line.
 *
 *     9ad1c6b2 {"is":"planned","path":"/srv/vm/a.qcow2","length":393216}
 *
 * The first word is the CRC-32 of the rest of the line, so that it can be read with `tail`, `grep`
 * and an editor, and damaged records are detected.  Records are composed in memory, and many are
 * written at a time.
 *
 * A power cut may leave any subset of the 512-byte sectors that were written since the last sync.
 * So each write begins with a record that names the offset up to which the journal was synced:
 *
 *     5d2f07c1 {"is":"synced","of":"0000f3","length":8192}
 *
 * A line below the greatest such offset that is not valid is damage.  At or after it, a power cut
 * is assumed, and reading resumes at the next valid line: no image depended on what was lost there.
 * "of" is the end of the run's name: a record of another journal, in a block that a file system did
 * not clear, is not valid in this one.
 *
 * One process at a time holds a journal open for writing (a lock on the file, released on close).
 * A journal is a regular file of the effective user that no other user can write; any other is
 * refused. */
#ifndef QB_JOURNAL_JOURNAL_H
#define QB_JOURNAL_JOURNAL_H

#include "util/json_read.h"
#include "io/io.h"

/* Version of the meaning of records.  A reader ignores unknown records and fields; when that would
 * be wrong, the number is raised, the first record contains it ("format") and older versions refuse
 * the journal. */
enum {
    QB_JOURNAL_FORMAT = 2,         /* the greatest that is read */
    QB_JOURNAL_FORMAT_SHARDED = 2, /* of a run that has a shard: whoever resumed it with all images
                                      of the manifest would amend those of others again */
};

struct qb_journal {
    struct qb_file file; /* for barriers, which make written records durable */
    char *text;          /* owned: records that are not written yet */
    size_t used, room, record;
    uint64_t length;  /* bytes of the file, all complete records */
    uint64_t synced;  /* bytes of these known to be durable; the next write names them */
    uint64_t syncing; /* `length` when qb_journal_file was called last */
    char tag[8];      /* "of" of each record */
    bool unsynced;    /* something was written since qb_journal_file */
    int errnum;       /* the first failure of a write or a sync; nothing is written after it */
};

/* Opens the journal at `path` with the flags of open(2), and checks its owner and mode.  The
 * descriptor, or -1 with *err. */
int qb_journal_open(const char *path, int flags, struct qb_err *err);

/* Makes a new journal; it must not exist.  -1 with *err. */
int qb_journal_create(const char *path, struct qb_journal *j, struct qb_err *err);

/* The state of a journal after reading it. */
struct qb_journal_end {
    size_t lines;    /* valid ones */
    uint64_t length; /* bytes up to the end of the last valid line */
    uint64_t synced; /* bytes known to be durable: the greatest offset of a "synced" record */
    size_t cuts;     /* places where a power cut lost records; a torn last line is one */
    bool torn;       /* the last line is torn */
};

/* Called for each record, in order; `at` is the byte of the file where its line begins.  -1 stops
 * the reading. */
typedef int qb_journal_fn(void *arg, const struct qb_parsed *record, uint64_t at,
                          struct qb_err *err);

/* Reads the journal at `path`, except for the records about the journal itself.  An invalid line
 * that was durable is QB_E_CORRUPT, with its number. */
int qb_journal_read(const char *path, qb_journal_fn *fn, void *arg, struct qb_journal_end *end,
                    struct qb_err *err);

/* Reads the one record at byte `at`; or of a journal that is open, whose name is for messages. */
int qb_journal_read_at(const char *path, uint64_t at, qb_journal_fn *fn, void *arg,
                       struct qb_err *err);
int qb_journal_read_from(int fd, const char *path, uint64_t at, qb_journal_fn *fn, void *arg,
                         struct qb_err *err);

/* Opens an existing journal in order to append to it: locks it and reads it as above.  What is not
 * known to be durable is then written again, so that the next sync covers it regardless of earlier
 * ones; each place that a power cut left invalid becomes a record "cut" of its length (or blanks,
 * which are ignored), and what follows the last valid line is cut off.  QB_E_LOCKED when another
 * process has it open. */
int qb_journal_reopen(const char *path, qb_journal_fn *fn, void *arg, struct qb_journal *j,
                      struct qb_journal_end *end, struct qb_err *err);

/* Another process has written to the same open file, and has ended: how far it came, and errnum is
 * its failure, or 0. */
void qb_journal_told(struct qb_journal *j, int errnum);

/* Whether a process holds it open for writing now. */
bool qb_journal_is_held(const char *path);
bool qb_journal_fd_is_held(int fd);

/* Writes pending records and closes.  Harmless on an empty struct. */
void qb_journal_close(struct qb_journal *j);

/* ---- records ----------------------------------------------------------------------------------
 */

/* Compose one record, from begin to end; keys and `is` are plain ASCII.  A memory shortage sets
 * errnum. */
void qb_journal_begin(struct qb_journal *j, const char *is);
void qb_journal_text(struct qb_journal *j, const char *key, const char *s);
void qb_journal_path(struct qb_journal *j, const char *path);
void qb_journal_path_of(struct qb_journal *j, const char *key, const char *path);
void qb_journal_number(struct qb_journal *j, const char *key, uint64_t n);
void qb_journal_true(struct qb_journal *j, const char *key, bool b); /* left out when it is false */
void qb_journal_bytes(struct qb_journal *j, const char *key, const void *bytes, size_t n);
void qb_journal_end(struct qb_journal *j);

enum { QB_JOURNAL_HEAD = 9 }; /* the bytes before the object: eight digits and a space */
void qb_journal_sum(const char *json, size_t len, char head[QB_JOURNAL_HEAD]);

/* ---- for journal*.c --------------------------------------------------------------------------
 */

/* Replaces the `len` bytes at `line` by one valid record "cut", or by blanks if it does not fit. */
void qb_journal_fill(char *line, size_t len, const char *tag);

/* Reads an open journal; see qb_journal_read.  `tag` receives that of its records. */
int qb_journal_read_fd(int fd, const char *path, qb_journal_fn *fn, void *arg, char tag[8],
                       struct qb_journal_end *end, struct qb_err *err);

/* Replaces the invalid parts of `n` bytes that begin with a line, by qb_journal_fill. */
void qb_journal_mend(char *text, size_t n, const char *tag);

/* Writes all records to the file, where they survive a killed process.  Returns 0 or the errno of
 * the first failure ever. */
int qb_journal_write(struct qb_journal *j);

/* Writes, and syncs the file.  Returns as qb_journal_write: a failed sync is never retried, since
 * the kernel then reports success for what it has dropped. */
int qb_journal_sync(struct qb_journal *j);

/* The same for records that can be done without: where there is no room for them they are dropped,
 * and the journal goes on. */
int qb_journal_offer(struct qb_journal *j);

/* The file, for a barrier that begins now; NULL when all that was written is durable, or the
 * journal has failed.  The barrier's result must be passed to qb_journal_synced; records that are
 * written in between are not covered. */
struct qb_file *qb_journal_file(struct qb_journal *j);
void qb_journal_synced(struct qb_journal *j, int errnum);

#endif
