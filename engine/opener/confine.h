/* Takes away what a process that reads strangers' images does not need.
 *
 * Once its files are open, it reads, writes and syncs them, and nothing else: no path can be opened
 * any more (Landlock without any), no program run, no socket made, no process looked into (a filter
 * of system calls, confine_calls.def), and nothing gained by a program's set-user-ID bits.  A call
 * that the filter refuses fails with EPERM, which is the failure of one request of one image as any
 * other is.  What is taken away does not come back.
 *
 * Landlock and capabilities are each thread's own, and later threads of it inherit them; the rest
 * is of the whole process. */
#ifndef QB_OPENER_CONFINE_H
#define QB_OPENER_CONFINE_H

#include <stdbool.h>

enum qb_confine_part {
    QB_CONFINE_PRIVILEGES,   /* no new ones: no_new_privs */
    QB_CONFINE_CAPABILITIES, /* none */
    QB_CONFINE_LANDLOCK,     /* no path, no TCP; as much as this kernel's version has */
    QB_CONFINE_SECCOMP,      /* the filter */
    QB_CONFINE_CORE,         /* no core file */
    QB_CONFINE_DUMPABLE,     /* no other process of the user may look into it */
    QB_CONFINE_PARTS
};

struct qb_confinement {
    unsigned in_force;            /* bits, 1 << part */
    unsigned landlock_version;    /* 0: the kernel has none */
    int errnum[QB_CONFINE_PARTS]; /* of those that the kernel refused */
};

/* A name of one word for each part, and what it does, for people. */
extern const char *const qb_confine_names[QB_CONFINE_PARTS];
extern const char *const qb_confine_words[QB_CONFINE_PARTS];

/* The parts that this build takes: a build with sanitizers, which look into the process themselves,
 * takes none, and one for debugging leaves the core file and the debugger. */
unsigned qb_confine_built(void);

/* What the kernel offers of these, without a change of the process. */
void qb_confine_find(struct qb_confinement *out);

/* The calling thread: privileges, capabilities, Landlock.  To be called by each thread, the last
 * one of which then calls qb_confine_process.  What the kernel refuses is in *out. */
void qb_confine_thread(struct qb_confinement *out);

/* The process, all of its threads: the rest. */
void qb_confine_process(struct qb_confinement *out);

/* ---- confine_filter.c ------------------------------------------------------------------------ */

enum { QB_FILTER_STEPS = 256 };

struct sock_filter;

/* The filter as a program for this process, in room for QB_FILTER_STEPS; how many there are, 0
 * where there would be too many. */
unsigned qb_confine_filter_make(struct sock_filter *steps);

/* 0 or an errno. */
int qb_confine_filter(void);
bool qb_confine_filter_is_known(void); /* whether there is a list for this machine */

#endif
