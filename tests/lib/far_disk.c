/* A disk that is far away: each read takes a while, however small it is, and any number of them
 * take the same while together.
 *
 *     far_disk FILE MICROSECONDS MOUNTPOINT [-f] [-o OPTION]...
 *
 * shows FILE as MOUNTPOINT/disk.  MOUNTPOINT/most tells the most reads that were in flight at once
 * since it was last read, and how many there were: two numbers. */
#define FUSE_USE_VERSION 312

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { AT_ONCE = 256, TOLD_BYTES = 64 };

static struct {
    int fd;
    long delay_us;
    pthread_mutex_t mutex;
    unsigned long now, most, all;
} disk = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void count(int step)
{
    pthread_mutex_lock(&disk.mutex);
    disk.now += (unsigned long)step;
    disk.all += step > 0;
    if (disk.now > disk.most)
        disk.most = disk.now;
    pthread_mutex_unlock(&disk.mutex);
}

static size_t tell(char *out)
{
    int len;

    pthread_mutex_lock(&disk.mutex);
    len = snprintf(out, TOLD_BYTES, "%lu %lu\n", disk.most, disk.all);
    disk.most = disk.now;
    disk.all = 0;
    pthread_mutex_unlock(&disk.mutex);
    return (size_t)len;
}

static void wait_as_long(void)
{
    const struct timespec delay = {.tv_sec = disk.delay_us / 1000000,
                                   .tv_nsec = disk.delay_us % 1000000 * 1000};

    nanosleep(&delay, NULL);
}

static int is_disk(const char *path)
{
    return strcmp(path, "/disk") == 0;
}

static int is_known(const char *path)
{
    return is_disk(path) || strcmp(path, "/most") == 0;
}

static void *on_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
    (void)cfg;
    conn->max_background = AT_ONCE;
    conn->congestion_threshold = AT_ONCE;
    return NULL;
}

static int on_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    (void)fi;
    memset(st, 0, sizeof(*st));
    st->st_nlink = 1;
    if (strcmp(path, "/") == 0) {
        st->st_mode = S_IFDIR | 0700;
        return 0;
    }
    if (!is_known(path))
        return -ENOENT;
    if (is_disk(path) && fstat(disk.fd, st) < 0)
        return -errno;
    st->st_mode = S_IFREG | 0600;
    return 0;
}

static int on_open(const char *path, struct fuse_file_info *fi)
{
    fi->direct_io = !is_disk(path);
    return is_known(path) ? 0 : -ENOENT;
}

static int on_read(const char *path, char *buf, size_t len, off_t offset, struct fuse_file_info *fi)
{
    char told[TOLD_BYTES];
    ssize_t n;

    (void)fi;
    if (!is_disk(path)) {
        size_t have = offset ? 0 : tell(told);

        memcpy(buf, told, have < len ? have : len);
        return (int)(have < len ? have : len);
    }
    count(1);
    wait_as_long();
    n = pread(disk.fd, buf, len, offset);
    count(-1);
    return n < 0 ? -errno : (int)n;
}

static int on_write(const char *path, const char *buf, size_t len, off_t offset,
                    struct fuse_file_info *fi)
{
    ssize_t n = is_disk(path) ? pwrite(disk.fd, buf, len, offset) : -1;

    (void)fi;
    return n < 0 ? -EIO : (int)n;
}

static int on_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)path;
    (void)data_only;
    (void)fi;
    return 0; /* no power is cut here */
}

static const struct fuse_operations operations = {
    .init = on_init,
    .getattr = on_getattr,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
};

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "far_disk FILE MICROSECONDS MOUNTPOINT [-f] [-o OPTION]...\n");
        return 2;
    }
    disk.fd = open(argv[1], O_RDWR | O_CLOEXEC);
    disk.delay_us = atol(argv[2]);
    if (disk.fd < 0) {
        perror(argv[1]);
        return 2;
    }
    argv[2] = argv[0];
    return fuse_main(argc - 2, argv + 2, &operations, NULL);
}
