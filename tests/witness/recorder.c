/* A file system that tells what was asked of it.
 *
 *     recorder LOG FOLDER MOUNTPOINT [-f] [-o OPTION]...
 *
 * shows FOLDER at MOUNTPOINT and records every open, write, change of size or space, sync, rename
 * and unlink (log.h).  Files are opened for direct I/O and the kernel keeps nothing back, so that
 * each write of a program is here before its system call returns, O_DIRECT and io_uring or not.
 *
 * There is no syncfs: the kernel does not hand it on to a FUSE server, and answers it with success.
 */
#define FUSE_USE_VERSION 312

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

static int folder = -1;

static const char *relative(const char *path)
{
    return path[1] ? path + 1 : ".";
}

static int answer(int rc)
{
    return rc < 0 ? -errno : 0;
}

static int fd_of(const struct fuse_file_info *fi)
{
    return (int)fi->fh;
}

/* ---- records --------------------------------------------------------------------------------- */

/* The workers of io_uring are named after what they work for: "iou-wrk-1234". */
static bool is_from_ring(pid_t thread)
{
    char path[64], name[32] = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/comm", (int)thread);
    f = fopen(path, "r");
    if (!f)
        return false;
    if (!fgets(name, sizeof(name), f))
        name[0] = '\0';
    fclose(f);
    return strncmp(name, "iou-", 4) == 0;
}

static uint64_t begin(struct log_record what, int fd, const void *data)
{
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0)
        what.inode = st.st_ino;
    what.thread = (uint32_t)fuse_get_context()->pid;
    what.from_ring = is_from_ring((pid_t)what.thread);
    return log_append(what, data);
}

static int end(uint64_t begun, int result)
{
    log_append((struct log_record){.kind = LOG_END, .begun = begun, .result = result}, NULL);
    return result;
}

static uint64_t begin_name(enum log_kind kind, int fd, int flags, const char *name, size_t len)
{
    struct log_record what = {.kind = (int)kind, .flags = flags, .bytes = (uint32_t)len};

    return begin(what, fd, name);
}

/* ---- what is recorded ------------------------------------------------------------------------ */

static int opened(const char *path, int fd, struct fuse_file_info *fi)
{
    if (fd < 0)
        return -errno;
    fi->fh = (uint64_t)fd;
    fi->direct_io = 1;
    return end(begin_name(LOG_OPEN, fd, fi->flags, path + 1, strlen(path + 1)), 0);
}

/* The kernel has turned O_APPEND into offsets and O_TRUNC into a size already, and O_DIRECT asks
 * for an alignment that the requests need not have here. */
static int kept_flags(int flags)
{
    return (flags & ~(O_APPEND | O_TRUNC | O_DIRECT)) | O_CLOEXEC;
}

static int rec_open(const char *path, struct fuse_file_info *fi)
{
    return opened(path, openat(folder, relative(path), kept_flags(fi->flags)), fi);
}

static int rec_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    return opened(path, openat(folder, relative(path), kept_flags(fi->flags) | O_CREAT, mode), fi);
}

static int rec_write(const char *path, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    struct log_record what = {
        .kind = LOG_WRITE, .offset = (uint64_t)offset, .length = size, .bytes = (uint32_t)size};
    uint64_t begun = begin(what, fd_of(fi), data);
    ssize_t put = pwrite(fd_of(fi), data, size, offset);

    (void)path;
    return end(begun, put < 0 ? -errno : (int)put);
}

static int set_size(int fd, off_t size)
{
    struct log_record what = {.kind = LOG_SIZE, .length = (uint64_t)size};
    uint64_t begun = begin(what, fd, NULL);

    return end(begun, answer(ftruncate(fd, size)));
}

static int rec_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    int fd, rc;

    if (fi)
        return set_size(fd_of(fi), size);
    fd = openat(folder, relative(path), O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    rc = set_size(fd, size);
    close(fd);
    return rc;
}

