/* Placement on machines that are not here: hwloc's synthetic topologies, some with a disk hung into
 * their XML, and trees of files that look like sysfs and control groups. */
#include <hwloc.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "host/topo.h"
#include "unit.h"

/* ---- machines -------------------------------------------------------------------------------- */

static hwloc_topology_t new_machine(void)
{
    hwloc_topology_t t;

    CU_ASSERT_EQUAL_FATAL(hwloc_topology_init(&t), 0);
    hwloc_topology_set_io_types_filter(t, HWLOC_TYPE_FILTER_KEEP_ALL);
    return t;
}

static hwloc_topology_t synthetic(const char *what)
{
    hwloc_topology_t t = new_machine();

    CU_ASSERT_EQUAL_FATAL(hwloc_topology_set_synthetic(t, what), 0);
    CU_ASSERT_EQUAL_FATAL(hwloc_topology_load(t), 0);
    return t;
}

/* A disk behind a PCI bridge, as hwloc writes it. */
#define DISK_XML                                                                                   \
    "<object type=\"Bridge\" gp_index=\"9001\" bridge_type=\"0-1\" depth=\"0\""                    \
    " bridge_pci=\"0000:[80-81]\">"                                                                \
    "<object type=\"PCIDev\" gp_index=\"9002\" pci_busid=\"0000:81:00.0\""                         \
    " pci_type=\"0108 [144d:a80a] [144d:a801] 00\" pci_link_speed=\"7.876923\">"                   \
    "<object type=\"OSDev\" gp_index=\"9003\" name=\"nvme0n1\" subtype=\"Disk\""                   \
    " osdev_type=\"0\"/></object></object>"

/* The same machine with the disk on object number `n` of the type: the XML of that object gets it
 * as its last child. */
static hwloc_topology_t with_disk(const char *what, const char *type, unsigned n)
{
    hwloc_topology_t t = synthetic(what);
    char *xml, mark[64], *made, *at, *end;
    int len, level = 0;

    CU_ASSERT_EQUAL_FATAL(hwloc_topology_export_xmlbuffer(t, &xml, &len, 0), 0);
    snprintf(mark, sizeof(mark), "<object type=\"%s\"", type);
    at = strstr(xml, mark);
    for (unsigned i = 0; i < n && at; i++)
        at = strstr(at + 1, mark);
    CU_ASSERT_FATAL(at != NULL);
    for (end = at; level > 0 || end == at; end++) /* to the tag that closes it */
        if (strncmp(end, "<object", 7) == 0)
            level += strchr(end, '>')[-1] != '/';
        else if (strncmp(end, "</object>", 9) == 0)
            if (--level == 0)
                break;
    made = malloc((size_t)len + sizeof(DISK_XML));
    CU_ASSERT_FATAL(made != NULL);
    len = sprintf(made, "%.*s%s%s", (int)(end - xml), xml, DISK_XML, end);
    hwloc_free_xmlbuffer(t, xml);
    hwloc_topology_destroy(t);
    t = new_machine();
    CU_ASSERT_EQUAL_FATAL(hwloc_topology_set_xmlbuffer(t, made, len + 1), 0);
    CU_ASSERT_EQUAL_FATAL(hwloc_topology_load(t), 0);
    free(made);
    return t;
}

static struct qb_topo_options many_images(void)
{
    return (struct qb_topo_options){.jobs = 10000, .cpus = 1, .quota_milli = QB_TOPO_NO_QUOTA};
}

static struct qb_topo_options on_the_disk(void)
{
    struct qb_topo_options o = many_images();

    strcpy(o.disks.names[0], "nvme0n1");
    o.disks.n = 1;
    return o;
}

static struct qb_topo_choice choose(hwloc_topology_t t, const struct qb_topo_options *o)
{
    struct qb_topo_choice c;

    CU_ASSERT_EQUAL_FATAL(qb_topo_choose(t, o, &c), 0);
    CU_ASSERT_FATAL(c.n_workers > 0 && c.workers != NULL);
    return c;
}

#define TWO_PACKAGES "pack:2 [numa] l3:1(size=33554432) l2:8(size=1048576) core:1 pu:2"
#define MANY_NODES   "pack:2 group:4 [numa] core:4 pu:2"

/* ---- choices --------------------------------------------------------------------------------- */

