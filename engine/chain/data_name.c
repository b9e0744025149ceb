#include "chain/data_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "opener/look.h"

static bool is_same(const struct qb_opener *by, const char *a, const char *b, bool *both)
{
    struct stat s, t;

    *both = qb_look(by, a, &s) == 0 && qb_look(by, b, &t) == 0;
    return *both && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

/* A relative name that leads to one file, whichever directory it is taken from. */
static int locate_relative(const struct qb_opener *by, const char *image_path, const char *slash,
                           const char *name, char **path, struct qb_err *err)
{
    struct stat st;
    bool both;

    if (asprintf(path, "%.*s/%s", (int)(slash - image_path), image_path, name) < 0) {
        *path = NULL;
        return qb_fail_memory(err);
    }
    if (!is_same(by, *path, name, &both) && both) {
        free(qb_take(path));
        return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE,
                       "the external data file %.200s is another one in the image's directory than "
                       "in the current one, from which QEMU takes the name",
                       name);
    }
    if (!both && qb_look(by, *path, &st) < 0 && qb_look(by, name, &st) == 0) {
        free(*path);
        *path = strdup(name);
    }
    return *path ? 0 : qb_fail_memory(err);
}

int qb_data_locate(const struct qb_opener *by, const char *image_path, const char *name,
                   char **path, struct qb_err *err)
{
    const char *slash = strrchr(image_path, '/');

    *path = NULL;
    if (!name[0])
        return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE,
                       "the header does not name the external data file");
    if (name[strcspn(name, ":/")] == ':')
        return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE,
                       "the external data file %.200s is not a plain path", name);
    if (name[0] != '/' && slash)
        return locate_relative(by, image_path, slash, name, path, err);
    *path = strdup(name);
    return *path ? 0 : qb_fail_memory(err);
}

int qb_data_blame(const char *path, const struct qb_err *why, struct qb_err *err)
{
    char text[sizeof(why->text)];
    int sys = why->sys_errno;

    if (why->code == QB_E_MEMORY)
        return qb_fail_memory(err);
    memcpy(text, why->text, sizeof(text));
    qb_fail(err, why->code, QB_NOWHERE, "the external data file %.150s: %.250s", path, text);
    err->sys_errno = sys;
    return -1;
}
