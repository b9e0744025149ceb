#include "files/mounts.h"

#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base/own.h"

/* ---- one line -------------------------------------------------------------------------------- */

/* The kernel writes space, tab, newline and backslash as three octal digits. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; to++) {
        bool octal = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
                     from[2] <= '7' && from[3] >= '0' && from[3] <= '7';

        *to = octal ? (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0')) : *from;
        from += octal ? 4 : 1;
    }
    *to = '\0';
}

/* Single spaces separate the fields, one of which may be empty.  The optional fields end with a
 * field that is "-". */
bool qb_mountinfo_parse(char *line, struct qb_mountinfo *out)
{
    unsigned major_number, minor_number;
    char *rest = line, *field;
    int end = 0;

    line[strcspn(line, "\n")] = '\0';
    *out = (struct qb_mountinfo){0};
    if (sscanf(line, "%" SCNu64 " %*u %u:%u %n", &out->id, &major_number, &minor_number, &end) !=
            3 ||
        !end)
        return false;
    out->dev = makedev(major_number, minor_number);
    rest += end;
    for (int i = 0; i < 3; i++) /* root, mount point, options of the mount */
        if (!strsep(&rest, " "))
            return false;
    do
        field = strsep(&rest, " ");
    while (field && strcmp(field, "-") != 0);
    out->type = field ? strsep(&rest, " ") : NULL;
    out->source = out->type ? strsep(&rest, " ") : NULL;
    out->options = out->source ? strsep(&rest, " ") : NULL;
    if (!out->options)
        return false;
    unescape((char *)out->type);
    unescape((char *)out->source);
    return true;
}

/* ---- what it means --------------------------------------------------------------------------- */

#define ONE_HOST   "locks are seen on one host only"
#define NOLOCK     "mounted with nolock: locks are seen on one host only"
#define LOCAL_LOCK "mounted with local_lock: locks are seen on one host only"
#define NETWORKED  "a FUSE file system over a network: locks are not known to reach other hosts"
#define FROM_HOST  "shared with the host of this machine: locks are not known to reach it"

/* The first matching row decides: by the type, and an option among those of the file system.  An
 * option that ends with '=' matches any value.  A type that is not in the table is used by one host
 * only. */
