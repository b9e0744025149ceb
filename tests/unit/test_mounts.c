/* Which locks reach everybody, by the lines of mountinfo. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "files/mounts.h"
#include "unit.h"

struct sample {
    const char *line;
    enum qb_locking locking;
    const char *why; /* a part of it, with QB_LOCKING_NONE */
};

static const struct sample samples[] = {
    /* one host's own */
    {"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard", QB_LOCKING_HERE, NULL},
    {"82 27 7:0 / /srv rw - xfs /dev/loop0 rw,inode64,noquota", QB_LOCKING_HERE, NULL},
    {"84 27 0:41 /sub /mnt/sub rw shared:7 - btrfs /dev/sdb1 rw,subvolid=256,subvol=/sub",
     QB_LOCKING_HERE, NULL},
    {"85 27 0:43 / /dev/shm rw - tmpfs tmpfs rw,size=64k", QB_LOCKING_HERE, NULL},
    {"88 27 0:44 / /merged rw - overlay overlay rw,lowerdir=/nfs,upperdir=/u,workdir=/w",
     QB_LOCKING_HERE, NULL},
    {"90 27 0:50 / /tank rw - zfs tank/vm rw,xattr", QB_LOCKING_HERE, NULL},
    {"91 27 8:17 / /media rw - fuseblk /dev/sdb1 rw,user_id=0", QB_LOCKING_HERE, NULL},
    {"92 27 0:51 / /b rw - fuse.bindfs /srv rw,user_id=0", QB_LOCKING_HERE, NULL},
    {"93 27 0:52 / /m rw - fuse.mergerfs a:b rw", QB_LOCKING_HERE, NULL},
    {"94 27 0:53 / /r rw - fuse recorder rw,user_id=0,group_id=0", QB_LOCKING_HERE, NULL},
    {"95 27 0:54 / /r rw - fuse.sshfsx /srv rw", QB_LOCKING_HERE, NULL},
    /* NFS */
    {"40 27 0:60 / /n rw - nfs4 srv:/x rw,vers=4.2,hard,proto=tcp,local_lock=none,addr=::1",
     QB_LOCKING_SERVED, NULL},
    {"41 27 0:61 / /n rw - nfs srv:/x rw,vers=3,proto=tcp,mountproto=udp,local_lock=none",
     QB_LOCKING_SERVED, NULL},
    {"42 27 0:62 / /n rw - nfs srv:/x rw,vers=3,nolock,proto=tcp,local_lock=all", QB_LOCKING_NONE,
     "nolock"},
    {"43 27 0:63 / /n rw - nfs srv:/x rw,vers=3,local_lock=all,addr=10.0.0.1", QB_LOCKING_NONE,
     "local_lock"},
    {"44 27 0:64 / /n rw - nfs srv:/x rw,vers=3,local_lock=posix", QB_LOCKING_NONE, "local_lock"},
    {"45 27 0:65 / /n rw - nfs4 srv:/x rw,local_lock=flock,addr=::1", QB_LOCKING_NONE,
     "local_lock"},
    {"46 27 0:66 / /n rw,nolock - nfs srv:/nolock rw,nolockd,xnolock,local_lock=none",
     QB_LOCKING_SERVED, NULL}, /* an option is a whole word, and of the file system */
    /* SMB */
    {"50 27 0:70 / /c rw - cifs //srv/x rw,vers=3.1.1,cache=strict,nobrl,file_mode=0755",
     QB_LOCKING_NONE, "nobrl"},
    {"51 27 0:71 / /c rw - smb3 //srv/x rw,nobrl", QB_LOCKING_NONE, "nobrl"},
    {"52 27 0:72 / /c rw - cifs //srv/x rw,vers=3.1.1", QB_LOCKING_SERVED, NULL},
    {"53 27 0:73 / /c rw - smb3 //srv/x rw", QB_LOCKING_SERVED, NULL},
    /* a host's folders in its guest */
    {"54 27 0:74 / /h rw - 9p host rw,sync,dirsync,access=client,trans=virtio", QB_LOCKING_NONE,
     "host"},
    {"55 27 0:75 / /h rw - virtiofs host rw", QB_LOCKING_NONE, "host"},
    {"56 27 0:76 / /h rw - fuse.vmhgfs-fuse vmhgfs-fuse rw", QB_LOCKING_NONE, "FUSE"},
    /* FUSE over a network */
    {"60 27 0:80 / /f rw - fuse.sshfs me@host:/srv rw,user_id=0", QB_LOCKING_NONE, "FUSE"},
    {"61 27 0:81 / /f rw - fuse.glusterfs gl1:/vol rw", QB_LOCKING_NONE, "FUSE"},
    {"62 27 0:82 / /f rw - fuse.ceph-fuse ceph-fuse rw", QB_LOCKING_NONE, "FUSE"},
    {"63 27 0:83 / /f rw - fuse.s3fs s3fs rw", QB_LOCKING_NONE, "FUSE"},
    {"64 27 0:84 / /f rw - fuse.rclone remote: rw", QB_LOCKING_NONE, "FUSE"},
    {"65 27 0:85 / /f rw - fuse.mfs mfsmaster:9421 rw", QB_LOCKING_NONE, "FUSE"},
    {"66 27 0:86 / /f rw - fuse.davfs https://srv/ rw", QB_LOCKING_NONE, "FUSE"},
    {"67 27 0:87 / /f rw - fuse https://srv/dav rw,user_id=0", QB_LOCKING_NONE, "FUSE"},
    {"68 27 0:88 / /f rw - fuse.quobyte@volume quobyte rw", QB_LOCKING_NONE, "FUSE"},
    /* clusters */
    {"70 27 0:90 / /k rw - ceph 10.0.0.1:/ rw,acl", QB_LOCKING_SERVED, NULL},
    {"71 27 0:91 / /k rw - lustre mgs@tcp:/x rw,flock,lazystatfs", QB_LOCKING_SERVED, NULL},
    {"72 27 0:92 / /k rw - lustre mgs@tcp:/x rw,localflock", QB_LOCKING_NONE, "localflock"},
    {"73 27 0:93 / /k rw - lustre mgs@tcp:/x rw,noflock", QB_LOCKING_NONE, "noflock"},
    {"74 27 253:1 / /k rw - gfs2 /dev/vg/lv rw", QB_LOCKING_SERVED, NULL},
    {"75 27 253:1 / /k rw - gfs2 /dev/vg/lv rw,localflocks", QB_LOCKING_NONE, "localflocks"},
    {"76 27 253:2 / /k rw - ocfs2 /dev/vg/o rw,_netdev,heartbeat=local,nointr", QB_LOCKING_NONE,
     "one host"},
    {"77 27 253:2 / /k rw - ocfs2 /dev/vg/o rw,heartbeat=none,cluster_stack=pcmk", QB_LOCKING_HERE,
     NULL},
    {"78 27 253:2 / /k rw - ocfs2 /dev/vg/o rw,cluster_stack=pcmk", QB_LOCKING_SERVED, NULL},
    {"79 27 0:94 / /k rw - beegfs beegfs_nodev rw,cfgFile=/etc/b.conf", QB_LOCKING_NONE,
     "one host"},
};

