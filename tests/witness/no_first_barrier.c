/* Linked around qb_io_barrier (--wrap) to make a program that must not exist: the first barrier of
 * each file is said to have succeeded and never happens.  The witness has to find it out. */
#include "io/io.h"

size_t __real_qb_io_barrier(struct qb_io *io, struct qb_file *const *files, size_t n,
                            enum qb_sync how, int *errors);
size_t __wrap_qb_io_barrier(struct qb_io *io, struct qb_file *const *files, size_t n,
                            enum qb_sync how, int *errors);

size_t __wrap_qb_io_barrier(struct qb_io *io, struct qb_file *const *files, size_t n,
                            enum qb_sync how, int *errors)
{
    size_t failed = 0;

    for (size_t i = 0; i < n; i++) {
        errors[i] = 0;
        if (files[i]->stats.barriers++ > 0)
            failed += __real_qb_io_barrier(io, &files[i], 1, how, &errors[i]);
    }
    return failed;
}