static void workers_that_wait_are_more_than_the_cores_where_these_are_few(void)
{
    static const struct {
        unsigned cpus, wanted;
        uint32_t quota;
        size_t jobs;
        unsigned workers;
    } cases[] = {{1, 0, QB_TOPO_NO_QUOTA, 100, 4},   {2, 0, QB_TOPO_NO_QUOTA, 100, 8},
                 {4, 0, QB_TOPO_NO_QUOTA, 100, 16},  {6, 0, QB_TOPO_NO_QUOTA, 100, 16},
                 {64, 0, QB_TOPO_NO_QUOTA, 100, 64}, {64, 0, 1000, 100, 4},
                 {2, 0, QB_TOPO_NO_QUOTA, 3, 3},     {2, 1, QB_TOPO_NO_QUOTA, 100, 1},
                 {2, 32, QB_TOPO_NO_QUOTA, 100, 32}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct qb_topo_options o = {.waits = true,
                                    .cpus = cases[i].cpus,
                                    .wanted = cases[i].wanted,
                                    .quota_milli = cases[i].quota,
                                    .jobs = cases[i].jobs};
        struct qb_topo_choice c = choose(NULL, &o);

        CU_ASSERT_EQUAL(c.n_workers, cases[i].workers);
        CU_ASSERT_EQUAL(c.bind, QB_TOPO_FREE);
        qb_topo_choice_free(&c);
    }
}

static void a_worker_is_for_a_core_and_not_for_a_hyperthread(void)
{
    hwloc_topology_t t = synthetic(TWO_PACKAGES);
    struct qb_topo_options o = many_images();
    struct qb_topo_choice c = choose(t, &o);

    CU_ASSERT_EQUAL(c.packages, 2);
    CU_ASSERT_EQUAL(c.nodes, 2);
    CU_ASSERT_EQUAL(c.cores, 16);
    CU_ASSERT_EQUAL(c.cpus, 32);
    CU_ASSERT_STRING_EQUAL(c.allowed, "0-31");
    CU_ASSERT_EQUAL(c.n_workers, 16);
    CU_ASSERT_EQUAL(c.bind, QB_TOPO_TO_CORE);
    for (unsigned i = 0; i < c.n_workers; i++) {
        char cpus[32];

        snprintf(cpus, sizeof(cpus), "%u-%u", 2 * i, 2 * i + 1);
        CU_ASSERT_STRING_EQUAL(c.workers[i].cpus, cpus);
        CU_ASSERT_EQUAL(c.workers[i].core, (int)i);
        CU_ASSERT_EQUAL(c.workers[i].package, (int)i / 8);
        CU_ASSERT_EQUAL(c.workers[i].node, (int)i / 8);
    }
    CU_ASSERT_EQUAL(c.n_caches, 2);
    CU_ASSERT_EQUAL(c.caches[1].level, 3);
    CU_ASSERT_EQUAL(c.caches[1].count, 2);
    CU_ASSERT_EQUAL(c.caches[1].bytes, 32 << 20);
    CU_ASSERT_PTR_NULL(c.disk_nodes);
    qb_topo_choice_free(&c);
    hwloc_topology_destroy(t);
}

static void only_cores_with_an_allowed_cpu_count_and_a_worker_keeps_to_the_allowed(void)
{
    hwloc_topology_t t = synthetic(TWO_PACKAGES);
    struct qb_topo_options o = many_images();
    struct qb_topo_choice c;

    o.allowed = "1,4-17,30"; /* half of core 0, cores 2-8, half of core 15 */
    c = choose(t, &o);
    CU_ASSERT_EQUAL(c.cores, 16);
    CU_ASSERT_EQUAL(c.cores_allowed, 9);
    CU_ASSERT_EQUAL(c.cpus_allowed, 16);
    CU_ASSERT_STRING_EQUAL(c.allowed, "1,4-17,30");
    CU_ASSERT_EQUAL(c.n_workers, 9);
    CU_ASSERT_STRING_EQUAL(c.workers[0].cpus, "1");
    CU_ASSERT_STRING_EQUAL(c.workers[1].cpus, "4-5");
    CU_ASSERT_STRING_EQUAL(c.workers[8].cpus, "30");
    qb_topo_choice_free(&c);
    hwloc_topology_destroy(t);
}