static void each_file_system_says_whether_its_locks_reach_everybody(void)
{
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        char *line = strdup(samples[i].line);
        struct qb_mountinfo info;
        const char *why = "?";
        enum qb_locking locking;

        CU_ASSERT_TRUE_FATAL(qb_mountinfo_parse(line, &info));
        locking = qb_mountinfo_locking(&info, &why);
        if (locking != samples[i].locking)
            fprintf(stderr, "%s\n", samples[i].line);
        CU_ASSERT_EQUAL(locking, samples[i].locking);
        if (samples[i].locking == QB_LOCKING_NONE) {
            CU_ASSERT_TRUE(why && strstr(why, samples[i].why));
        } else {
            CU_ASSERT_PTR_NULL(why);
        }
        free(line);
    }
}

static void a_line_is_taken_apart_whatever_stands_in_it(void)
{
    char plain[] = "36 35 98:2 /a /m rw,noatime master:1 shared:2 propagate_from:3 - ext3 "
                   "/dev/root rw,errors=continue\n";
    char escaped[] = "123456789012 1 0:57 / /mnt/a\\040-\\040b rw - fuse.my\\040fs a\\134b\\011c "
                     "rw,opt=\\054nolock\n";
    char no_source[] = "7 1 0:9 / /m rw -  rw\n", empty_source[] = "7 1 0:9 / /m rw - tmpfs  rw\n";
    char dash_type[] = "8 1 0:9 / - rw - - - -\n";
    struct qb_mountinfo m;

    CU_ASSERT_TRUE(qb_mountinfo_parse(plain, &m));
    CU_ASSERT(m.id == 36 && m.dev == makedev(98, 2));
    CU_ASSERT_STRING_EQUAL(m.type, "ext3");
    CU_ASSERT_STRING_EQUAL(m.source, "/dev/root");
    CU_ASSERT_STRING_EQUAL(m.options, "rw,errors=continue");
    CU_ASSERT_TRUE(qb_mountinfo_parse(escaped, &m));
    CU_ASSERT(m.id == UINT64_C(123456789012));
    CU_ASSERT_STRING_EQUAL(m.type, "fuse.my fs");
    CU_ASSERT_STRING_EQUAL(m.source, "a\\b\tc");
    CU_ASSERT_STRING_EQUAL(m.options, "rw,opt=\\054nolock");
    CU_ASSERT_TRUE(qb_mountinfo_parse(empty_source, &m));
    CU_ASSERT_STRING_EQUAL(m.type, "tmpfs");
    CU_ASSERT_STRING_EQUAL(m.source, "");
    CU_ASSERT_FALSE(qb_mountinfo_parse(no_source, &m));
    CU_ASSERT_TRUE(qb_mountinfo_parse(dash_type, &m));
    CU_ASSERT_STRING_EQUAL(m.type, "-");
}

