#include "host/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool qb_notify_is_wanted(void)
{
    const char *name = getenv("NOTIFY_SOCKET");

    return name && (name[0] == '/' || name[0] == '@') && name[1];
}

void qb_notify(const char *fmt, ...)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *name = getenv("NOTIFY_SOCKET");
    char text[300];
    socklen_t len;
    va_list ap;
    int fd;

    if (!qb_notify_is_wanted() || strlen(name) >= sizeof(to.sun_path))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    memcpy(to.sun_path, name, strlen(name));
    len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    if (to.sun_path[0] == '@') /* a name that is in no file system */
        to.sun_path[0] = '\0';
    else
        len++;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&to, len);
    close(fd);
}