static int rec_fallocate(const char *path, int mode, off_t offset, off_t len,
                         struct fuse_file_info *fi)
{
    struct log_record what = {
        .kind = LOG_SPACE, .flags = mode, .offset = (uint64_t)offset, .length = (uint64_t)len};
    uint64_t begun = begin(what, fd_of(fi), NULL);

    (void)path;
    return end(begun, answer(fallocate(fd_of(fi), mode, offset, len)));
}

/* What is below needs no sync: it only has to outlive this process. */
static int rec_fsync(const char *path, int only_data, struct fuse_file_info *fi)
{
    struct log_record what = {.kind = LOG_SYNC, .flags = only_data != 0};

    (void)path;
    return end(begin(what, fd_of(fi), NULL), 0);
}

static int rec_rename(const char *from, const char *to, unsigned flags)
{
    char names[2 * PATH_MAX];
    int len = snprintf(names, sizeof(names), "%s%c%s", from + 1, 0, to + 1);
    uint64_t begun;

    if (flags)
        return -EINVAL;
    begun = begin_name(LOG_RENAME, -1, 0, names, (size_t)len);
    return end(begun, answer(renameat(folder, relative(from), folder, relative(to))));
}

static int rec_unlink(const char *path)
{
    uint64_t begun = begin_name(LOG_UNLINK, -1, 0, path + 1, strlen(path + 1));

    return end(begun, answer(unlinkat(folder, relative(path), 0)));
}

/* ---- what is only passed on ------------------------------------------------------------------ */

static int rec_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    return answer(fi ? fstat(fd_of(fi), st)
                     : fstatat(folder, relative(path), st, AT_SYMLINK_NOFOLLOW));
}

static int rec_read(const char *path, char *buf, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    ssize_t got = pread(fd_of(fi), buf, size, offset);

    (void)path;
    return got < 0 ? -errno : (int)got;
}

static off_t rec_lseek(const char *path, off_t offset, int whence, struct fuse_file_info *fi)
{
    off_t at = lseek(fd_of(fi), offset, whence);

    (void)path;
    return at < 0 ? -errno : at;
}

static int rec_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    return answer(close(fd_of(fi)));
}

static int rec_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset,
                       struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
    int fd = openat(folder, relative(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    (void)offset, (void)fi, (void)flags;
    if (!dir)
        return -errno;
    while ((entry = readdir(dir)))
        fill(buf, entry->d_name, NULL, 0, 0);
    closedir(dir);
    return 0;
}

static int rec_mkdir(const char *path, mode_t mode)
{
    return answer(mkdirat(folder, relative(path), mode));
}

static int rec_rmdir(const char *path)
{
    return answer(unlinkat(folder, relative(path), AT_REMOVEDIR));
}

static int rec_statfs(const char *path, struct statvfs *fs)
{
    (void)path;
    return answer(fstatvfs(folder, fs));
}

static int rec_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
    return answer(fi ? futimens(fd_of(fi), times)
                     : utimensat(folder, relative(path), times, AT_SYMLINK_NOFOLLOW));
}

static void *rec_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
    conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_ATOMIC_O_TRUNC);
    config->use_ino = 1;
    config->hard_remove = 1;
    return NULL;
}

static const struct fuse_operations operations = {
    .init = rec_init,
    .open = rec_open,
    .create = rec_create,
    .write = rec_write,
    .truncate = rec_truncate,
    .fallocate = rec_fallocate,
    .fsync = rec_fsync,
    .rename = rec_rename,
    .unlink = rec_unlink,
    .getattr = rec_getattr,
    .read = rec_read,
    .lseek = rec_lseek,
    .release = rec_release,
    .readdir = rec_readdir,
    .mkdir = rec_mkdir,
    .rmdir = rec_rmdir,
    .statfs = rec_statfs,
    .utimens = rec_utimens,
};

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: recorder LOG FOLDER MOUNTPOINT [-f] [-o OPTION]...\n");
        return 2;
    }
    folder = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        perror(argv[2]);
        return 2;
    }
    errno = log_create(argv[1]);
    if (errno) {
        perror(argv[1]);
        return 2;
    }
    argv[2] = argv[0];
    return fuse_main(argc - 2, argv + 2, &operations, NULL);
}