static void what_is_no_line_of_mountinfo_is_not_taken_for_one(void)
{
    static const char *const lines[] = {
        "",      "\n",          "36",
        "x y z", "36 35 98:0",  "36 35 98:0 / /m rw",
        "36 35", "36 35 98 / ", "36 35 98:0 / /m rw master:1 - ext3",
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char *line = strdup(lines[i]);
        struct qb_mountinfo m;

        CU_ASSERT_FALSE(qb_mountinfo_parse(line, &m));
        free(line);
    }
}

static void a_mount_is_looked_up_once(void)
{
    char path[] = "/tmp/qb-mounts-XXXXXX";
    int fd = mkstemp(path);
    struct qb_file a = {0}, proc = {0};
    struct qb_mounts mounts = {0};
    struct qb_err err;

    CU_ASSERT_TRUE_FATAL(fd >= 0);
    close(fd);
    CU_ASSERT_EQUAL_FATAL(qb_file_open(path, &a, &err), 0);
    CU_ASSERT_EQUAL_FATAL(qb_file_open("/proc/self/mountinfo", &proc, &err), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(qb_mounts_find(&mounts, &a));
    /* mountinfo lacks a chroot whose root is not a mount point; the type of file system tells. */
    CU_ASSERT_EQUAL(qb_mounts_find(&mounts, &a)->locking, QB_LOCKING_HERE);
    CU_ASSERT_STRING_EQUAL(qb_mounts_find(&mounts, &proc)->type, "proc");
    CU_ASSERT_STRING_EQUAL(qb_mounts_find(&mounts, &proc)->type, "proc");
    CU_ASSERT_EQUAL(mounts.items.n, 2);
    proc.mount_id = 0; /* a kernel that does not say */
    CU_ASSERT_STRING_EQUAL(qb_mounts_find(&mounts, &proc)->type, "proc");
    CU_ASSERT_EQUAL(mounts.items.n, 3);
    qb_mounts_free(&mounts);
    qb_file_close(&a);
    qb_file_close(&proc);
    unlink(path);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_file_system_says_whether_its_locks_reach_everybody),
        UNIT(a_line_is_taken_apart_whatever_stands_in_it),
        UNIT(what_is_no_line_of_mountinfo_is_not_taken_for_one),
        UNIT(a_mount_is_looked_up_once),
    };

    return unit_main("mounts", tests, UNIT_COUNT(tests));
}
