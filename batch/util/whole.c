#include "util/whole.h"

#include <errno.h>
#include <unistd.h>

int qb_write_whole(int fd, const void *bytes, size_t n)
{
    const char *at = bytes;

    while (n > 0) {
        ssize_t done = write(fd, at, n);

        if (done < 0 && errno != EINTR)
            return errno;
        if (done <= 0)
            continue;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}
