/* Finds the disks of a file, by sysfs and the table of mounts. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/own.h"
#include "host/topo.h"

static void add_device(struct qb_disks *disks, const char *root, dev_t dev, int depth);
static void add_path(struct qb_disks *disks, const char *root, const char *path, int depth);

static void add_name(struct qb_disks *disks, const char *name)
{
    for (size_t i = 0; i < disks->n; i++)
        if (strcmp(disks->names[i], name) == 0)
            return;
    if (disks->n < QB_DISKS_MAX && strlen(name) < QB_DISK_NAME)
        strcpy(disks->names[disks->n++], name);
}

/* <folder>/<name> in `out`; whether it fitted and is there. */
static bool there(char out[PATH_MAX], const char *folder, const char *name)
{
    return snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX && access(out, F_OK) == 0;
}

/* The first line of a file of sysfs. */
static bool read_line(const char *path, char *line, size_t size)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(line, (int)size, f);

    if (f)
        fclose(f);
    if (ok)
        line[strcspn(line, "\n")] = '\0';
    return ok;
}

/* Follows each of <folder>/slaves; false when there is none. */
static bool add_members(struct qb_disks *disks, const char *root, const char *folder, int depth)
{
    char path[PATH_MAX], number[PATH_MAX], line[64];
    unsigned major_no, minor_no;
    bool any = false;
    struct dirent *e;
    DIR *dir;

    if (!there(path, folder, "slaves") || !(dir = opendir(path)))
        return false;
    while ((e = readdir(dir)) != NULL) {
        size_t used = strlen(path);

        if (e->d_name[0] == '.' || used + strlen(e->d_name) + sizeof("//dev") > sizeof(number))
            continue;
        any = true;
        snprintf(number, sizeof(number), "%.*s/%s/dev", (int)used, path, e->d_name);
        if (read_line(number, line, sizeof(line)) &&
            sscanf(line, "%u:%u", &major_no, &minor_no) == 2)
            add_device(disks, root, makedev(major_no, minor_no), depth + 1);
    }
    closedir(dir);
    return any;
}

/* `depth` bounds the layers of devices: a loop device on a volume on an array on partitions. */
static void add_device(struct qb_disks *disks, const char *root, dev_t dev, int depth)
{
    char link[PATH_MAX], path[PATH_MAX], file[PATH_MAX];
    QB_AUTO(qb_buf) char *folder = NULL;

    snprintf(link, sizeof(link), "%s/sys/dev/block/%u:%u", root, major(dev), minor(dev));
    folder = realpath(link, NULL);
    if (!folder || depth > QB_DISK_DEPTH)
        return;
    if (there(path, folder, "partition"))
        *strrchr(folder, '/') = '\0'; /* a partition lies inside its disk's folder */
    if (add_members(disks, root, folder, depth))
        return;
    if (there(path, folder, "loop/backing_file") && read_line(path, file, sizeof(file)))
        add_path(disks, root, file, depth + 1);
    else
        add_name(disks, strrchr(folder, '/') + 1);
}

void qb_disks_add_device(struct qb_disks *disks, const char *root, dev_t dev)
{
    add_device(disks, root, dev, 0);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A line of the table of mounts has its type and source after " - ". */
static bool source_of_mount(const char *root, uint64_t id, char source[PATH_MAX])
{
    QB_AUTO(qb_buf) char *line = NULL;
    unsigned long long number;
    char path[PATH_MAX];
    bool found = false;
    size_t cap = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
    f = fopen(path, "re");
    while (f && !found && getline(&line, &cap, f) > 0) {
        const char *rest = strstr(line, " - ");

        if (rest && sscanf(line, "%llu", &number) == 1 && number == id)
            found = sscanf(rest, " - %*s %4095s", source) == 1;
    }
    if (f)
        fclose(f);
    return found;
}

/* A file system with a number of its own making (btrfs): the mount knows one of its devices. */
static void add_mount(struct qb_disks *disks, const char *root, const char *path, int depth)
{
    char source[PATH_MAX];
    struct statx sx;
    struct stat st;

    if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_MNT_ID, &sx) == 0 &&
        sx.stx_mask & STATX_MNT_ID && source_of_mount(root, sx.stx_mnt_id, source) &&
        stat(source, &st) == 0 && S_ISBLK(st.st_mode))
        add_device(disks, root, st.st_rdev, depth + 1);
}

static void add_path(struct qb_disks *disks, const char *root, const char *path, int depth)
{
    struct stat st;

    if (depth > QB_DISK_DEPTH || stat(path, &st) < 0)
        return;
    if (S_ISBLK(st.st_mode))
        add_device(disks, root, st.st_rdev, depth);
    else if (major(st.st_dev) == 0)
        add_mount(disks, root, path, depth);
    else
        add_device(disks, root, st.st_dev, depth);
}

void qb_disks_add_path(struct qb_disks *disks, const char *root, const char *path)
{
    add_path(disks, root, path, 0);
}
