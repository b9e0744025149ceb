#include "journals.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal/state_dir.h"

const char *scratch_journal(const char *id)
{
    static char path[QB_JOURNAL_PATH];

    qb_state_dir_journal(scratch_folder(), id, path);
    return path;
}

char *read_journal(const char *id, size_t *n)
{
    int fd = open(scratch_journal(id), O_RDONLY);
    struct stat st;
    char *text;

    if (fd < 0 || fstat(fd, &st) < 0)
        abort();
    *n = (size_t)st.st_size;
    text = malloc(*n + 1);
    if (!text || read(fd, text, *n) != (ssize_t)*n)
        abort();
    text[*n] = '\0';
    close(fd);
    return text;
}

void make_journal(const char *id, const char *text, size_t n)
{
    int fd = open(scratch_journal(id), O_CREAT | O_TRUNC | O_WRONLY, 0600);

    if (fd < 0 || write(fd, text, n) != (ssize_t)n)
        abort();
    close(fd);
}
