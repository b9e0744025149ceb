/* A look at the first and the last record of a journal: folders have hundreds of them. */
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

/* false where the record is not the run's end. */
static int on_last(void *arg, const struct qb_parsed *record, uint64_t at, struct qb_err *err)
{
    struct qb_glance *g = arg;
    const char *is = qb_json_get_text(record, "is"), *of = qb_json_get_text(record, "of");
    size_t len = of ? strlen(of) : 0, id = strlen(g->id.text);

    (void)at;
    (void)err;
    if (!is || strcmp(is, "end") != 0 || len > id || strcmp(g->id.text + id - len, of ? of : ""))
        return -1;
    if (qb_json_get_bool(record, "resumed")) /* its counts are those of the last call */
        return -1;
    g->ended = qb_json_get_number(record, "left", 0) == 0;
    g->to_finish = qb_json_get_number(record, "to_finish", 0);
    g->unfinished = !g->ended || g->to_finish > 0;
    for (int i = 0; i < QB_STATUS_COUNT; i++)
        g->counts[i] = qb_json_get_number(record, qb_status_names[i], 0);
    g->failed = g->counts[QB_STATUS_FAILED];
    g->undo |= qb_json_get_bool(record, "undo");
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

/* Fills *g from the whole journal, if its last record is not an end. */
static int read_all(const char *dir, struct qb_glance *g, struct qb_err *err)
{
    struct qb_history h;
    int r = qb_history_read(dir, g->id.text, &h, err);

    if (r == 0) {
        g->ended = h.ended && h.left == 0;
        g->unfinished = qb_history_is_unfinished(&h);
        g->to_finish = qb_history_to_finish(&h);
        for (int i = 0; i < QB_STATUS_COUNT; i++)
            g->counts[i] = qb_history_count(&h, (enum qb_status)i);
        g->failed = g->counts[QB_STATUS_FAILED];
        g->undone = qb_history_count_undone(&h);
        g->undo = h.undo;
        g->backup = h.backup;
        g->superseded = h.superseded;
    }
    qb_history_free(&h);
    return r;
}

/* Fills *g from the last record; false where that is not the run's end. */
static bool read_end(int fd, const char *path, struct qb_glance *g)
{
    uint64_t last = last_line(fd);
    struct qb_err err;

    return last > 0 && qb_journal_read_from(fd, path, last, on_last, g, &err) == 0;
}

/* Fills *g from the first record and the last one. */
static bool read_ends(const char *path, struct qb_glance *g)
{
    struct qb_err err;
    int fd = qb_journal_open(path, O_RDONLY, &err);
    bool ended;

    if (fd < 0)
        return false;
    g->held = qb_journal_fd_is_held(fd);
    qb_journal_read_from(fd, path, 0, on_first, g, &err);
    ended = read_end(fd, path, g);
    close(fd);
    return ended;
}

bool qb_runs_is_settled(const char *dir, struct qb_run_id id)
{
    struct qb_glance g = {.id = id};
    char path[QB_JOURNAL_PATH];
    struct qb_err err;
    bool settled;
    int fd;

    qb_state_dir_journal(dir, id.text, path);
    fd = qb_journal_open(path, O_RDONLY, &err);
    if (fd < 0)
        return false;
    settled = read_end(fd, path, &g) && !g.unfinished && g.failed == 0;
    close(fd);
    return settled;
}

int qb_glance_at(const char *dir, struct qb_run_id id, struct qb_glance *g)
{
    char path[QB_JOURNAL_PATH];
    struct qb_err err = {0};

    *g = (struct qb_glance){.id = id, .unfinished = true};
    qb_state_dir_journal(dir, id.text, path);
    if (!read_ends(path, g) && read_all(dir, g, &err) < 0) {
        g->lost = err.code == QB_E_NOT_FOUND;
        g->unfinished = !g->lost;
        return -1;
    }
    g->is_readable = true;
    return 0;
}

void qb_glance_free(struct qb_glance *g)
{
    free(qb_take(&g->manifest));
    free(qb_take(&g->started));
}
