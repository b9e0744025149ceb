#include "host/priority.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"

/* <linux/ioprio.h> of Debian 12 is not for user space everywhere. */
enum {
    IOPRIO_WHO_PROCESS = 1,
    IOPRIO_CLASS_BE = 2,
    IOPRIO_CLASS_IDLE = 3,
    IOPRIO_CLASS_SHIFT = 13
};

double qb_pressure_of(const char *text)
{
    const char *line = strstr(text, "some "), *avg = line ? strstr(line, "avg10=") : NULL;
    char *end;
    double percent = avg ? strtod(avg + 6, &end) : -1;

    return avg && end != avg + 6 ? percent : -1;
}

int qb_pressure_open(void)
{
    return open("/proc/pressure/io", O_RDONLY | O_CLOEXEC);
}

double qb_pressure_now(int fd)
{
    char text[256];
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return qb_pressure_of(text);
}

static int set_ionice(const struct qb_limits *limits, struct qb_err *err)
{
    int class = limits->ionice == QB_IONICE_IDLE ? IOPRIO_CLASS_IDLE : IOPRIO_CLASS_BE;
    int value = class << IOPRIO_CLASS_SHIFT | (class == IOPRIO_CLASS_BE ? limits->ionice_level : 0);

    if (limits->ionice == QB_IONICE_KEEP ||
        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) == 0)
        return 0;
    return qb_fail_sys(err, errno, QB_NOWHERE, "cannot set the I/O priority");
}

static bool tells_pressure(void)
{
    int fd = qb_pressure_open();
    bool tells = qb_pressure_now(fd) >= 0;

    if (fd >= 0)
        close(fd);
    return tells;
}

int qb_neighbour_begin(const struct qb_limits *limits, struct qb_err *err)
{
    errno = 0;
    if (limits->has_nice && setpriority(PRIO_PROCESS, 0, limits->nice) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot set the nice value %d", limits->nice);
    if (set_ionice(limits, err) < 0)
        return -1;
    if (limits->load_percent > 0 && !tells_pressure())
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "this host does not tell how busy its disks are (no /proc/pressure/io), "
                       "which limits.load asks for");
    return 0;
}
