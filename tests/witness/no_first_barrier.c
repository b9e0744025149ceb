/* Linked around qb_io_barrier (--wrap) to make a program that must not exist: the first barrier of
 * each file is said to have succeeded and never happens.  With a suffix in WITNESS_FAULT that is so
 * only of files whose names end in it.  The witness has to find it out. */
#include <stdlib.h>
#include <string.h>

#include "io/io.h"

size_t __real_qb_io_barrier(struct qb_io *io, struct qb_file *const *files, size_t n,
                            enum qb_sync how, int *errors);
size_t __wrap_qb_io_barrier(struct qb_io *io, struct qb_file *const *files, size_t n,
                            enum qb_sync how, int *errors);

static bool is_faulty(const struct qb_file *file)
{
    const char *suffix = getenv("WITNESS_FAULT");
    size_t want = suffix ? strlen(suffix) : 0, have = strlen(file->path);

    return want <= have && memcmp(file->path + have - want, suffix ? suffix : "", want) == 0;
}

size_t __wrap_qb_io_barrier(struct qb_io *io, struct qb_file *const *files, size_t n,
                            enum qb_sync how, int *errors)
{
    size_t failed = 0;

    for (size_t i = 0; i < n; i++) {
        errors[i] = 0;
        if (files[i]->stats.barriers++ > 0 || !is_faulty(files[i]))
            failed += __real_qb_io_barrier(io, &files[i], 1, how, &errors[i]);
    }
    return failed;
}
