#include "host/free_space.h"

#include <linux/btrfs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/own.h"
#include "base/vec.h"
#include "util/text.h"

/* Subvolumes of btrfs have device numbers of their own, and share the space. */
struct fs_id {
    dev_t dev;         /* 0 on btrfs */
    uint8_t btrfs[16]; /* its UUID */
};

struct booking {
    const struct qb_file *file;
    struct fs_id fs;
    uint64_t need, before; /* bytes: booked, and allocated to the file at that time */
};

struct qb_space {
    pthread_mutex_t lock; /* guards all below; no I/O but stat calls is done under it */
    pthread_cond_t ended;
    QB_VEC(struct booking) bookings;
    size_t waiting;
};

struct qb_space *qb_space_new(void)
{
    struct qb_space *s = calloc(1, sizeof(*s));

    if (s) {
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->ended, NULL);
    }
    return s;
}

void qb_space_free(struct qb_space *s)
{
    if (!s)
        return;
    pthread_cond_destroy(&s->ended);
    pthread_mutex_destroy(&s->lock);
    qb_vec_free(&s->bookings);
    free(s);
}

static struct fs_id fs_of(const struct qb_file *file)
{
    struct btrfs_ioctl_fs_info_args info;
    struct fs_id id = {0};

    memset(&info, 0, sizeof(info));
    if (ioctl(file->fd, BTRFS_IOC_FS_INFO, &info) == 0)
        memcpy(id.btrfs, info.fsid, sizeof(id.btrfs));
    else
        id.dev = file->dev;
    return id;
}

static bool is_same(const struct fs_id *a, const struct fs_id *b)
{
    return a->dev == b->dev && memcmp(a->btrfs, b->btrfs, sizeof(a->btrfs)) == 0;
}

/* Bytes that appends in progress may still take there. */
static uint64_t booked_on(const struct qb_space *s, const struct fs_id *fs)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < s->bookings.n; i++) {
        const struct booking *b = &s->bookings.items[i];
        uint64_t now;

        if (!is_same(&b->fs, fs))
            continue;
        now = qb_file_allocated(b->file);
        sum += b->need - QB_MIN(b->need, now - QB_MIN(now, b->before));
    }
    return sum;
}

static bool has_others(const struct qb_space *s, const struct fs_id *fs)
{
    for (size_t i = 0; i < s->bookings.n; i++)
        if (is_same(&s->bookings.items[i].fs, fs))
            return true;
    return false;
}

static int refuse(const struct qb_policy *policy, const struct statvfs *fs, uint64_t need,
                  struct qb_err *err)
{
    char wanted[QB_TEXT_NUMBER], left[QB_TEXT_NUMBER], kept[QB_TEXT_NUMBER];

    return qb_fail(
        err, QB_E_NO_SPACE, QB_NOWHERE,
        "nothing was changed: the amend may take %s, %s are free, and policy.min_free keeps %s",
        qb_text_size(need, wanted), qb_text_size((uint64_t)fs->f_bavail * fs->f_frsize, left),
        qb_text_size(qb_min_free(policy, (uint64_t)fs->f_blocks * fs->f_frsize), kept));
}

/* 0 when it was booked, 1 when others must end first. */
static int try_booking(struct qb_space *s, const struct qb_policy *policy, struct booking b,
                       struct qb_err *err)
{
    uint64_t booked = booked_on(s, &b.fs), free_bytes, kept; /* looked at before the free space */
    struct statvfs fs;

    if (fstatvfs(b.file->fd, &fs) < 0 || fs.f_blocks == 0)
        return 0; /* unknown; the append itself will fail if necessary */
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    kept = qb_min_free(policy, (uint64_t)fs.f_blocks * fs.f_frsize);
    if (free_bytes >= kept && free_bytes - kept >= b.need && free_bytes - kept - b.need >= booked)
        return qb_vec_push(&s->bookings, b) ? 0 : qb_fail_memory(err);
    return has_others(s, &b.fs) ? 1 : refuse(policy, &fs, b.need, err);
}

int qb_space_begin(struct qb_space *s, const struct qb_policy *policy, const struct qb_file *file,
                   uint64_t need, struct qb_err *err)
{
    struct booking b = {.file = file, .need = need};
    int r;

    if (!policy->min_free.n || need == 0 || file->mem || file->is_block_device)
        return 0;
    b.fs = fs_of(file);
    b.before = qb_file_allocated(file);
    pthread_mutex_lock(&s->lock);
    while ((r = try_booking(s, policy, b, err)) > 0) {
        s->waiting++;
        pthread_cond_wait(&s->ended, &s->lock);
        s->waiting--;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

void qb_space_end(struct qb_space *s, const struct qb_file *file)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->bookings.n; i++)
        if (s->bookings.items[i].file == file) {
            s->bookings.items[i] = s->bookings.items[--s->bookings.n];
            pthread_cond_broadcast(&s->ended);
            break;
        }
    pthread_mutex_unlock(&s->lock);
}

size_t qb_space_waiting(struct qb_space *s)
{
    size_t n;

    pthread_mutex_lock(&s->lock);
    n = s->waiting;
    pthread_mutex_unlock(&s->lock);
    return n;
}