static void a_cpuset_counts_like_an_affinity(void)
{
    hwloc_topology_t t = new_machine();
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    struct qb_topo_options o = many_images();
    struct qb_topo_choice c;

    hwloc_topology_set_flags(t, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    hwloc_topology_set_synthetic(t, TWO_PACKAGES);
    CU_ASSERT_EQUAL_FATAL(hwloc_topology_load(t), 0);
    hwloc_bitmap_set_range(set, 8, 11);
    CU_ASSERT_EQUAL_FATAL(hwloc_topology_allow(t, set, NULL, HWLOC_ALLOW_FLAG_CUSTOM), 0);
    c = choose(t, &o);
    CU_ASSERT_EQUAL(c.cores, 16);
    CU_ASSERT_EQUAL(c.n_workers, 2);
    CU_ASSERT_STRING_EQUAL(c.allowed, "8-11");
    CU_ASSERT_EQUAL(c.workers[0].core, 4);
    qb_topo_choice_free(&c);
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(t);
}

static void quota_images_and_the_users_number_bound_the_workers(void)
{
    static const struct {
        uint32_t quota_milli;
        size_t jobs;
        unsigned wanted, workers;
        enum qb_topo_bind bind;
    } cases[] = {
        {QB_TOPO_NO_QUOTA, 10000, 0, 16, QB_TOPO_TO_CORE},
        {2500, 10000, 0, 3, QB_TOPO_FREE},
        {10, 10000, 0, 1, QB_TOPO_FREE},
        {12000, 10000, 0, 12, QB_TOPO_FREE},
        {15500, 10000, 0, 16, QB_TOPO_FREE}, /* a worker a core, but not all of the cores' time */
        {16000, 10000, 0, 16, QB_TOPO_TO_CORE},
        {QB_TOPO_NO_QUOTA, 5, 0, 5, QB_TOPO_FREE},
        {QB_TOPO_NO_QUOTA, 0, 0, 1, QB_TOPO_FREE},
        {2000, 10000, 12, 12, QB_TOPO_FREE},
        {QB_TOPO_NO_QUOTA, 10000, 40, 40, QB_TOPO_FREE},
        {QB_TOPO_NO_QUOTA, 3, 40, 3, QB_TOPO_FREE},
        {QB_TOPO_NO_QUOTA, 10000, 5000, 1024, QB_TOPO_FREE},
    };
    hwloc_topology_t t = synthetic(TWO_PACKAGES);

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        struct qb_topo_options o = many_images();
        struct qb_topo_choice c;

        o.quota_milli = cases[i].quota_milli;
        o.jobs = cases[i].jobs;
        o.wanted = cases[i].wanted;
        c = choose(t, &o);
        CU_ASSERT_EQUAL(c.n_workers, cases[i].workers);
        CU_ASSERT_EQUAL(c.bind, cases[i].bind);
        CU_ASSERT((c.workers[0].cpus != NULL) == (c.bind != QB_TOPO_FREE));
        CU_ASSERT_EQUAL(c.workers[c.n_workers - 1].core, (int)(c.n_workers - 1) % 16);
        qb_topo_choice_free(&c);
    }
    hwloc_topology_destroy(t);
}

static void workers_begin_on_the_package_of_the_disk(void)
{
    hwloc_topology_t t = with_disk(TWO_PACKAGES, "Package", 1);
    struct qb_topo_options o = on_the_disk();
    struct qb_topo_choice c = choose(t, &o);

    CU_ASSERT_PTR_NOT_NULL_FATAL(c.disk_nodes);
    CU_ASSERT_STRING_EQUAL(c.disk_nodes, "1");
    CU_ASSERT_EQUAL(c.n_workers, 16);
    for (unsigned i = 0; i < 16; i++) {
        CU_ASSERT_EQUAL(c.workers[i].core, (int)(i + 8) % 16);
        CU_ASSERT_EQUAL(c.workers[i].near, i < 8);
    }
    qb_topo_choice_free(&c);
    o.wanted = 8; /* some of the cores: they share the node */
    c = choose(t, &o);
    CU_ASSERT_EQUAL(c.bind, QB_TOPO_TO_NODE);
    for (unsigned i = 0; i < 8; i++)
        CU_ASSERT_STRING_EQUAL(c.workers[i].cpus, "16-31");
    qb_topo_choice_free(&c);
    hwloc_topology_destroy(t);
}

