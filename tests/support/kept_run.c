#include "kept_run.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run/run.h"

static const char *watched; /* the image's path; NULL: nobody looks */
struct sync syncs[SYNCS];
unsigned n_syncs, n_image_syncs;
unsigned fails_at;   /* which sync of the image, from 1; 0: none */
unsigned meddles_at; /* likewise: somebody writes the header then */
bool journal_fails, cut_fails;
static char journal_path[QB_JOURNAL_PATH];

static bool journal_has(const char *word)
{
    char text[16384];
    int fd = open(journal_path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text));

    close(fd);
    CU_ASSERT_FATAL(n >= 0);
    return memmem(text, (size_t)n, word, strlen(word)) != NULL;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

/* The linker leads the program's calls here. */
int __wrap_fdatasync(int fd)
{
    struct stat it, image;
    struct sync *s = &syncs[n_syncs % SYNCS];
    int look;

    if (!watched)
        return __real_fdatasync(fd);
    look = open(watched, O_RDWR | O_CLOEXEC);
    CU_ASSERT_EQUAL(fstat(fd, &it) + fstat(look, &image), 0);
    s->of_image = it.st_ino == image.st_ino;
    s->noted = journal_has("\"discarding\"");
    s->length = image.st_size;
    CU_ASSERT_EQUAL(pread(look, s->header, SECTOR, 0), SECTOR);
    n_syncs++;
    n_image_syncs += s->of_image;
    if (s->of_image && n_image_syncs == meddles_at)
        CU_ASSERT_EQUAL(pwrite(look, "\1", 1, 400), 1);
    close(look);
    errno = EIO;
    return s->of_image ? (n_image_syncs == fails_at ? -1 : 0) : (journal_fails ? -1 : 0);
}

int __real_ftruncate64(int fd, off_t length);
int __wrap_ftruncate64(int fd, off_t length);

int __wrap_ftruncate64(int fd, off_t length)
{
    if (!cut_fails)
        return __real_ftruncate64(fd, length);
    errno = EIO;
    return -1;
}

/* ---- a run that kept its undo ---------------------------------------------------------------- */

enum qb_status last_status;
enum qb_code last_code;

static void listen(void *arg, size_t job, const struct qb_outcome *outcome)
{
    (void)arg, (void)job;
    last_status = outcome->result.status;
    last_code = outcome->result.err.code;
}

static void read_header(const char *path, uint8_t *sector)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    CU_ASSERT_EQUAL(pread(fd, sector, SECTOR, 0), SECTOR);
    close(fd);
}

void kept_begin(struct kept *k)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536};
    struct image_bytes image = image_make(&shape, "d9z9");
    const struct qb_listener listener = {.image = listen};
    struct qb_run_options options = {.io = QB_IO_POSIX, .jobs = 1};
    struct qb_summary sum = {0};
    struct qb_request rq;
    struct qb_state state;
    struct qb_err err;
    struct stat st;

    memset(k, 0, sizeof(*k));
    snprintf(k->path, sizeof(k->path), "%s", make_file("image", image.bytes, image.size));
    memcpy(k->old, image.bytes, SECTOR);
    image_bytes_free(&image);
    qb_request_init(&rq);
    rq.set = QB_KEY_COMPAT;
    rq.compat = 2;
    rq.keep_undo = true;
    qb_batch_init(&k->batch);
    k->batch.policy.sync = QB_SYNC_FILE;
    k->batch.undo_kept = true;
    CU_ASSERT_FATAL(qb_batch_add(&k->batch, k->path, 0, &rq) && qb_state_prepare(&k->batch));
    CU_ASSERT_EQUAL_FATAL(qb_state_begin(&state, scratch_folder(), &k->batch, &err), 0);
    options.state = &state;
    CU_ASSERT_EQUAL_FATAL(qb_run(&k->batch, &options, &listener, &err), 0);
    CU_ASSERT_EQUAL_FATAL(last_status, QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(qb_state_end(&state, &k->batch, &sum, 0), 0);
    CU_ASSERT_EQUAL_FATAL(
        qb_history_reopen(scratch_folder(), state.id, &k->history, &k->journal, &err), 0);
    qb_state_dir_journal(scratch_folder(), state.id, journal_path);
    k->trace = qb_history_find(&k->history, k->path);
    read_header(k->path, k->now);
    CU_ASSERT_EQUAL(stat(k->path, &st), 0);
    k->length = st.st_size;
}

void kept_end(struct kept *k)
{
    qb_journal_close(&k->journal);
    qb_history_free(&k->history);
    qb_batch_free(&k->batch);
}

/* Undoes the run, or frees what it kept, while the syncs are watched. */
void take_back(struct kept *k, int how)
{
    const struct qb_listener listener = {.image = listen};
    const struct qb_takeback t = {
        .dir = scratch_folder(),
        .history = &k->history,
        .journal = &k->journal,
        .batch = &k->batch,
        .traces = &k->trace,
        .options = {.io = QB_IO_POSIX, .jobs = 1, .dry_run = how == UNDO_DRY}};
    struct qb_err err;

    watched = k->path;
    n_syncs = n_image_syncs = 0;
    CU_ASSERT_EQUAL((how == DISCARD ? qb_discard_run : qb_takeback_run)(&t, &listener, &err), 0);
    watched = NULL;
    fails_at = meddles_at = 0;
    journal_fails = cut_fails = false;
}

/* What the journal says now. */
void read_again(struct kept *k)
{
    char id[QB_RUN_ID];
    struct qb_err err;

    snprintf(id, sizeof(id), "%s", k->history.id);
    qb_journal_close(&k->journal);
    qb_history_free(&k->history);
    CU_ASSERT_EQUAL_FATAL(qb_history_reopen(scratch_folder(), id, &k->history, &k->journal, &err),
                          0);
    k->trace = qb_history_find(&k->history, k->path);
}

bool header_is(const struct kept *k, const uint8_t *wanted)
{
    uint8_t sector[SECTOR];

    read_header(k->path, sector);
    return memcmp(sector, wanted, SECTOR) == 0;
}
