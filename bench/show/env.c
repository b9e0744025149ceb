#include "show/env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void first_line(FILE *f, char *buf, size_t size)
{
    if (!fgets(buf, (int)size, f))
        buf[0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
}

/* ---- the machine ----------------------------------------------------------------------------- */

static void find_cpu(char *buf, size_t size)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256];

    while (f && fgets(line, sizeof(line), f)) {
        char *colon = strchr(line, ':');

        if (strncmp(line, "model name", 10) || !colon)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(buf, size, "%s", colon + 2);
        break;
    }
    if (f)
        fclose(f);
}

static void find_kernel(char *buf, size_t size)
{
    struct utsname u;

    if (uname(&u) == 0)
        snprintf(buf, size, "%.20s %.64s %.20s", u.sysname, u.release, u.machine);
}

/* mountinfo: id parent major:minor root mountpoint options [optional]... - type source super */
static bool take_mount(char *line, const char *device, struct bench_env *env)
{
    char *fields[6], *at = line, *dash = strstr(line, " - ");

    for (size_t i = 0; i < 6; i++)
        fields[i] = strsep(&at, " ");
    if (!fields[5] || !dash || strcmp(fields[2], device))
        return false;
    at = dash + 3;
    snprintf(env->filesystem, sizeof(env->filesystem), "%s", strsep(&at, " "));
    snprintf(env->device, sizeof(env->device), "%s", at ? strsep(&at, " ") : "");
    snprintf(env->mount_options, sizeof(env->mount_options), "%s", at ? at : "");
    env->mount_options[strcspn(env->mount_options, "\n")] = '\0';
    return true;
}

static void find_mount(const char *folder, struct bench_env *env)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    struct stat st;
    char line[4096], device[32];
    bool found = stat(folder, &st) < 0;

    snprintf(device, sizeof(device), "%u:%u", major(st.st_dev), minor(st.st_dev));
    while (f && !found && fgets(line, sizeof(line), f))
        found = take_mount(line, device, env);
    if (f)
        fclose(f);
}

/* ---- the programs ---------------------------------------------------------------------------- */

/* The first line of `TOOL --version`, without a shell. */
static void find_version(const char *tool, char *buf, size_t size)
{
    int ends[2];
    FILE *f;
    pid_t pid;

    buf[0] = '\0';
    if (!tool || pipe(ends) < 0)
        return;
    pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execlp(tool, tool, "--version", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    f = fdopen(ends[0], "r");
    if (f) {
        first_line(f, buf, size);
        fclose(f);
    } else {
        close(ends[0]);
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

void bench_env_find(const char *folder, const struct bench_tools *tools, struct bench_env *env)
{
    time_t now = time(NULL);
    struct tm tm;

    memset(env, 0, sizeof(*env));
    if (gmtime_r(&now, &tm))
        strftime(env->date, sizeof(env->date), "%Y-%m-%dT%H:%M:%SZ", &tm);
    find_cpu(env->cpu, sizeof(env->cpu));
    find_kernel(env->kernel, sizeof(env->kernel));
    find_mount(folder, env);
    find_version(tools->path[BENCH_QBATCH], env->qbatch, sizeof(env->qbatch));
    find_version(tools->path[BENCH_OTHER], env->other, sizeof(env->other));
    find_version(tools->path[BENCH_QEMU_IMG], env->qemu_img, sizeof(env->qemu_img));
    env->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    env->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (getloadavg(&env->load, 1) != 1)
        env->load = 0;
}
