#include "clock/count.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "clock/timefn.h"

#define PREFIX "callgrind."

enum { WORDS_BEFORE = 4 };

bool bench_can_count(void)
{
    QB_AUTO(qb_buf) char *path = strdup(getenv("PATH") ? getenv("PATH") : "");
    char *at = path, *folder, file[4096];

    while (path && (folder = strsep(&at, ":"))) {
        snprintf(file, sizeof(file), "%s/valgrind", folder);
        if (access(file, X_OK) == 0)
            return true;
    }
    return false;
}

/* Of the process that wrote this file: "summary: N". */
static uint64_t read_count(const char *path)
{
    FILE *f = fopen(path, "re");
    char line[4096];
    uint64_t n = 0;

    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "summary: %" SCNu64, &n) == 1)
            break;
    }
    if (f)
        fclose(f);
    return n;
}

/* Adds up what the processes wrote, and removes it. */
static uint64_t take_counts(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    uint64_t sum = 0;
    char path[4096];

    while (dir && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)))
            continue;
        if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) < sizeof(path)) {
            sum += read_count(path);
            unlink(path);
        }
    }
    if (dir)
        closedir(dir);
    return sum;
}

int bench_count(char *const argv[], const char *folder, uint64_t *instructions, struct qb_err *err)
{
    size_t n = 0;
    QB_AUTO(qb_buf) char **words = NULL;
    char out[4096], errors[4096];
    struct bench_how how = {.errors = errors};
    struct bench_timed timed;

    while (argv[n])
        n++;
    words = calloc(n + WORDS_BEFORE + 1, sizeof(*words));
    if (!words)
        return qb_fail_memory(err);
    snprintf(out, sizeof(out), "--callgrind-out-file=%.3800s/" PREFIX "%%p", folder);
    snprintf(errors, sizeof(errors), "%.4000s/errors", folder);
    words[0] = "valgrind";
    words[1] = "--quiet";
    words[2] = "--tool=callgrind";
    words[3] = out;
    memcpy(words + WORDS_BEFORE, argv, n * sizeof(*words));
    if (bench_time(words, &how, &timed, err) < 0)
        return -1;
    *instructions = take_counts(folder);
    if (timed.exit_code || !*instructions)
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "%s: valgrind gave %d", argv[0],
                       timed.exit_code);
    return 0;
}