static const struct {
    const char *type, *option;
    enum qb_locking locking;
    const char *why;
} table[] = {
    {"nfs", "nolock", QB_LOCKING_NONE, NOLOCK},
    {"nfs", "local_lock=all", QB_LOCKING_NONE, LOCAL_LOCK},
    {"nfs", "local_lock=posix", QB_LOCKING_NONE, LOCAL_LOCK},
    {"nfs", "local_lock=flock", QB_LOCKING_NONE, LOCAL_LOCK},
    {"nfs", NULL, QB_LOCKING_SERVED, NULL},
    {"nfs4", "nolock", QB_LOCKING_NONE, NOLOCK},
    {"nfs4", "local_lock=all", QB_LOCKING_NONE, LOCAL_LOCK},
    {"nfs4", "local_lock=posix", QB_LOCKING_NONE, LOCAL_LOCK},
    {"nfs4", "local_lock=flock", QB_LOCKING_NONE, LOCAL_LOCK},
    {"nfs4", NULL, QB_LOCKING_SERVED, NULL},
    /* The client does not send byte-range locks to the server. */
    {"cifs", "nobrl", QB_LOCKING_NONE, "mounted with nobrl: locks are seen on one host only"},
    {"cifs", NULL, QB_LOCKING_SERVED, NULL},
    {"smb3", "nobrl", QB_LOCKING_NONE, "mounted with nobrl: locks are seen on one host only"},
    {"smb3", NULL, QB_LOCKING_SERVED, NULL},
    /* QEMU's 9p server grants every lock without taking it; older dialects have no locks. */
    {"9p", NULL, QB_LOCKING_NONE, FROM_HOST},
    {"virtiofs", NULL, QB_LOCKING_NONE, FROM_HOST}, /* locks stay in the guest by default */
    {"vboxsf", NULL, QB_LOCKING_NONE, FROM_HOST},
    {"vmhgfs", NULL, QB_LOCKING_NONE, FROM_HOST},
    {"prl_fs", NULL, QB_LOCKING_NONE, FROM_HOST},
    {"afs", NULL, QB_LOCKING_NONE, ONE_HOST}, /* servers lock whole files at most */
    {"coda", NULL, QB_LOCKING_NONE, ONE_HOST},
    {"pvfs2", NULL, QB_LOCKING_NONE, ONE_HOST},  /* OrangeFS: locks are the kernel's own */
    {"beegfs", NULL, QB_LOCKING_NONE, ONE_HOST}, /* unless its configuration file enables them */
    /* Cluster file systems. */
    {"ceph", NULL, QB_LOCKING_SERVED, NULL},
    {"gpfs", NULL, QB_LOCKING_SERVED, NULL},
    {"lustre", "localflock", QB_LOCKING_NONE,
     "mounted with localflock: locks are seen on one host only"},
    {"lustre", "noflock", QB_LOCKING_NONE, "mounted with noflock: there are no locks"},
    {"lustre", NULL, QB_LOCKING_SERVED, NULL},
    {"gfs2", "localflocks", QB_LOCKING_NONE,
     "mounted with localflocks: locks are seen on one host only"},
    {"gfs2", NULL, QB_LOCKING_SERVED, NULL},
    {"ocfs2", "localflocks", QB_LOCKING_NONE,
     "mounted with localflocks: locks are seen on one host only"},
    {"ocfs2", "heartbeat=none", QB_LOCKING_HERE, NULL}, /* not in a cluster */
    {"ocfs2", "cluster_stack=", QB_LOCKING_SERVED, NULL},
    {"ocfs2", NULL, QB_LOCKING_NONE, ONE_HOST}, /* its own cluster stack, o2cb, has no such locks */
};

/* The part of a FUSE file system's type after "fuse.". */
static const char *const networked_fuse[] = {
    /* other file servers and clusters */
    "sshfs",
    "glusterfs",
    "ceph",
    "ceph-fuse",
    "mfs",
    "mfsmount",
    "moosefs",
    "lizardfs",
    "saunafs",
    "sfs",
    "juicefs",
    "JuiceFS",
    "seaweedfs",
    "xtreemfs",
    "quobyte",
    "beegfs",
    "cvmfs2",
    "hdfs",
    "fuse_dfs",
    "alluxio-fuse",
    "irodsFs",
    "nfs",
    "fuse-nfs",
    "smbnetfs",
    "fusesmb",
    "gvfsd-fuse",
    "curlftpfs",
    "tahoe",
    "ipfs",
    "kbfs",
    "dfuse",
    "daosfs",
    /* object stores and WebDAV */
    "davfs",
    "davfs2",
    "s3fs",
    "s3ql",
    "s3backer",
    "goofys",
    "geesefs",
    "gcsfuse",
    "blobfuse",
    "blobfuse2",
    "mount-s3",
    "mountpoint-s3",
    "objectivefs",
    "rclone",
    "riofs",
    "yas3fs",
    "catfs",
    "google-drive-ocamlfuse",
    "onedriver",
    "acd_cli",
    "pcloud",
    "dbxfs",
    /* the host of a virtual machine */
    "vmhgfs-fuse",
    "osxfs",
    "grpcfuse",
};

/* Whether `name` is one of the comma-separated options. */
static bool has_option(const char *options, const char *name)
{
    size_t len = strlen(name);
    bool any_value = name[len - 1] == '=';

    for (const char *o = options; *o; o += strcspn(o, ","), o += *o == ',')
        if (strncmp(o, name, len) == 0 && (any_value || o[len] == ',' || !o[len]))
            return true;
    return false;
}

