#include "common/ask.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { POLL_MS = 100 };

bool qb_ask(const char *question, bool (*stopped)(void))
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char line[64];
    ssize_t n;

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    fprintf(stderr, "qbatch: %s [y/N] ", question);
    while (!stopped() && poll(&in, 1, POLL_MS) <= 0)
        ;
    n = stopped() ? 0 : read(STDIN_FILENO, line, sizeof(line) - 1);
    if (n <= 0) {
        fputc('\n', stderr);
        return false;
    }
    line[n] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    return strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0;
}