static void of_many_nodes_the_disks_comes_first_then_those_of_its_package(void)
{
    hwloc_topology_t t = with_disk(MANY_NODES, "Group", 6); /* node 6, in package 1 */
    struct qb_topo_options o = on_the_disk();
    struct qb_topo_choice c;

    o.quota_milli = 20000;
    o.allowed = "0-49,52-63"; /* without core 25, of node 6 */
    c = choose(t, &o);
    CU_ASSERT_EQUAL(c.nodes, 8);
    CU_ASSERT_EQUAL(c.cores_allowed, 31);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.disk_nodes);
    CU_ASSERT_STRING_EQUAL(c.disk_nodes, "6");
    CU_ASSERT_EQUAL(c.n_workers, 20);
    CU_ASSERT_EQUAL(c.bind, QB_TOPO_TO_NODE);
    for (unsigned i = 0; i < 20; i++) {
        CU_ASSERT_EQUAL(c.workers[i].near, i < 3);
        CU_ASSERT_EQUAL(c.workers[i].node == 6, i < 3);
        CU_ASSERT_EQUAL(c.workers[i].package, i < 15 ? 1 : 0);
    }
    CU_ASSERT_STRING_EQUAL(c.workers[0].cpus, "48-49,52-55"); /* its node, without the forbidden */
    CU_ASSERT_EQUAL(c.workers[3].core, 16);
    CU_ASSERT_EQUAL(c.workers[15].core, 0);
    qb_topo_choice_free(&c);
    hwloc_topology_destroy(t);
}

static void a_disk_that_is_elsewhere_or_nowhere_changes_nothing(void)
{
    hwloc_topology_t t = with_disk(TWO_PACKAGES, "Machine", 0);
    struct qb_topo_options o = on_the_disk();
    struct qb_topo_choice c = choose(t, &o);

    CU_ASSERT_PTR_NULL(c.disk_nodes); /* it hangs on both packages */
    CU_ASSERT_EQUAL(c.workers[0].core, 0);
    CU_ASSERT_FALSE(c.workers[0].near);
    qb_topo_choice_free(&c);
    hwloc_topology_destroy(t);
    t = with_disk(TWO_PACKAGES, "Package", 1);
    strcpy(o.disks.names[0], "sda");
    c = choose(t, &o);
    CU_ASSERT_PTR_NULL(c.disk_nodes);
    CU_ASSERT_EQUAL(c.workers[0].core, 0);
    qb_topo_choice_free(&c);
    hwloc_topology_destroy(t);
}

static void the_only_node_is_near_to_every_disk(void)
{
    hwloc_topology_t t = with_disk("core:4 pu:1", "Machine", 0);
    struct qb_topo_options o = on_the_disk();
    struct qb_topo_choice c = choose(t, &o);

    CU_ASSERT_PTR_NOT_NULL_FATAL(c.disk_nodes);
    CU_ASSERT_STRING_EQUAL(c.disk_nodes, "0");
    CU_ASSERT_EQUAL(c.packages, 0);
    CU_ASSERT_EQUAL(c.workers[0].package, -1);
    CU_ASSERT_TRUE(c.workers[0].near);
    CU_ASSERT_EQUAL(c.bind, QB_TOPO_FREE); /* four workers */
    qb_topo_choice_free(&c);
    hwloc_topology_destroy(t);
}

static void without_cores_or_a_topology_a_cpu_is_a_core(void)
{
    hwloc_topology_t t = synthetic("numa:1 pu:6");
    struct qb_topo_options o = many_images();
    struct qb_topo_choice c = choose(t, &o);

    CU_ASSERT_EQUAL(c.n_workers, 6);
    qb_topo_choice_free(&c);
    o.cpus = 12;
    c = choose(NULL, &o);
    CU_ASSERT_EQUAL(c.n_workers, 12);
    CU_ASSERT_EQUAL(c.nodes, 0);
    CU_ASSERT_EQUAL(c.workers[11].core, -1);
    CU_ASSERT_EQUAL(c.bind, QB_TOPO_FREE);
    qb_topo_choice_free(&c);
    o.allowed = "100-111"; /* another machine than the topology's */
    c = choose(t, &o);
    CU_ASSERT_EQUAL(c.n_workers, 12);
    qb_topo_choice_free(&c);
    hwloc_topology_destroy(t);
}

