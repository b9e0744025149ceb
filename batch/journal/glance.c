/* A look at the first and the last record of a journal: folders have hundreds of them, some of
 * which are long. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "journal/runs.h"

enum { TAIL_BYTES = 32768 }; /* holds the last record, however long its path is */

static char *copy(const char *s)
{
    return s ? strdup(s) : NULL;
}

static int on_first(void *arg, const struct qb_parsed *record, uint64_t at, struct qb_err *err)
{
    struct qb_glance *g = arg;

    (void)at;
    (void)err;
    g->manifest = copy(qb_json_get_text(record, "manifest"));
    g->started = copy(qb_json_get_text(record, "started"));
    g->images = qb_json_get_number(record, "images", 0);
    g->shard = qb_state_shard_read(record);
    g->undo = qb_json_get_bool(record, "undo");
    g->backup = qb_json_get_bool(record, "backup");
    return 0;
}

/* Whether the record is of this run, and not of another one in a block that was not cleared. */
static bool is_own(const struct qb_glance *g, const struct qb_parsed *record)
{
    const char *of = qb_json_get_text(record, "of");
    size_t len = of ? strlen(of) : 0, id = strlen(g->id.text);

    return len <= id && strcmp(g->id.text + id - len, of ? of : "") == 0;
}

static void take_counts(struct qb_glance *g, const struct qb_parsed *record)
{
    g->to_finish = qb_json_get_number(record, "to_finish", 0);
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        g->counts[i] = qb_json_get_number(record, qb_status_names[i], 0);
    g->failed = g->counts[QB_STATUS_FAILED];
    g->undo |= qb_json_get_bool(record, "undo");
}

static void take_tally(struct qb_glance *g, const struct qb_parsed *record)
{
    take_counts(g, record);
    g->tallied = true;
    g->ended = qb_json_get_bool(record, "ended");
    g->unfinished = qb_json_get_bool(record, "unfinished");
    g->superseded = qb_json_get_bool(record, "superseded");
    g->undone = qb_json_get_number(record, "undone", 0);
    g->backup |= qb_json_get_bool(record, "backup");
    g->holds_undo = qb_json_get_bool(record, "holds_undo");
    g->names_clones = qb_json_get_bool(record, "names_clones");
}

/* -1 where the record is neither the run's end nor a tally. */
static int on_last(void *arg, const struct qb_parsed *record, uint64_t at, struct qb_err *err)
{
    struct qb_glance *g = arg;
    const char *is = qb_json_get_text(record, "is");

    (void)at;
    (void)err;
    if (!is || !is_own(g, record))
        return -1;
    if (strcmp(is, "tally") == 0) {
        take_tally(g, record);
        return 0;
    }
    if (strcmp(is, "end") != 0 ||
        qb_json_get_bool(record, "resumed")) /* its counts are those of the last call */
        return -1;
    take_counts(g, record);
    g->ended = qb_json_get_number(record, "left", 0) == 0;
    g->unfinished = !g->ended || g->to_finish > 0;
    return 0;
}

/* The byte where the last line begins, if it ends in a newline. */
static uint64_t last_line(int fd)
{
    char tail[TAIL_BYTES];
    struct stat st = {0};
    ssize_t n = 0;
    off_t from;

    if (fstat(fd, &st) < 0)
        st.st_size = 0;
    from = st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0;
    n = pread(fd, tail, sizeof(tail), from);
    for (n--; n > 0 && tail[n - 1] != '\n';)
        n--;
    return (uint64_t)from + (uint64_t)(n > 0 ? n : 0);
}

static bool names_clones(const struct qb_history *h)
{
    bool names = false;

    for (size_t i = 0; i < h->traces.n && !names; i++)
        names = qb_clones_hold(&h->traces.items[i].clones);
    return names;
}

static void sum_up(const struct qb_history *h, struct qb_glance *g)
{
    g->ended = h->ended && h->left == 0;
    g->unfinished = qb_history_is_unfinished(h);
    g->to_finish = qb_history_to_finish(h);
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        g->counts[i] = qb_history_count(h, (enum qb_status)i);
    g->failed = g->counts[QB_STATUS_FAILED];
    g->undone = qb_history_count_undone(h);
    g->undo = h->undo;
    g->backup = h->backup;
    g->superseded = h->superseded;
    g->holds_undo = qb_history_holds_undo(h);
    g->names_clones = names_clones(h);
}

