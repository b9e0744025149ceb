/* `qbatch --version`; with -v also the libraries, the compiler, and what the kernel offers. */
#include <gnu/libc-version.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/digest.h"
#include "common/commands.h"
#include "common/output.h"
#include "host/sched.h"
#include "host/topo.h"
#include "io/probe.h"
#include "manifest/yaml.h"
#include "qcow2/deflate.h"
#include "qcow2/zstd.h"
#include "util/json.h"
#include "util/json_read.h"

enum { LIBRARIES_MAX = 9, VERSION_BYTES = 40 };

struct library {
    const char *name;
    char version[VERSION_BYTES];
};

static size_t libraries(struct library out[LIBRARIES_MAX])
{
    unsigned hwloc = qb_topo_version(), xxhash = qb_digest_version(), omp = qb_sched_openmp();
    size_t n = 0;

    out[n].name = "glibc";
    snprintf(out[n++].version, VERSION_BYTES, "%s", gnu_get_libc_version());
    out[n].name = "liburing";
    snprintf(out[n++].version, VERSION_BYTES, "%s", qb_ring_version());
    out[n].name = "zlib";
    snprintf(out[n++].version, VERSION_BYTES, "%s", qb_deflate_version());
    out[n].name = "zstd";
    snprintf(out[n++].version, VERSION_BYTES, "%s", qb_zstd_version());
    out[n].name = "xxHash";
    snprintf(out[n++].version, VERSION_BYTES, "%u.%u.%u", xxhash / 10000, xxhash / 100 % 100,
             xxhash % 100);
    out[n].name = "hwloc";
    snprintf(out[n++].version, VERSION_BYTES, "%u.%u.%u", hwloc >> 16, hwloc >> 8 & 255,
             hwloc & 255);
    out[n].name = "libyaml";
    snprintf(out[n++].version, VERSION_BYTES, "%s", qb_yaml_version());
    out[n].name = "jansson";
    snprintf(out[n++].version, VERSION_BYTES, "%s", qb_json_version());
    out[n].name = "OpenMP";
    snprintf(out[n++].version, VERSION_BYTES, "%u", omp);
    return n;
}

static const char *compiler(void)
{
#ifdef __clang__
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

/* What a file system offers, by the words of the report. */
struct feature {
    const char *name, *text;
    bool there;
};

enum { FEATURES = 6 };

static void features_of(const struct qb_features *f, struct feature out[FEATURES])
{
    const struct feature all[FEATURES] = {
        {"locks", "open file description locks", f->locks},
        {"leases", "read leases", f->leases},
        {"holes", "holes (SEEK_DATA, PUNCH_HOLE)", f->holes},
        {"zero_range", "ZERO_RANGE", f->zero_range},
        {"o_direct", "O_DIRECT", f->direct},
        {"reflink", "reflink (FICLONE)", f->reflink},
    };

    memcpy(out, all, sizeof(all));
}

/* What a sandbox would have here. */
static void print_sandbox(void)
{
    struct qb_sandboxed s = {.applies = true};
    char text[QB_SANDBOX_TEXT], lacking[QB_SANDBOX_TEXT];
    const char *lack;

    qb_confine_find(&s.got);
    qb_confine_try(&s.got);
    lack = qb_sandbox_lack(&s.got, QB_SANDBOX_STRICT, lacking);
    printf("sandbox    %s%s%s\n", qb_sandbox_text(&s, text), lack ? "; " : "", lack ? lack : "");
}

static struct qb_json sandbox_json(void)
{
    struct qb_json o = qb_json_object();
    struct qb_confinement got;

    qb_confine_find(&got);
    qb_confine_try(&got);
    for (unsigned i = 0; i < QB_CONFINE_PARTS; i++)
        qb_json_bool(&o, qb_confine_names[i], got.in_force >> i & 1);
    qb_json_number(&o, "landlock_version", got.landlock_version);
    return o;
}

static void print_words(const struct library *libs, size_t n, const struct utsname *host,
                        const struct qb_features *f)
{
    struct feature list[FEATURES];

    printf("compiler   %s\nlibraries  ", compiler());
    for (size_t i = 0; i < n; i++)
        printf("%s%s %s", i ? ", " : "", libs[i].name,
               libs[i].version[0] ? libs[i].version : "(not told)");
    printf("\nkernel     %s %s (%s)\n", host->sysname, host->release, host->machine);
    if (f->ring_errno)
        printf("io_uring   no: %s\n", strerror(f->ring_errno));
    else
        printf("io_uring   yes, features 0x%x\n", f->ring_features);
    print_sandbox();
    if (f->file_errno) {
        printf("here       not known: no file could be made in this directory: %s\n",
               strerror(f->file_errno));
        return;
    }
    features_of(f, list);
    for (size_t i = 0; i < FEATURES; i++)
        printf("%s%s %s", i ? ", " : "here       ", list[i].there ? "with" : "without",
               list[i].text);
    putchar('\n');
}

static int print_json(const struct library *libs, size_t n, const struct utsname *host,
                      const struct qb_features *f)
{
    struct qb_json o = qb_json_object(), libraries = qb_json_object(), kernel = qb_json_object(),
                   ring = qb_json_object(), here = qb_json_object();
    struct feature list[FEATURES];

    qb_json_text(&o, "qbatch", QB_VERSION);
    qb_json_text(&o, "compiler", compiler());
    for (size_t i = 0; i < n; i++)
        qb_json_text(&libraries, libs[i].name, libs[i].version);
    qb_json_child(&o, "libraries", libraries);
    qb_json_text(&kernel, "name", host->sysname);
    qb_json_text(&kernel, "release", host->release);
    qb_json_text(&kernel, "machine", host->machine);
    qb_json_bool(&ring, "usable", !f->ring_errno);
    qb_json_text(&ring, "error", f->ring_errno ? strerror(f->ring_errno) : NULL);
    qb_json_number(&ring, "features", f->ring_features);
    qb_json_child(&kernel, "io_uring", ring);
    qb_json_child(&kernel, "sandbox", sandbox_json());
    qb_json_child(&o, "kernel", kernel);
    features_of(f, list);
    qb_json_text(&here, "error", f->file_errno ? strerror(f->file_errno) : NULL);
    for (size_t i = 0; i < FEATURES; i++)
        if (f->file_errno)
            qb_json_null(&here, list[i].name);
        else
            qb_json_bool(&here, list[i].name, list[i].there);
    qb_json_child(&o, "folder", here);
    return qb_json_line(stdout, o);
}

int qb_command_version(const struct qb_cli *cli)
{
    bool json = qb_cli_has(cli, QB_OPTION_JSON);
    struct library libs[LIBRARIES_MAX];
    struct qb_features features;
    struct utsname host;
    size_t n = libraries(libs);

    if (!json)
        printf("qbatch %s\n", QB_VERSION);
    if (!json && !qb_cli_has(cli, QB_OPTION_VERBOSE))
        return qb_stdout_end(0);
    if (uname(&host) < 0)
        host = (struct utsname){0};
    qb_features_find(".", &features);
    if (json)
        print_json(libs, n, &host, &features);
    else
        print_words(libs, n, &host, &features);
    return qb_stdout_end(0);
}