/* A quarter of a core's share of the last cache, between one and four MiB. */
static void windows_stay_in_the_cache(void)
{
    static const struct {
        const char *machine;
        uint64_t bytes;
    } cases[] = {
        {TWO_PACKAGES, 1 << 20},
        {"pack:1 l3:1(size=33554432) core:4 pu:1", 2 << 20},
        {"pack:1 l3:1(size=268435456) core:4 pu:1", 4 << 20},
        {"pack:1 l3:1(size=1048576) core:4 pu:1", 1 << 20},
        {"pack:1 core:4 pu:1", 4 << 20},
    };

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        hwloc_topology_t t = synthetic(cases[i].machine);
        struct qb_topo_options o = on_the_disk();
        struct qb_topo_choice c = choose(t, &o);

        CU_ASSERT_EQUAL(c.window_bytes, cases[i].bytes);
        qb_topo_choice_free(&c);
        hwloc_topology_destroy(t);
    }
}

static void the_print_is_aligned_and_stable(void)
{
    static const char expected[] = "Found\n"
                                   "  packages       2\n"
                                   "  NUMA nodes     2\n"
                                   "  cores          4\n"
                                   "  CPUs           8, of which 7 allowed\n"
                                   "  CPUs allowed   0-6\n"
                                   "  caches         L3 32 MiB x 2\n"
                                   "  CPU quota      2.500 CPUs\n"
                                   "  disks          nvme0n1\n"
                                   "  disks on node  1\n"
                                   "\n"
                                   "Chosen\n"
                                   "  workers        3 for 10000 images\n"
                                   "  window         4 MiB each\n"
                                   "  bound          no, the kernel places them\n"
                                   "\n"
                                   "  worker     core  package     node  near disk  CPUs\n"
                                   "       0        2        1        1  yes        any allowed\n"
                                   "       1        3        1        1  yes        any allowed\n"
                                   "       2        0        0        0  no         any allowed\n";
    hwloc_topology_t t = with_disk("pack:2 [numa] l3:1(size=33554432) core:2 pu:2", "Package", 1);
    struct qb_topo_options o = on_the_disk();
    struct qb_topo_choice c;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    o.quota_milli = 2500;
    o.allowed = "0-6";
    c = choose(t, &o);
    qb_topo_print(f, &o, &c);
    fclose(f);
    CU_ASSERT_STRING_EQUAL(text, expected);
    free(text);
    qb_topo_choice_free(&c);
    hwloc_topology_destroy(t);
}

/* ---- trees of files -------------------------------------------------------------------------- */

static char root[] = "/tmp/qb-topo-XXXXXX";

static const char *below(const char *path)
{
    static char full[2 * PATH_MAX];

    snprintf(full, sizeof(full), "%s/%s", root, path);
    return full;
}

static void make_folders(const char *path)
{
    char part[PATH_MAX];

    for (const char *s = path; (s = strchr(s, '/')) != NULL; s++) {
        snprintf(part, sizeof(part), "%.*s", (int)(s - path), path);
        mkdir(below(part), 0700);
    }
}

static void put(const char *path, const char *text)
{
    FILE *f;

    make_folders(path);
    f = fopen(below(path), "w");
    CU_ASSERT_FATAL(f != NULL);
    fputs(text, f);
    fclose(f);
}

static void put_link(const char *path, const char *to)
{
    make_folders(path);
    CU_ASSERT_EQUAL(symlink(to, below(path)), 0);
}

static void clear(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s/sys %s/proc", root, root);
    if (system(command) != 0)
        perror(command);
}

/* A device of the tree: "devices/pci/sda", 8, 0. */
static void put_device(const char *folder, const char *number)
{
    char path[PATH_MAX], to[PATH_MAX];

    snprintf(path, sizeof(path), "sys/%s/dev", folder);
    put(path, number);
    snprintf(path, sizeof(path), "sys/dev/block/%s", number);
    snprintf(to, sizeof(to), "../../%s", folder);
    put_link(path, to);
}

static struct qb_disks disks_of(unsigned major_no, unsigned minor_no)
{
    struct qb_disks disks = {.n = 0};

    qb_disks_add_device(&disks, root, makedev(major_no, minor_no));
    return disks;
}