/* Fills *g from the whole journal, if its last record does not tell. */
static int read_all(const char *dir, struct qb_glance *g, struct qb_err *err)
{
    struct qb_history h;
    int r = qb_history_read(dir, g->id.text, &h, err);

    if (r == 0) {
        sum_up(&h, g);
        g->from_all = true;
    }
    qb_history_free(&h);
    return r;
}

static void put(struct qb_journal *j, const struct qb_glance *g)
{
    qb_journal_begin(j, "tally");
    qb_journal_true(j, "ended", g->ended);
    qb_journal_true(j, "unfinished", g->unfinished);
    qb_journal_true(j, "superseded", g->superseded);
    qb_journal_number(j, "to_finish", g->to_finish);
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        if (g->counts[i])
            qb_journal_number(j, qb_status_names[i], g->counts[i]);
    qb_journal_number(j, "undone", g->undone);
    qb_journal_true(j, "undo", g->undo);
    qb_journal_true(j, "backup", g->backup);
    qb_journal_true(j, "holds_undo", g->holds_undo);
    qb_journal_true(j, "names_clones", g->names_clones);
    qb_journal_end(j);
}

void qb_tally_put(struct qb_journal *j, const struct qb_history *h)
{
    struct qb_glance g = {0};

    sum_up(h, &g);
    put(j, &g);
}

void qb_runs_tally(const char *dir, struct qb_run_id id)
{
    struct qb_history h;
    struct qb_journal j;
    struct qb_err err;

    if (qb_history_reopen(dir, id.text, &h, &j, &err) == 0) {
        qb_tally_put(&j, &h);
        qb_journal_close(&j); /* writes it */
    }
    qb_history_free(&h);
}

/* Fills *g from the last record; false where that does not tell. */
static bool read_last(int fd, const char *path, struct qb_glance *g)
{
    uint64_t last = last_line(fd);
    struct qb_err err;

    return last > 0 && qb_journal_read_from(fd, path, last, on_last, g, &err) == 0;
}

bool qb_runs_is_settled(const char *dir, struct qb_run_id id)
{
    struct qb_glance g = {.id = id};
    char path[QB_JOURNAL_PATH];
    struct qb_err err;
    bool told;
    int fd;

    qb_state_dir_journal(dir, id.text, path);
    fd = qb_journal_open(path, O_RDONLY, &err);
    if (fd < 0)
        return false;
    told = read_last(fd, path, &g);
    close(fd);
    return told && !g.unfinished && g.failed == 0 && (g.undone == 0 || g.superseded);
}

/* The first record; the descriptor, or -1. */
static int begin(const char *path, struct qb_run_id id, struct qb_glance *g)
{
    struct qb_err err;
    int fd = qb_journal_open(path, O_RDONLY, &err);

    *g = (struct qb_glance){.id = id, .unfinished = true};
    if (fd < 0)
        return -1;
    g->held = qb_journal_fd_is_held(fd);
    qb_journal_read_from(fd, path, 0, on_first, g, &err);
    return fd;
}

/* What is told after the first record; closes the descriptor. */
static int go_on(const char *dir, const char *path, int fd, struct qb_glance *g)
{
    bool told = fd >= 0 && read_last(fd, path, g);
    struct qb_err err = {0};

    if (fd >= 0)
        close(fd);
    if (!told && read_all(dir, g, &err) < 0) {
        g->lost = err.code == QB_E_NOT_FOUND;
        g->unfinished = !g->lost;
        return -1;
    }
    g->is_readable = true;
    return 0;
}

int qb_glance_at(const char *dir, struct qb_run_id id, struct qb_glance *g)
{
    char path[QB_JOURNAL_PATH];

    qb_state_dir_journal(dir, id.text, path);
    return go_on(dir, path, begin(path, id, g), g);
}

bool qb_glance_at_own(const char *dir, struct qb_run_id id, const struct qb_batch *batch,
                      const char *manifest, struct qb_glance *g)
{
    char path[QB_JOURNAL_PATH];
    int fd;

    qb_state_dir_journal(dir, id.text, path);
    fd = begin(path, id, g);
    if (!qb_glance_concerns(g, batch, manifest)) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    go_on(dir, path, fd, g);
    return true;
}

void qb_glance_free(struct qb_glance *g)
{
    free(qb_take(&g->manifest));
    free(qb_take(&g->started));
}
