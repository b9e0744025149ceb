/* The host that the simulator runs the program's own waves on: files are disks of the memory back
 * end, and everything that a machine decides by itself is drawn from dice.
 *
 * The calls of qb_run into the world are linked to this file instead (--wrap, see CMakeLists.txt):
 * opening a file, the workers, and how many files may be open.  So batch/run/run.c and
 * batch/wave/wave.c, with their waves that overlap, are what is tried here, not a copy of them. */
#ifndef QB_TESTS_HOST_H
#define QB_TESTS_HOST_H

#include "dice.h"
#include "mem/mem.h"

/* What a disk only pretends to do: for showing that the simulator would notice. */
enum host_lie {
    HOST_HONEST,
    HOST_NO_FIRST_BARRIER,  /* a file is not synced before its flip */
    HOST_NO_SECOND_BARRIER, /* nor afterwards */
    HOST_NO_DATA_BARRIER,   /* a data file is not, and its image is */
};

/* A request that fails, counted from 0 over all disks; `onwards`: and all behind it. */
struct host_fault {
    uint64_t nth;
    int errnum; /* 0: none */
    bool onwards;
};

struct host {
    struct qb_mem_log *log; /* its disks; not owned */
    struct dice dice;
    unsigned wave_max; /* images in one wave, as far as open files go */
    enum host_lie lie;
    unsigned long stops; /* the run is told to stop when asked for this time; 0: never */
    struct host_fault fault;
    uint64_t requests; /* so far */
    unsigned
        *failed; /* one an image: bit `op` for a request of that kind that failed; may be NULL */

    /* Called with true where the host itself begins to work, and with false where it ends; may be
     * NULL. */
    void (*at_work)(bool begins);
};

/* From now on qb_run runs on this host, which must outlive that.  One at a time. */
void host_enter(struct host *host);
void host_leave(void);

/* For struct qb_run_options. */
bool host_stopped(void);

/* The path of a disk of the log: NUL-terminated, at most HOST_PATH bytes. */
enum { HOST_PATH = 32 };
void host_path(unsigned disk, char path[HOST_PATH]);

#endif
