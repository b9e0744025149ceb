/* Reads single records of a journal again, which are too large to be held for each image. */
#include <string.h>

#include "base/be.h"
#include "base/own.h"
#include "journal/history.h"
#include "qcow2/disk.h"
#include "qcow2/l2.h"

static int read_record(const char *dir, const struct qb_history *h, uint64_t at, qb_journal_fn *fn,
                       void *arg, struct qb_err *err)
{
    char path[QB_JOURNAL_PATH];

    qb_state_dir_journal(dir, h->id, path);
    return h->fd < 0 ? qb_journal_read_at(path, at, fn, arg, err)
                     : qb_journal_read_from(h->fd, path, at, fn, arg, err);
}

/* ---- sectors --------------------------------------------------------------------------------- */

struct wanted {
    uint64_t at;
    uint8_t *old_sector, *new_sector;
    struct qb_digest *as_found;
    bool found;
};

static bool get_digest(const struct qb_parsed *record, const char *key, struct qb_digest *out)
{
    be64 words[2];

    if (!qb_json_get_bytes(record, key, (uint8_t *)words, sizeof(words)))
        return false;
    *out = (struct qb_digest){.high = be64_get(words[0]), .low = be64_get(words[1])};
    return true;
}

static int on_sectors(void *arg, const struct qb_parsed *record, uint64_t at, struct qb_err *err)
{
    struct wanted *w = arg;

    (void)err;
    if (at != w->at)
        return 0;
    w->found = qb_json_get_bytes(record, "old_sector", w->old_sector, QB_SECTOR) &&
               qb_json_get_bytes(record, "new_sector", w->new_sector, QB_SECTOR);
    if (w->as_found && !get_digest(record, "as_found", w->as_found))
        *w->as_found = (struct qb_digest){0};
    return 0;
}

int qb_history_sectors(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                       uint8_t *old_sector, uint8_t *new_sector, struct qb_digest *as_found,
                       struct qb_err *err)
{
    struct wanted w = {t->sectors_at, old_sector, new_sector, as_found, false};

    if (read_record(dir, h, t->sectors_at, on_sectors, &w, err) < 0)
        return -1;
    return w.found ? 0
                   : qb_fail(err, QB_E_CORRUPT, QB_NOWHERE,
                             "the journal of run %s lacks the old header", h->id);
}

static int on_discarding(void *arg, const struct qb_parsed *record, uint64_t at, struct qb_err *err)
{
    (void)at;
    if (qb_json_get_bytes(record, "sector", arg, QB_SECTOR))
        return 0;
    return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "a record of the journal lacks its header");
}

int qb_history_discarding(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                          uint8_t *sector, struct qb_err *err)
{
    memset(sector, 0, QB_SECTOR);
    if (!t->discarding_at)
        return 0;
    return read_record(dir, h, t->discarding_at, on_discarding, sector, err);
}

static int on_header(void *arg, const struct qb_parsed *record, uint64_t at, struct qb_err *err)
{
    (void)at;
    if (qb_json_get_bytes(record, "header", arg, QB_SECTOR))
        return 0;
    return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "a record of the journal lacks its header");
}

int qb_history_header(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                      uint8_t *sector, struct qb_err *err)
{
    return read_record(dir, h, t->header_at, on_header, sector, err);
}

/* ---- proofs ---------------------------------------------------------------------------------- */

static bool get_ranges(const struct qb_parsed *record, const char *key, const char *count,
                       struct qb_ranges *out)
{
    uint64_t n = qb_json_get_number(record, count, 0);
    be64 *words = n && n <= QB_PROOF_RANGES ? malloc(2 * n * sizeof(*words)) : NULL;
    bool ok = words && qb_json_get_bytes(record, key, words, 2 * n * sizeof(*words));

    for (uint64_t i = 0; ok && i < n; i++)
        ok =
            qb_vec_push(out, (struct qb_range){be64_get(words[2 * i]), be64_get(words[2 * i + 1])});
    free(words);
    return ok || n == 0;
}

/* Leaves `valid` false where something is missing. */
static int on_proof(void *arg, const struct qb_parsed *record, uint64_t at, struct qb_err *err)
{
    struct qb_proof *p = arg;

    (void)at;
    *p = (struct qb_proof){
        .dev = qb_json_get_number(record, "dev", 0),
        .ino = qb_json_get_number(record, "ino", 0),
        .base = qb_json_get_number(record, "base", 0),
        .zero_base = qb_json_get_number(record, "zero_base", 0),
        .end = qb_json_get_number(record, "end", 0),
        .name_at = qb_json_get_number(record, "name_at", 0),
        .name_len = qb_json_get_number(record, "name_len", 0),
        .head_len = qb_json_get_number(record, "head_len", 0),
        .is_device = qb_json_has(record, "is_device"),
        .mended = qb_json_has(record, "mended"),
        .cuts_cluster = qb_json_has(record, "last_entry"),
        .last_entry = qb_json_get_number(record, "last_entry", 0),
        .last_bitmap = qb_json_get_number(record, "last_zero", 0) << QB_SUBCLUSTERS |
                       qb_json_get_number(record, "last_allocated", 0),
    };
    p->valid = (!p->end || get_digest(record, "stretch", &p->stretch)) &&
               (!p->name_len || get_digest(record, "name", &p->name)) &&
               (!p->head_len || get_digest(record, "head", &p->head)) && p->base <= p->zero_base &&
               p->zero_base <= p->end && get_ranges(record, "written", "n_written", &p->written) &&
               get_ranges(record, "zeroed", "n_zeroed", &p->zeroed);
    return qb_proof_sort(p, err);
}

int qb_history_proof(const char *dir, const struct qb_history *h, const struct qb_trace *t,
                     struct qb_proof *out, struct qb_err *err)
{
    *out = (struct qb_proof){0};
    if (read_record(dir, h, t->proof_at, on_proof, out, err) < 0)
        return -1;
    return out->valid ? 0
                      : qb_fail(err, QB_E_CORRUPT, QB_NOWHERE,
                                "the journal of run %s lacks what an undo needs", h->id);
}
