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
    QB_CONFINE_USER,         /* a user of its own: another number, or a namespace of users */
    QB_CONFINE_MOUNTS,       /* a mount namespace with an empty root */
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

/* Those of them that a process takes; the user and the mounts of its own only if it is to see no
 * path any more (`blind`). */
unsigned qb_confine_wanted(bool blind);

/* What the kernel offers of these, without a change of the process. */
void qb_confine_find(struct qb_confinement *out);

/* Of a process with one thread: a user of its own, and an empty mount namespace, so that no path
 * leads anywhere; files that are open stay so, and folders become empty files.  What the kernel
 * refuses is in *out.  It is to end at once then, or to be changed no further, for it may have
 * become another user already. */
void qb_confine_enter(struct qb_confinement *out);

/* Whether that can be: finds it out in a child, and puts both parts into *out; they are there, too,
 * where no child can be made, which is to be said by who needs one. */
void qb_confine_try(struct qb_confinement *out);

/* The calling thread: privileges, capabilities, Landlock.  To be called by each thread, the last
 * one of which then calls qb_confine_process.  What the kernel refuses is in *out. */
void qb_confine_thread(struct qb_confinement *out);

/* Of a process from which nobody reads but by a socket: standard input, output and error lead
 * nowhere, for what they have may be a terminal, which could be read as well.  A build for
 * debugging keeps them. */
void qb_confine_output(void);

/* The process, all of its threads: the rest.  `blind`: calls that take a path are denied, too. */
void qb_confine_process(struct qb_confinement *out, bool blind);

/* ---- confine_filter.c ------------------------------------------------------------------------ */

enum { QB_FILTER_STEPS = 256 };

struct sock_filter;

/* The filter as a program for this process, in room for QB_FILTER_STEPS; how many there are, 0
 * where there would be too many. */
unsigned qb_confine_filter_make(struct sock_filter *steps, bool blind);

/* 0 or an errno. */
int qb_confine_filter(bool blind);
bool qb_confine_filter_is_known(void); /* whether there is a list for this machine */

#endif