static void a_partition_leads_to_its_disk_and_a_volume_to_all_its_disks(void)
{
    struct qb_disks disks;

    put_device("devices/pci/sda", "8:0");
    put_device("devices/pci/sda/sda2", "8:2");
    put("sys/devices/pci/sda/sda2/partition", "2\n");
    put_device("devices/pci/sdb", "8:16");
    put_device("devices/virtual/dm-0", "254:0"); /* a volume on a partition and a disk */
    put_link("sys/devices/virtual/dm-0/slaves/sda2", "../../../pci/sda/sda2");
    put_link("sys/devices/virtual/dm-0/slaves/sdb", "../../../pci/sdb");
    put_device("devices/virtual/dm-1", "254:1"); /* encrypted, on it */
    put_link("sys/devices/virtual/dm-1/slaves/dm-0", "../../dm-0");
    disks = disks_of(8, 0);
    CU_ASSERT_EQUAL(disks.n, 1);
    CU_ASSERT_STRING_EQUAL(disks.names[0], "sda");
    disks = disks_of(8, 2);
    CU_ASSERT_EQUAL(disks.n, 1);
    CU_ASSERT_STRING_EQUAL(disks.names[0], "sda");
    disks = disks_of(254, 1);
    CU_ASSERT_EQUAL_FATAL(disks.n, 2);
    CU_ASSERT(strcmp(disks.names[0], "sdb") == 0 || strcmp(disks.names[1], "sdb") == 0);
    qb_disks_add_device(&disks, root, makedev(8, 0)); /* known already */
    CU_ASSERT_EQUAL(disks.n, 2);
    CU_ASSERT_EQUAL(disks_of(99, 9).n, 0);
    clear();
}

static void a_loop_device_leads_to_the_disk_of_its_file_and_a_circle_to_none(void)
{
    char number[32], file[PATH_MAX];
    struct stat st;
    struct qb_disks disks = {.n = 0};

    put_device("devices/virtual/dm-7", "254:7");
    put_link("sys/devices/virtual/dm-7/slaves/dm-7", "../../dm-7");
    CU_ASSERT_EQUAL(disks_of(254, 7).n, 0);
    snprintf(file, sizeof(file), "%s/file", root);
    put("file", "");
    CU_ASSERT_EQUAL_FATAL(stat(file, &st), 0);
    if (major(st.st_dev) != 0) { /* not where /tmp is a tmpfs */
        snprintf(number, sizeof(number), "%u:%u", major(st.st_dev), minor(st.st_dev));
        put_device("devices/pci/nvme3n1", number);
        qb_disks_add_path(&disks, root, file);
        CU_ASSERT_EQUAL_FATAL(disks.n, 1);
        CU_ASSERT_STRING_EQUAL(disks.names[0], "nvme3n1");
        put_device("devices/virtual/loop0", "7:999");
        put("sys/devices/virtual/loop0/loop/backing_file", file);
        disks = disks_of(7, 999);
        CU_ASSERT_EQUAL_FATAL(disks.n, 1);
        CU_ASSERT_STRING_EQUAL(disks.names[0], "nvme3n1");
    }
    unlink(file);
    disks.n = 0;
    qb_disks_add_path(&disks, root, file);
    CU_ASSERT_EQUAL(disks.n, 0);
    clear();
}

