#include "batch/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "batch/text.h"

static int complain(const struct qb_outfile *out, const char *path, const char *what)
{
    fprintf(stderr, "qbatch: %s ", out->rules.what);
    qb_text_safe(stderr, path);
    fprintf(stderr, ": %s\n", what);
    return -1;
}

/* ---- what may be replaced -------------------------------------------------------------------- */

static bool begins_right(const char *path, const char *begins)
{
    char head[64];
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(head, 1, strlen(begins), f) : 0;

    if (f)
        fclose(f);
    return n == 0 || (n == strlen(begins) && strncasecmp(head, begins, n) == 0);
}

static int check_replaced(const struct qb_outfile *out, const char *path, const struct stat *st)
{
    const char *manifest = out->rules.manifest;
    char what[100];
    struct stat m;

    if (manifest && stat(manifest, &m) == 0 && m.st_dev == st->st_dev && m.st_ino == st->st_ino)
        return complain(out, path, "that is the manifest");
    if (begins_right(path, out->rules.begins))
        return 0;
    snprintf(what, sizeof(what), "the file exists and is no %s; it is not overwritten",
             out->rules.what);
    return complain(out, path, what);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The path with its folder spelled out, so that two ways to one file are seen to be one. */
static char *spelled_out(const char *path)
{
    const char *slash = strrchr(path, '/');
    QB_AUTO(qb_buf) char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    QB_AUTO(qb_buf) char *real = folder ? realpath(folder, NULL) : NULL;
    char *whole = NULL;

    if (!real)
        return NULL;
    if (asprintf(&whole, "%s/%s", strcmp(real, "/") == 0 ? "" : real, slash ? slash + 1 : path) < 0)
        return NULL;
    return whole;
}

/* O_EXCL instead of mkstemp: the mode then follows from the umask and the folder's ACL. */
static int make_temp(struct qb_outfile *out)
{
    int fd = -1;

    for (unsigned i = 0; i < 100 && fd < 0; i++) {
        free(qb_take(&out->temp));
        if (asprintf(&out->temp, "%s.%ld-%u.new", out->path, (long)getpid(), i) < 0) {
            out->temp = NULL;
            return errno = ENOMEM, -1;
        }
        fd = open(out->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
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

static int open_fd(struct qb_outfile *out, const struct stat *st, bool exists)
{
    int fd;

    if (exists && !S_ISREG(st->st_mode))
        return open(out->path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (out->rules.streams)
        return open(out->path, O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_CLOEXEC, 0666);
    fd = make_temp(out);
    if (fd >= 0 && exists)
        take_after(fd, st);
    return fd;
}

int qb_outfile_open(struct qb_outfile *out, const char *path, struct qb_outfile_rules rules)
{
    struct stat st = {0};
    bool exists = stat(path, &st) == 0;
    int fd;

    *out = (struct qb_outfile){.rules = rules};
    if (exists && S_ISREG(st.st_mode) && check_replaced(out, path, &st) < 0)
        return -1;
    if (exists && !S_ISREG(st.st_mode)) /* /dev/stdout must not be followed: it may be a pipe */
        out->path = strdup(path);
    else
        out->path = exists ? realpath(path, NULL) : spelled_out(path);
    fd = out->path ? open_fd(out, &st, exists) : -1;
    out->f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (out->f)
        return 0;
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
}

int qb_outfile_commit(struct qb_outfile *out)
{
    int r = 0;

    close_file(out);
    if (out->errnum == 0 && out->temp && rename(out->temp, out->path) < 0)
        out->errnum = errno;
    else if (out->errnum == 0)
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
    if (out->temp)
        unlink(out->temp);
    free(qb_take(&out->temp));
    free(qb_take(&out->path));
}

/* ---- what comes later in the file ------------------------------------------------------------ */

FILE *qb_outfile_spill(const struct qb_outfile *out)
{
    QB_AUTO(qb_buf) char *folder = out->temp ? strdup(out->temp) : NULL;
    char *slash = folder ? strrchr(folder, '/') : NULL;
    int fd = -1;
    FILE *f;

    if (slash) {
        slash[slash == folder] = '\0';
        fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    }
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
