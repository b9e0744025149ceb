/* A journal: records that are only ever appended, one a line.
 *
 *     9ad1c6b2 {"is":"planned","path":"/srv/vm/a.qcow2","length":393216}
 *
 * The first word is the CRC-32 of what stands between it and the line's end, so that `tail`, `grep`
 * and an editor do for reading it, and nothing that was damaged is believed.  Records are composed
 * in memory, and written many at a time.
 *
 * One process at a time holds a journal open for writing (a lock on the file, gone with it). */
#ifndef QB_BATCH_JOURNAL_H
#define QB_BATCH_JOURNAL_H

#include "batch/json.h"
#include "io/io.h"

struct qb_journal {
    struct qb_file file; /* for the barriers: what was written is durable behind one */
    char *text;          /* owned: records that are not written yet */
    size_t used, room, record;
    uint64_t length; /* bytes of the file, all of them whole records */
    bool unsynced;   /* something was written since qb_journal_file */
    int errnum;      /* the first failure; nothing is written behind it */
};

/* Makes a new journal; it must not exist.  -1 with *err. */
int qb_journal_create(const char *path, struct qb_journal *j, struct qb_err *err);

/* What reading a journal came to. */
struct qb_journal_end {
    size_t lines;
    uint64_t length; /* bytes of the whole lines */
    bool torn;       /* something stood behind them: the beginning of a line */
};

/* Called for each record, in order; `at` is the byte of the file where its line begins.  -1 ends
 * the reading. */
typedef int qb_journal_fn(void *arg, const struct qb_json *record, uint64_t at, struct qb_err *err);

/* Reads the journal at `path`.  A last line that is torn is left out; anything else that is no
 * record is QB_E_CORRUPT, with the number of the line. */
int qb_journal_read(const char *path, qb_journal_fn *fn, void *arg, struct qb_journal_end *end,
                    struct qb_err *err);

/* Reads the one record at byte `at`. */
int qb_journal_read_at(const char *path, uint64_t at, qb_journal_fn *fn, void *arg,
                       struct qb_err *err);

/* Opens an existing journal for going on: locks it, reads it as above, and cuts off a torn line.
 * QB_E_LOCKED when a process works with it. */
int qb_journal_reopen(const char *path, qb_journal_fn *fn, void *arg, struct qb_journal *j,
                      struct qb_journal_end *end, struct qb_err *err);

/* Whether a process holds it open for writing now. */
bool qb_journal_is_held(const char *path);

/* Writes what is left and closes.  Harmless on an empty struct. */
void qb_journal_close(struct qb_journal *j);

/* ---- records ----------------------------------------------------------------------------------
 */

/* A record from begin to end; keys and `is` are plain ASCII.  A memory shortage shows as errnum. */
void qb_journal_begin(struct qb_journal *j, const char *is);
void qb_journal_text(struct qb_journal *j, const char *key, const char *s);
void qb_journal_path(struct qb_journal *j, const char *path);
void qb_journal_number(struct qb_journal *j, const char *key, uint64_t n);
void qb_journal_true(struct qb_journal *j, const char *key, bool b); /* left out when it is false */
void qb_journal_bytes(struct qb_journal *j, const char *key, const void *bytes, size_t n);
void qb_journal_end(struct qb_journal *j);

enum { QB_JOURNAL_HEAD = 9 }; /* what stands before the object: eight digits and a space */
void qb_journal_sum(const char *json, size_t len, char head[QB_JOURNAL_HEAD]);

/* Hands all records to the kernel: a process that is killed has them in the file.  Returns 0 or the
 * errno of the first failure ever. */
int qb_journal_write(struct qb_journal *j);

/* The file, for a barrier that is to begin now; NULL when all that was written is durable. */
struct qb_file *qb_journal_file(struct qb_journal *j);

#endif
