/* Image files on loop devices.  A device has nobody but this process and the programs that are
 * measured, and the kernel takes it down with the last of them. */
#include "scene/device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { TRIES = 16 };

static int configure(int loop, int disk)
{
    struct loop_config config = {.fd = (unsigned)disk, .info.lo_flags = LO_FLAGS_AUTOCLEAR};

    return ioctl(loop, LOOP_CONFIGURE, &config);
}

/* Somebody else may take a free device at the same moment. */
static int set_up(int control, int disk, char *name, size_t size, int *held)
{
    for (int tries = 0; tries < TRIES; tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        bool busy;

        if (number < 0)
            return -1;
        snprintf(name, size, "/dev/loop%d", number);
        *held = open(name, O_RDWR | O_CLOEXEC);
        if (*held < 0)
            return -1;
        if (configure(*held, disk) == 0)
            return 0;
        busy = errno == EBUSY;
        close(*held);
        *held = -1;
        if (!busy)
            return -1;
    }
    return -1;
}

static int put_on_device(const char *file, const char *path, int control, int *held,
                         struct qb_err *err)
{
    int disk = open(file, O_RDWR | O_CLOEXEC), r;
    char name[64] = "";

    if (disk < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot open", file);
    r = set_up(control, disk, name, sizeof(name), held);
    if (r < 0)
        qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot be a loop device", name);
    else if ((r = symlink(name, path)) < 0)
        qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot link", path);
    close(disk);
    return r;
}

int bench_device_write(const struct bench_layout *l, const char *path, int *held,
                       struct qb_err *err)
{
    char file[4096 + sizeof(BENCH_DISK_SUFFIX)];
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), r;

    if (control < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE,
                           "no loop device can be set up, which takes root: /dev/loop-control");
    snprintf(file, sizeof(file), "%s" BENCH_DISK_SUFFIX, path);
    bench_device_remove(path, held);
    r = unlink(file) < 0 && errno != ENOENT
            ? qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot remove", file)
            : bench_image_write(l, file, err);
    if (r == 0)
        r = put_on_device(file, path, control, held, err);
    close(control);
    return r;
}

void bench_device_remove(const char *path, int *held)
{
    if (*held >= 0)
        close(*held);
    *held = -1;
    unlink(path);
}
