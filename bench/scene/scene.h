/* Derives from one combination of parameters the images, the commands, and the amount of work.
 * Only bench_scene_make and bench_scene_restore touch a disk. */
#ifndef QB_SCENE_SCENE_H
#define QB_SCENE_SCENE_H

#include "scene/image.h"
#include "scene/limit.h"
#include "scene/params.h"
#include "scene/workdir.h"

/* BESIDE: the same qbatch, with another value of one parameter. */
enum bench_who {
    BENCH_QBATCH,
    BENCH_OTHER,
    BENCH_BESIDE,
    BENCH_QEMU_IMG,
    BENCH_LIMIT_IO,
    BENCH_WHO_COUNT
};

extern const char *const bench_who_names[BENCH_WHO_COUNT]; /* "qbatch", "other", ... */

/* The programs, as paths or as names to be looked for. */
struct bench_tools {
    const char *path[BENCH_WHO_COUNT]; /* NULL: does not take part */
};

enum bench_verb { BENCH_AMEND, BENCH_DRY_RUN, BENCH_CHECK };

struct bench_scene {
    enum bench_case which;
    struct bench_values values;
    struct bench_layout image, base;
    bool has_base;
    bool device; /* the image is on a block device */
    bool fleet;  /* the commands are of all images: of a manifest, a list or a folder */
    uint64_t n_images;

    enum bench_verb verb;
    struct {
        const char *name;
        char text[32];
    } keys[4];
    size_t n_keys;
    bool shrink;
    bool header_only; /* a new sector 0 undoes a run */
    struct bench_limit limit;

    uint64_t clusters, guest_bytes; /* worked on in one run, over all images */
    uint64_t disk_bytes;            /* that one run may occupy */
    uint64_t qemu_bytes;            /* and with qemu-img, which reserves what it expands, as well */
};

/* Refuses meaningless combinations. */
int bench_scene_plan(enum bench_case which, const struct bench_values *values,
                     struct bench_scene *scene, struct qb_err *err);

/* The part of it that differs from case to case, once the images are laid out: verb, keys, bare
 * I/O. */
int bench_scene_work(struct bench_scene *scene, struct qb_err *err);

/* "expand size=8G every=2": the case and what differs from its presets; the same text means the
 * same work. */
const char *bench_scene_title(const struct bench_scene *scene, char *buf, size_t size);

#define BENCH_REPORT    "report.ndjson"   /* of qbatch, with record=report */
#define BENCH_CONVERTED "converted.qcow2" /* what `qemu-img convert` makes of the image */
#define BENCH_LIST      "images.list"     /* all paths, each ended by a NUL */

/* ---- files ----------------------------------------------------------------------------------- */

int bench_scene_make(const struct bench_scene *scene, struct bench_workdir *dir,
                     struct qb_err *err);

/* Undoes a run, waits for the disk, and warms or drops the caches.  *cooled: how. */
int bench_scene_restore(const struct bench_scene *scene, struct bench_workdir *dir,
                        const struct bench_tools *tools, const char **cooled, struct qb_err *err);

/* After the last run: what only the runs need and the folder does not hold. */
void bench_scene_end(const struct bench_scene *scene, struct bench_workdir *dir);

/* ---- commands -------------------------------------------------------------------------------- */

struct bench_command {
    char *argv[BENCH_LIMIT_WORDS + 4]; /* the limit's are the most: 2 before, the path, NULL */
    size_t n;
};

int bench_command_make(const struct bench_scene *scene, const struct bench_workdir *dir,
                       const struct bench_tools *tools, enum bench_who who,
                       struct bench_command *command, struct qb_err *err);
void bench_command_free(struct bench_command *command);

/* As one line, with the folder's path taken off. */
char *bench_command_line(const struct bench_command *command, const struct bench_workdir *dir);

#endif