static void the_least_quota_above_counts_in_version_2(void)
{
    CU_ASSERT_EQUAL(qb_topo_quota(root), QB_TOPO_NO_QUOTA);
    put("proc/self/cgroup", "0::/a/b\n");
    CU_ASSERT_EQUAL(qb_topo_quota(root), QB_TOPO_NO_QUOTA);
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    CU_ASSERT_EQUAL(qb_topo_quota(root), QB_TOPO_NO_QUOTA);
    put("sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    CU_ASSERT_EQUAL(qb_topo_quota(root), 2500);
    put("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
    CU_ASSERT_EQUAL(qb_topo_quota(root), 2500);
    put("sys/fs/cgroup/cpu.max", "50000 100000\n"); /* a container's own root */
    CU_ASSERT_EQUAL(qb_topo_quota(root), 500);
    put("proc/self/cgroup", "0::/../elsewhere\n");
    CU_ASSERT_EQUAL(qb_topo_quota(root), 500);
    put("sys/fs/cgroup/cpu.max", "0 0\n");
    CU_ASSERT_EQUAL(qb_topo_quota(root), QB_TOPO_NO_QUOTA);
    put("sys/fs/cgroup/cpu.max", "rubbish");
    CU_ASSERT_EQUAL(qb_topo_quota(root), QB_TOPO_NO_QUOTA);
    clear();
}

static void version_1_is_read_beside_version_2(void)
{
    put("proc/self/cgroup", "7:cpuset:/x\n4:cpuacct,cpu:/docker/77\n0::/\n");
    put("sys/fs/cgroup/cpuset/x/cpu.cfs_quota_us", "1000\n"); /* not the controller's */
    put("sys/fs/cgroup/cpuset/x/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpuacct,cpu/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpuacct,cpu/cpu.cfs_period_us", "100000\n");
    CU_ASSERT_EQUAL(qb_topo_quota(root), QB_TOPO_NO_QUOTA);
    put("sys/fs/cgroup/cpuacct,cpu/docker/77/cpu.cfs_quota_us", "150000\n");
    CU_ASSERT_EQUAL(qb_topo_quota(root), QB_TOPO_NO_QUOTA); /* of what period? */
    put("sys/fs/cgroup/cpuacct,cpu/docker/77/cpu.cfs_period_us", "50000\n");
    CU_ASSERT_EQUAL(qb_topo_quota(root), 3000);
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "20000\n"); /* as a container sees its own */
    put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "10000\n");
    CU_ASSERT_EQUAL(qb_topo_quota(root), 2000);
    clear();
}

/* ---- this machine ---------------------------------------------------------------------------- */

static void one_image_asks_nothing_and_a_fleet_gets_workers(void)
{
    struct qb_request rq;
    struct qb_batch batch;
    struct qb_topo *topo;

    qb_batch_init(&batch);
    qb_request_init(&rq);
    CU_ASSERT_FATAL(qb_batch_add(&batch, "/tmp", 0, &rq));
    topo = qb_topo_open(3, &batch);
    CU_ASSERT_EQUAL(qb_topo_workers(topo), 1);
    CU_ASSERT_EQUAL(qb_topo_threads(topo), 3);
    CU_ASSERT_EQUAL(qb_topo_window(topo), QB_WINDOW_BYTES);
    qb_topo_bind(topo, 0);
    qb_topo_close(topo);
    CU_ASSERT_EQUAL(qb_topo_workers(NULL), 1);
    CU_ASSERT_EQUAL(qb_topo_threads(NULL), 1);
    for (int i = 0; i < 99; i++)
        CU_ASSERT_FATAL(qb_batch_add(&batch, "/tmp", 0, &rq));
    topo = qb_topo_open(64, &batch); /* enough of them that hwloc is asked */
    CU_ASSERT_EQUAL(qb_topo_workers(topo), 64);
    qb_topo_bind(topo, 63);
    qb_topo_close(topo);
    topo = qb_topo_open(0, &batch);
    CU_ASSERT(qb_topo_workers(topo) >= 1);
    qb_topo_close(topo);
    qb_batch_free(&batch);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(workers_that_wait_are_more_than_the_cores_where_these_are_few),
        UNIT(a_worker_is_for_a_core_and_not_for_a_hyperthread),
        UNIT(only_cores_with_an_allowed_cpu_count_and_a_worker_keeps_to_the_allowed),
        UNIT(a_cpuset_counts_like_an_affinity),
        UNIT(quota_images_and_the_users_number_bound_the_workers),
        UNIT(workers_begin_on_the_package_of_the_disk),
        UNIT(of_many_nodes_the_disks_comes_first_then_those_of_its_package),
        UNIT(a_disk_that_is_elsewhere_or_nowhere_changes_nothing),
        UNIT(the_only_node_is_near_to_every_disk),
        UNIT(without_cores_or_a_topology_a_cpu_is_a_core),
        UNIT(windows_stay_in_the_cache),
        UNIT(the_print_is_aligned_and_stable),
        UNIT(a_partition_leads_to_its_disk_and_a_volume_to_all_its_disks),
        UNIT(a_loop_device_leads_to_the_disk_of_its_file_and_a_circle_to_none),
        UNIT(the_least_quota_above_counts_in_version_2),
        UNIT(version_1_is_read_beside_version_2),
        UNIT(one_image_asks_nothing_and_a_fleet_gets_workers),
    };
    int failed;

    if (!mkdtemp(root))
        return 2;
    failed = unit_main("topo", tests, UNIT_COUNT(tests));
    clear();
    rmdir(root);
    return failed;
}
