/* Composes the command lines: the same amend for each contender. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "scene/scene.h"

static void say(struct bench_command *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* An argument that memory was too short for shows as a gap; bench_command_make looks for it. */
static void say(struct bench_command *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&c->argv[c->n], fmt, ap) < 0)
        c->argv[c->n] = NULL;
    va_end(ap);
    c->n++;
}

static void say_keys(const struct bench_scene *s, struct bench_command *c, bool ours_too)
{
    char text[256];
    size_t n = 0;

    for (size_t i = 0; i < s->n_keys; i++) {
        if (!ours_too && !strncmp(s->keys[i].name, "zero_", 5))
            continue; /* qemu-img knows no choice there */
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s=%s", n ? "," : "", s->keys[i].name,
                              s->keys[i].text);
    }
    say(c, "-o");
    say(c, "%s", text);
}

static void say_image(const struct bench_workdir *dir, struct bench_command *c)
{
    say(c, "%s/images/000000.qcow2", dir->path);
}

/* ---- qbatch ---------------------------------------------------------------------------------- */

static void say_options(const struct bench_scene *s, struct bench_command *c)
{
    char io[32]; /* or another value */

    say(c, "-q");
    if (s->values.v[BENCH_IO]) {
        say(c, "--io");
        say(c, "%s", bench_value_text(BENCH_IO, s->values.v[BENCH_IO], io, sizeof(io)));
    }
    if (s->values.v[BENCH_JOBS])
        say(c, "-j%lu", (unsigned long)s->values.v[BENCH_JOBS]);
    if (s->values.v[BENCH_SANDBOX]) {
        say(c, "--sandbox");
        say(c, "%s", bench_value_text(BENCH_SANDBOX, s->values.v[BENCH_SANDBOX], io, sizeof(io)));
    }
    if (s->verb == BENCH_DRY_RUN)
        say(c, "--dry-run");
}

/* Runs of a manifest are recorded unless that is declined. */
static void say_records(const struct bench_scene *s, const struct bench_workdir *dir,
                        struct bench_command *c)
{
    if (s->values.v[BENCH_RECORD] == BENCH_RECORD_NONE)
        say(c, "--no-state");
    if (s->values.v[BENCH_RECORD] == BENCH_RECORD_REPORT) {
        say(c, "--report");
        say(c, "%s/" BENCH_REPORT, dir->path);
    }
}

static void say_qbatch(const struct bench_scene *s, const struct bench_workdir *dir,
                       const char *tool, struct bench_command *c)
{
    say(c, "%s", tool);
    if ((s->fleet && s->verb == BENCH_AMEND) ||
        s->values.v[BENCH_VERIFY] != BENCH_VERIFY_METADATA) {
        say_options(s, c);
        say_records(s, dir, c);
        say(c, "%s/manifest.yaml", dir->path);
        return;
    }
    say(c, s->verb == BENCH_CHECK ? "check" : "amend");
    say_options(s, c);
    if (s->verb != BENCH_CHECK)
        say_keys(s, c, true);
    if (s->shrink)
        say(c, "--shrink");
    if (s->fleet) {
        say(c, "--from-file0");
        say(c, "%s/" BENCH_LIST, dir->path);
    } else {
        say_image(dir, c);
    }
}

/* ---- qemu-img -------------------------------------------------------------------------------- */

/* One process for each: it deletes one at a time. */
static void say_deletions(const struct bench_scene *s, const struct bench_workdir *dir,
                          const char *tool, struct bench_command *c)
{
    const struct bench_shape *shape = &s->image.shape;

    say(c, "sh");
    say(c, "-c");
    if (s->which == BENCH_CASE_SNAPSHOTS)
        say(c, "seq -f s%%g 1 %lu | xargs -n1 -I{} \"$0\" snapshot -d {} \"$1\"",
            (unsigned long)shape->snapshots);
    else
        say(c, "seq -f b%%g 1 %lu | xargs -n1 -I{} \"$0\" bitmap --remove \"$1\" {}",
            (unsigned long)shape->bitmaps);
    say(c, "%s", tool);
    say_image(dir, c);
}

/* It cannot do that in place.  Holes and zero clusters are not copied as data. */
static void say_conversion(const struct bench_scene *s, const struct bench_workdir *dir,
                           const char *tool, struct bench_command *c)
{
    say(c, "%s", tool);
    say(c, "convert");
    say(c, s->image.shape.raw_step ? "-fraw" : "-fqcow2");
    say(c, "-Oqcow2");
    if (s->has_base) {
        say(c, "-Bbase.qcow2");
        say(c, "-Fqcow2");
    }
    say(c, "-o%scluster_size=%lu", s->image.shape.raw_step ? "" : "extended_l2=on,",
        (unsigned long)s->image.shape.cluster_size);
    say_image(dir, c);
    say(c, "%s/" BENCH_CONVERTED, dir->path);
}

