/* The table of open files grows at once, within the limit, and the limit to what is allowed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "unit.h"

/* FDSize of /proc/self/status; 0 where that is not told. */
static unsigned long table_size(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[200];
    unsigned long n = 0;

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "FDSize: %lu", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}

static int open_files(void)
{
    int n = 0;

    for (int fd = 0; fd < 1000; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* The exit code of a child that does this with a limit of its own. */
static int in_child(rlim_t soft, rlim_t hard, int (*fn)(void))
{
    struct rlimit limit = {soft, hard};
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(setrlimit(RLIMIT_NOFILE, &limit) == 0 ? fn() : 99);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static int grow(void)
{
    int before = open_files();

    qb_descriptors_make_room(0);
    qb_descriptors_make_room(700);
    return !(table_size() >= 700 && open_files() == before);
}

/* As far as the limit lets it; nothing is left open, and the next file can be opened. */
static int grow_to_limit(void)
{
    int before = open_files(), fd;

    qb_descriptors_make_room(100000);
    fd = open("/", O_PATH);
    return !(table_size() >= 300 && table_size() < 100000 && fd >= 0 && open_files() == before + 1);
}

static int raise_limit(void)
{
    struct rlimit now;

    return !(qb_descriptors_allow() == 400 && getrlimit(RLIMIT_NOFILE, &now) == 0 &&
             now.rlim_cur == 400 && qb_descriptors_allow() == 400);
}

static void the_table_has_its_size_before_files_are_opened(void)
{
    CU_ASSERT_EQUAL(in_child(1000, 1000, grow), 0);
    CU_ASSERT_EQUAL(in_child(300, 300, grow_to_limit), 0);
}

static void the_limit_is_raised_to_what_is_allowed(void)
{
    CU_ASSERT_EQUAL(in_child(200, 400, raise_limit), 0);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(the_table_has_its_size_before_files_are_opened),
        UNIT(the_limit_is_raised_to_what_is_allowed),
    };

    return unit_main("descriptors", tests, UNIT_COUNT(tests));
}
