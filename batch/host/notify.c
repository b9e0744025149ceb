#include "host/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char *socket_name(void)
{
    const char *name = getenv("NOTIFY_SOCKET");

    return name && (name[0] == '/' || name[0] == '@') && name[1] ? name : NULL;
}

int qb_notify_open(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *name = socket_name();
    socklen_t len;
    int fd;

    if (!name || strlen(name) >= sizeof(to.sun_path))
        return -1;
    memcpy(to.sun_path, name, strlen(name));
    len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    if (to.sun_path[0] == '@') /* a name that is in no file system */
        to.sun_path[0] = '\0';
    else
        len++;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, len) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void qb_notify(int fd, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    if (fd < 0)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (write(fd, text, strlen(text)) < 0)
        return; /* nobody waits for it */
}
