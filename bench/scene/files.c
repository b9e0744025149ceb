/* The files of a scene: images/NNNNNN.qcow2, base.qcow2 and the manifest. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scene/device.h"
#include "scene/scene.h"
#include "clock/stop.h"
#include "clock/timefn.h"

static const char *image_path(const struct bench_workdir *dir, uint64_t i, char path[4096])
{
    snprintf(path, 4096, "%s/images/%06" PRIu64 ".qcow2", dir->path, i);
    return path;
}

static const char *path_of(const struct bench_workdir *dir, const char *name, char path[4096])
{
    snprintf(path, 4096, "%s/%s", dir->path, name);
    return path;
}

/* The part of a dotted name up to its dot: of -o, it is a mapping in a manifest. */
static size_t group_of(const char *name)
{
    const char *dot = strchr(name, '.');

    return dot ? (size_t)(dot - name) : 0;
}

/* Keys of one mapping follow each other. */
static void write_keys(const struct bench_scene *s, FILE *f)
{
    size_t last = 0;

    for (size_t i = 0; i < s->n_keys; i++) {
        const char *name = s->keys[i].name, *text = s->keys[i].text;
        size_t n = group_of(name);
        bool goes_on = n && i && n == last && strncmp(name, s->keys[i - 1].name, n) == 0;

        if (last && !goes_on)
            fprintf(f, "}\n");
        if (n == 0)
            fprintf(f, "  %s: \"%s\"\n", name, text);
        else if (goes_on)
            fprintf(f, ", %s: \"%s\"", name + n + 1, text);
        else
            fprintf(f, "  %.*s: {%s: \"%s\"", (int)n, name, name + n + 1, text);
        last = n;
    }
    if (last)
        fprintf(f, "}\n");
}

static int write_manifest(const struct bench_scene *s, const char *path, struct qb_err *err)
{
    bool none = s->values.v[BENCH_VERIFY] == BENCH_VERIFY_NONE;
    FILE *f = fopen(path, "we");

    if (!f)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot create", path);
    fprintf(f, "version: 1\npolicy: {allow_shrink: %s, verify: %s}\ndefaults:\n",
            s->shrink ? "on" : "off", none ? "none" : "metadata");
    write_keys(s, f);
    fprintf(f, "images:\n  - path: images/*.qcow2\n");
    return fclose(f) ? qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot write", path) : 0;
}

/* What xargs gives out, and qbatch reads: one path after the other. */
static int write_list(const struct bench_scene *s, const struct bench_workdir *dir,
                      const char *path, struct qb_err *err)
{
    FILE *f = fopen(path, "we");
    char image[4096];

    if (!f)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot create", path);
    for (uint64_t i = 0; i < s->n_images; i++)
        fprintf(f, "%s%c", image_path(dir, i, image), '\0');
    return fclose(f) ? qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot write", path) : 0;
}

static int for_each_image(const struct bench_scene *s, const struct bench_workdir *dir,
                          int (*fn)(const struct bench_layout *, const char *, struct qb_err *),
                          struct qb_err *err)
{
    char path[4096];

    for (uint64_t i = 0; i < s->n_images; i++) {
        if (bench_stop_asked())
            return bench_stop_fail(err);
        if (fn(&s->image, image_path(dir, i, path), err) < 0)
            return -1;
    }
    return 0;
}

int bench_scene_make(const struct bench_scene *s, struct bench_workdir *dir, struct qb_err *err)
{
    char path[4096];

    if (bench_workdir_empty(dir, err) < 0)
        return -1;
    if (mkdir(path_of(dir, "images", path), 0700) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot make", path);
    if (s->has_base && bench_image_write(&s->base, path_of(dir, "base.qcow2", path), err) < 0)
        return -1;
    if (write_manifest(s, path_of(dir, "manifest.yaml", path), err) < 0 ||
        write_list(s, dir, path_of(dir, BENCH_LIST, path), err) < 0)
        return -1;
    if (s->device)
        return bench_device_write(&s->image, image_path(dir, 0, path), &dir->device, err);
    return for_each_image(s, dir, bench_image_write, err);
}

/* ---- between the runs ------------------------------------------------------------------------ */

static int make_again(const struct bench_layout *l, const char *path, struct qb_err *err)
{
    if (unlink(path) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot remove", path);
    return bench_image_write(l, path, err);
}

static int drop_image(const struct bench_layout *l, const char *path, struct qb_err *err)
{
    char data[4096 + sizeof(BENCH_DATA_SUFFIX)];

    (void)err;
    bench_cache_drop_file(path);
    snprintf(data, sizeof(data), "%s" BENCH_DATA_SUFFIX, path);
    if (l->shape.data_file)
        bench_cache_drop_file(data);
    return 0;
}

/* Dropping everything takes the programs along; their start is not what is measured. */
static int warm_tools(const struct bench_workdir *dir, const struct bench_tools *tools,
                      struct qb_err *err)
{
    char errors[4096];
    struct bench_how how = {.errors = path_of(dir, "errors", errors)};

    for (enum bench_who who = 0; who < BENCH_WHO_COUNT; who++) {
        char *argv[] = {(char *)tools->path[who], "--version", NULL};
        struct bench_timed timed;

        if (argv[0] && bench_time(argv, &how, &timed, err) < 0)
            return -1;
    }
    return 0;
}

static int cool(const struct bench_scene *s, const struct bench_workdir *dir,
                const struct bench_tools *tools, const char **cooled, struct qb_err *err)
{
    char path[4096];

    *cooled = "pages";
    if (for_each_image(s, dir, drop_image, err) < 0)
        return -1;
    bench_cache_drop_file(path_of(dir, "base.qcow2", path));
    if (!bench_cache_drop_all())
        return 0;
    *cooled = "all";
    return warm_tools(dir, tools, err);
}

int bench_scene_restore(const struct bench_scene *s, struct bench_workdir *dir,
                        const struct bench_tools *tools, const char **cooled, struct qb_err *err)
{
    char path[4096];
    int r = 0;

    bench_workdir_remove(dir, "state"); /* each run would look through those before it */
    if (unlink(path_of(dir, BENCH_CONVERTED, path)) < 0 && errno != ENOENT)
        r = qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot remove", path);
    if (r == 0 && s->device)
        r = bench_device_write(&s->image, image_path(dir, 0, path), &dir->device, err);
    else if (r == 0 && s->verb == BENCH_AMEND)
        r = for_each_image(s, dir, s->header_only ? bench_image_reset_header : make_again, err);
    if (r < 0 || bench_workdir_settle(dir, err) < 0)
        return -1;
    *cooled = "no";
    return s->values.v[BENCH_CACHE] == BENCH_COLD ? cool(s, dir, tools, cooled, err) : 0;
}

void bench_scene_end(const struct bench_scene *s, struct bench_workdir *dir)
{
    char path[4096];

    if (s->device)
        bench_device_remove(image_path(dir, 0, path), &dir->device);
}