/* A subtype may be followed by '@' and the name of a volume.  Without a subtype only the source
 * helps: that of davfs2 is a URL. */
static bool is_networked_fuse(const struct qb_mountinfo *mount)
{
    const char *subtype = mount->type + strlen("fuse");
    size_t len;

    if (*subtype == '\0')
        return strstr(mount->source, "://") != NULL;
    if (*subtype++ != '.')
        return false; /* fuseblk, fusectl */
    len = strcspn(subtype, "@");
    for (size_t i = 0; i < sizeof(networked_fuse) / sizeof(networked_fuse[0]); i++)
        if (strlen(networked_fuse[i]) == len && strncmp(subtype, networked_fuse[i], len) == 0)
            return true;
    return false;
}

enum qb_locking qb_mountinfo_locking(const struct qb_mountinfo *mount, const char **why)
{
    *why = NULL;
    if (strncmp(mount->type, "fuse", 4) == 0 && is_networked_fuse(mount)) {
        *why = NETWORKED;
        return QB_LOCKING_NONE;
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(mount->type, table[i].type) != 0 ||
            (table[i].option && !has_option(mount->options, table[i].option)))
            continue;
        *why = table[i].why;
        return table[i].locking;
    }
    return QB_LOCKING_HERE;
}

/* ---- the mount of a file --------------------------------------------------------------------- */

void qb_mounts_free(struct qb_mounts *mounts)
{
    qb_vec_free(&mounts->items);
}

static void close_stream(FILE **f)
{
    if (*f)
        fclose(*f);
}

/* For kernels before 5.8, whose statx does not return the mount's number: 0 when this fails too. */
static uint64_t id_from_fdinfo(int fd)
{
    QB_AUTO(close_stream) FILE *f = NULL;
    char name[48], line[128];
    uint64_t id;

    snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
    f = fopen(name, "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "mnt_id: %" SCNu64, &id) == 1)
            return id;
    return 0;
}

/* Without /proc: a file system that only one host can use, or an unknown one. */
static void judge_by_magic(const struct qb_file *file, struct qb_mount *m)
{
    static const uint32_t local[] = {EXT4_SUPER_MAGIC,      XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
                                     TMPFS_MAGIC,           RAMFS_MAGIC,     F2FS_SUPER_MAGIC,
                                     OVERLAYFS_SUPER_MAGIC, 0x2fc12fc1 /* ZFS */};
    struct statfs fs;

    strcpy(m->type, "unknown");
    m->locking = QB_LOCKING_NONE;
    m->why = "/proc/self/mountinfo does not show how it is mounted";
    if (fstatfs(file->fd, &fs) < 0)
        return;
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        if ((uint32_t)fs.f_type == local[i])
            m->locking = QB_LOCKING_HERE;
}

static void judge(const struct qb_file *file, struct qb_mount *m)
{
    QB_AUTO(close_stream) FILE *f = fopen("/proc/self/mountinfo", "re");
    QB_AUTO(qb_buf) char *line = NULL;
    uint64_t id = m->id ? m->id : id_from_fdinfo(file->fd);
    struct qb_mountinfo info;
    size_t room = 0;

    while (f && getline(&line, &room, f) > 0) {
        if (!qb_mountinfo_parse(line, &info) || info.id != id)
            continue;
        m->locking = qb_mountinfo_locking(&info, &m->why);
        snprintf(m->type, sizeof(m->type), "%s", info.type);
        return;
    }
    judge_by_magic(file, m);
}

const struct qb_mount *qb_mounts_find(struct qb_mounts *mounts, const struct qb_file *file)
{
    struct qb_mount fresh = {.dev = file->dev, .id = file->mount_id};

    qb_vec_each (m, &mounts->items)
        if (m->id == file->mount_id && (m->id || m->dev == file->dev))
            return m;
    judge(file, &fresh);
    if (!qb_vec_push(&mounts->items, fresh))
        return NULL;
    return &mounts->items.items[mounts->items.n - 1];
}
