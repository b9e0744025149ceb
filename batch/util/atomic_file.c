#include "util/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "util/text.h"

static int complain(const struct qb_outfile *out, const char *path, const char *what)
{
    fprintf(stderr, "qbatch: %s ", out->rules.what);
    qb_text_safe(stderr, path);
    fprintf(stderr, ": %s\n", what);
    return -1;
}

/* ---- what may be replaced -------------------------------------------------------------------- */

enum { HEAD = 4096, BUFFER = 64 << 10 };

/* The files are text: a disk that begins like one has a NUL soon. */
static bool begins_right(const struct qb_outfile *out)
{
    size_t want = strlen(out->rules.begins);
    int fd = qb_outplace_open(&out->place, O_RDONLY | O_NONBLOCK);
    char head[HEAD];
    ssize_t n = fd < 0 ? 0 : pread(fd, head, sizeof(head), 0);

    if (fd < 0)
        return false;
    close(fd);
    if (n <= 0)
        return n == 0;
    return (size_t)n >= want && strncasecmp(head, out->rules.begins, want) == 0 &&
           !memchr(head, '\0', (size_t)n);
}

static int check_replaced(const struct qb_outfile *out)
{
    const struct stat *st = &out->place.way.st;
    const char *manifest = out->rules.manifest, *taken = NULL;
    char what[100];
    struct stat m;

    if (manifest && stat(manifest, &m) == 0 && m.st_dev == st->st_dev && m.st_ino == st->st_ino)
        return complain(out, out->path, "that is the manifest");
    if (out->rules.is_taken)
        taken = out->rules.is_taken(out->rules.arg, st);
    if (taken) {
        snprintf(what, sizeof(what), "that is %s; it is not overwritten", taken);
        return complain(out, out->path, what);
    }
    if (qb_outplace_is_stdout(&out->place) || begins_right(out))
        return 0;
    snprintf(what, sizeof(what), "the file exists and is no %s; it is not overwritten",
             out->rules.what);
    return complain(out, out->path, what);
}

/* ---- opening --------------------------------------------------------------------------------- */

