#include "common/ask.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "util/text.h"

enum { POLL_MS = 100 };

/* Whether there is something to read. */
static bool wait_for_line(int asker, bool (*stopped)(void))
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = asker}};

    while (!stopped() && poll(fds, 2, POLL_MS) <= 0)
        ;
    return !stopped() && fds[0].revents && !(fds[1].revents & (POLLHUP | POLLERR));
}

bool qb_ask(const char *question, int asker, bool (*stopped)(void))
{
    char line[64];
    ssize_t n;

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    fputs("qbatch: ", stderr);
    qb_text_safe(stderr, question);
    fputs(" [y/N] ", stderr);
    n = wait_for_line(asker, stopped) ? read(STDIN_FILENO, line, sizeof(line) - 1) : 0;
    if (n <= 0) {
        fputc('\n', stderr);
        return false;
    }
    line[n] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    return strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0;
}