/* It takes the data file's name in the header from the directory where it is started. */
static void say_resize(const struct bench_scene *s, const struct bench_workdir *dir,
                       const char *tool, struct bench_command *c)
{
    say(c, "%s", tool);
    say(c, "resize");
    say(c, "-q");
    say(c, "--image-opts");
    say(c,
        "driver=qcow2,file.filename=%s/images/000000.qcow2,"
        "data-file.filename=%s/images/000000.qcow2" BENCH_DATA_SUFFIX,
        dir->path, dir->path);
    say(c, "%lu", (unsigned long)s->values.v[BENCH_TO]);
}

/* A process for each image, as many at a time as there are processors. */
static void say_for_each(const struct bench_scene *s, const struct bench_workdir *dir,
                         struct bench_command *c)
{
    say(c, "xargs");
    say(c, "-0");
    say(c, "-a");
    say(c, "%s/" BENCH_LIST, dir->path);
    say(c, "-P%lu", (unsigned long)s->limit.threads);
    say(c, "-n1");
}

/* It gives no space back in place: each image is copied, and the copy gets its name. */
static void say_copies(const struct bench_scene *s, const struct bench_workdir *dir,
                       const char *tool, struct bench_command *c)
{
    say_for_each(s, dir, c);
    say(c, "sh");
    say(c, "-c");
    say(c,
        "\"$0\" convert -fqcow2 -Oqcow2 %s-ocluster_size=%lu \"$1\" \"$1.new\" && mv \"$1.new\" "
        "\"$1\"",
        s->has_base ? "-B../base.qcow2 -Fqcow2 " : "", (unsigned long)s->image.shape.cluster_size);
    say(c, "%s", tool);
}

static void say_qemu_img(const struct bench_scene *s, const struct bench_workdir *dir,
                         const char *tool, struct bench_command *c)
{
    if (s->fleet)
        say_for_each(s, dir, c);
    say(c, "%s", tool);
    say(c, s->verb == BENCH_AMEND ? "amend" : "check"); /* it has no dry run; this reads as much */
    say(c, "-q");
    if (s->verb == BENCH_AMEND)
        say_keys(s, c, false);
    if (!s->fleet)
        say_image(dir, c);
}

/* ---- the limit ------------------------------------------------------------------------------- */

static void say_limit(const struct bench_scene *s, const struct bench_workdir *dir,
                      const char *tool, struct bench_command *c)
{
    char words[BENCH_LIMIT_WORDS][40];
    size_t n = bench_limit_words(&s->limit, words);

    say(c, "%s", tool);
    say(c, BENCH_LIMIT_COMMAND);
    for (size_t i = 0; i < n; i++)
        say(c, "%s", words[i]);
    if (s->fleet)
        say(c, "%s/images", dir->path);
    else
        say_image(dir, c);
}

/* ---------------------------------------------------------------------------------------------- */

int bench_command_make(const struct bench_scene *s, const struct bench_workdir *dir,
                       const struct bench_tools *tools, enum bench_who who, struct bench_command *c,
                       struct qb_err *err)
{
    memset(c, 0, sizeof(*c));
    if (who == BENCH_QEMU_IMG &&
        (s->which == BENCH_CASE_SNAPSHOTS || s->which == BENCH_CASE_BITMAPS))
        say_deletions(s, dir, tools->path[who], c);
    else if (who == BENCH_QEMU_IMG &&
             (s->which == BENCH_CASE_EXTENDED_L2 || s->which == BENCH_CASE_RAW))
        say_conversion(s, dir, tools->path[who], c);
    else if (who == BENCH_QEMU_IMG && s->which == BENCH_CASE_DATA_FILE)
        say_resize(s, dir, tools->path[who], c);
    else if (who == BENCH_QEMU_IMG &&
             (s->which == BENCH_CASE_RECLAIM || s->which == BENCH_CASE_COMPACT))
        say_copies(s, dir, tools->path[who], c);
    else if (who == BENCH_QEMU_IMG)
        say_qemu_img(s, dir, tools->path[who], c);
    else if (who == BENCH_LIMIT_IO)
        say_limit(s, dir, tools->path[who], c);
    else
        say_qbatch(s, dir, tools->path[who], c);
    for (size_t i = 0; i < c->n; i++) {
        if (!c->argv[i])
            return qb_fail_memory(err);
    }
    return 0;
}

void bench_command_free(struct bench_command *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->argv[i]);
    memset(c, 0, sizeof(*c));
}

char *bench_command_line(const struct bench_command *c, const struct bench_workdir *dir)
{
    size_t off = strlen(dir->path), n;
    char *line = NULL;
    FILE *f = open_memstream(&line, &n);

    if (!f)
        return NULL;
    for (size_t i = 0; i < c->n; i++) {
        bool inside = !strncmp(c->argv[i], dir->path, off) && c->argv[i][off] == '/';

        fprintf(f, "%s%s", i ? " " : "", c->argv[i] + (inside ? off + 1 : 0));
    }
    return fclose(f) ? free(line), NULL : line;
}