bool qb_outfile_same(const struct qb_outfile *a, const struct qb_outfile *b)
{
    struct stat x, y;

    return (a->temp || b->temp) && strcmp(a->place.way.name, b->place.way.name) == 0 &&
           fstat(a->place.way.dir, &x) == 0 && fstat(b->place.way.dir, &y) == 0 &&
           x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* O_EXCL instead of mkstemp: the mode then follows from the umask and the folder's ACL. */
static int make_temp(struct qb_outfile *out)
{
    const struct qb_way *way = &out->place.way;
    int fd = -1;

    for (unsigned i = 0; i < 100 && fd < 0; i++) {
        free(qb_take(&out->temp));
        if (asprintf(&out->temp, "%s.%ld-%u.new", way->name, (long)getpid(), i) < 0) {
            out->temp = NULL;
            return errno = ENOMEM, -1;
        }
        fd =
            openat(way->dir, out->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0) {
        int error = errno;

        free(qb_take(&out->temp));
        errno = error;
    }
    return fd;
}

/* The new file is as open to others as the one it replaces. */
static void take_after(int fd, const struct stat *old)
{
    if (fchown(fd, old->st_uid, old->st_gid) < 0)
        return; /* not ours to give away; then its mode would not mean the same either */
    if (fchmod(fd, old->st_mode & 0777) < 0)
        return;
}

/* A stream that begins: a new file, or the one that is there, emptied. */
static int open_stream(const struct qb_way *way, const struct qb_outplace *place)
{
    if (way->fd >= 0)
        return qb_outplace_open(place, O_WRONLY | O_TRUNC);
    return openat(way->dir, way->name,
                  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0666);
}

static int open_fd(struct qb_outfile *out)
{
    const struct qb_way *way = &out->place.way;
    bool exists = way->fd >= 0;
    int fd;

    if (qb_outplace_is_stdout(&out->place))
        return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    if (exists && !S_ISREG(way->st.st_mode))
        return qb_outplace_open(&out->place, O_WRONLY);
    if (out->rules.streams || out->place.given)
        return open_stream(way, &out->place);
    fd = make_temp(out);
    if (fd >= 0 && exists)
        take_after(fd, &way->st);
    return fd;
}

static int find(struct qb_outfile *out)
{
    const struct qb_way *way = &out->place.way;
    struct qb_err err = {0};

    if (!out->path)
        return complain(out, "", strerror(ENOMEM));
    if (qb_outplace_find(out->path, &out->place, &err) < 0)
        return complain(out, out->path, err.text);
    return way->fd >= 0 && S_ISREG(way->st.st_mode) ? check_replaced(out) : 0;
}

/* Lines are a few KiB: a call for each would cost as much as making it. */
static void write_at_once(struct qb_outfile *out)
{
    out->buffer = malloc(BUFFER);
    if (out->buffer) /* else that of the C library */
        setvbuf(out->f, out->buffer, _IOFBF, BUFFER);
}

int qb_outfile_open(struct qb_outfile *out, const char *path, struct qb_outfile_rules rules)
{
    int fd;

    *out = (struct qb_outfile){
        .rules = rules, .path = strdup(path), .place.way = {.dir = -1, .fd = -1}};
    if (find(out) < 0) {
        qb_outfile_drop(out);
        return -1;
    }
    fd = open_fd(out);
    out->f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (out->f) {
        write_at_once(out);
        return 0;
    }
    complain(out, path, strerror(errno));
    if (fd >= 0)
        close(fd);
    qb_outfile_drop(out);
    return -1;
}

/* ---- the end --------------------------------------------------------------------------------- */

void qb_outfile_look(struct qb_outfile *out, FILE *f)
{
    if (out->errnum == 0 && (!f || ferror(f)))
        out->errnum = errno ? errno : EIO;
}

static void close_file(struct qb_outfile *out)
{
    FILE *f = qb_take(&out->f);

    if (!f)
        return;
    errno = 0;
    qb_outfile_look(out, f);
    if (fclose(f) != 0 && out->errnum == 0)
        out->errnum = errno ? errno : EIO;
    free(qb_take(&out->buffer));
}

/* Gives the file its name: 0 or an errno.  A file that another user has put there meanwhile is
 * kept. */
static int name_it(const struct qb_outfile *out)
{
    const struct qb_way *way = &out->place.way;

    if (renameat2(way->dir, out->temp, way->dir, way->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EEXIST && errno != EINVAL && errno != ENOSYS)
        return errno;
    if (!qb_outplace_is_free(&out->place))
        return EEXIST;
    return renameat(way->dir, out->temp, way->dir, way->name) < 0 ? errno : 0;
}

static void remove_temp(const struct qb_outfile *out)
{
    unlinkat(out->place.way.dir, out->temp, 0);
}

/* ---- for a confined process ------------------------------------------------------------------ */

enum { NAME_IT, REMOVE_IT };

/* In the helper. */
static void on_errand(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    const struct qb_outfile *out = arg;
    int errnum = 0;

    if (request->len == 1 && request->bytes[0] == NAME_IT)
        errnum = name_it(out);
    else
        remove_temp(out);
    memcpy(answer->bytes, &errnum, sizeof(errnum));
    answer->len = sizeof(errnum);
}

bool qb_outfile_offer(struct qb_outfile *out, struct qb_errands *errands, struct qb_helper *helper)
{
    if (!out->temp)
        return false;
    qb_errands_keep(errands, out->place.way.dir);
    out->errand = qb_errands_add(errands, on_errand, out);
    out->helper = helper;
    return true;
}

/* 0 or an errno. */
static int ask(const struct qb_outfile *out, unsigned char what)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));
    int errnum = ENOMEM;

    if (!p)
        return errnum;
    p->bytes[0] = what;
    p->len = 1;
    if (qb_helper_ask(out->helper, out->errand, NULL, p) || p->len != sizeof(errnum))
        return EIO;
    memcpy(&errnum, p->bytes, sizeof(errnum));
    return errnum;
}

static bool asks(const struct qb_outfile *out)
{
    return qb_helper_is_there(out->helper);
}

/* ---- either ---------------------------------------------------------------------------------- */

int qb_outfile_commit(struct qb_outfile *out)
{
    int r = 0;

    close_file(out);
    if (out->errnum == 0 && out->temp)
        out->errnum = asks(out) ? ask(out, NAME_IT) : name_it(out);
    if (out->errnum == 0)
        free(qb_take(&out->temp));
    if (out->errnum)
        r = complain(out, out->path, strerror(out->errnum));
    qb_outfile_drop(out);
    return r;
}

void qb_outfile_drop(struct qb_outfile *out)
{
    if (out->f)
        fclose(qb_take(&out->f));
    free(qb_take(&out->buffer));
    if (out->temp && asks(out))
        ask(out, REMOVE_IT);
    else if (out->temp)
        remove_temp(out);
    free(qb_take(&out->temp));
    free(qb_take(&out->path));
    if (out->place.way.dir != 0 || out->place.way.fd != 0) /* not an empty struct */
        qb_outplace_close(&out->place);
}

/* ---- what comes later in the file ------------------------------------------------------------ */

FILE *qb_outfile_spill(const struct qb_outfile *out)
{
    int fd = -1;
    FILE *f;

    if (out->temp)
        fd = openat(out->place.way.dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return tmpfile();
    f = fdopen(fd, "w+");
    if (!f)
        close(fd);
    return f;
}

void qb_outfile_pour(struct qb_outfile *out, FILE *spill)
{
    char piece[16384];
    size_t n;

    qb_outfile_look(out, out->f); /* before errno is another one's */
    errno = 0;
    if (fflush(spill) != 0)
        qb_outfile_look(out, spill);
    rewind(spill);
    while ((n = fread(piece, 1, sizeof(piece), spill)) > 0)
        fwrite(piece, 1, n, out->f);
    qb_outfile_look(out, spill);
    qb_outfile_look(out, out->f);
    fclose(spill);
}
