#include "journal_lines.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"

const struct qb_run_id journal_id = {"20260101-000000-00000a"};

static void put_line(int fd, const char *line)
{
    char head[QB_JOURNAL_HEAD];
    size_t len = strlen(line);

    qb_journal_sum(line, len, head);
    CU_ASSERT_EQUAL(write(fd, head, sizeof(head)), sizeof(head));
    CU_ASSERT_EQUAL(write(fd, line, len), (ssize_t)len);
    CU_ASSERT_EQUAL(write(fd, "\n", 1), 1);
}

static int open_journal(int flags)
{
    char path[QB_JOURNAL_PATH];

    qb_state_dir_journal(scratch_folder(), journal_id.text, path);
    return open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
}

void write_journal(const char *const *lines)
{
    int fd = open_journal(O_CREAT | O_TRUNC);

    for (; *lines; lines++)
        put_line(fd, *lines);
    close(fd);
}

void append_line(const char *line)
{
    int fd = open_journal(O_APPEND);

    put_line(fd, line);
    close(fd);
}

enum qb_code read_history(const char *const *lines, struct qb_history *h)
{
    struct qb_err err = {0};

    write_journal(lines);
    return qb_history_read(scratch_folder(), journal_id.text, h, &err) < 0 ? err.code : QB_E_NONE;
}
