/* Handles ^C and SIGTERM: the first requests the end of the run, the second ends the process.  This
 * is the only file with process-wide state, which signals need. */
#ifndef QB_UTIL_SIGNAL_H
#define QB_UTIL_SIGNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* SIGINT, SIGTERM and SIGHUP set the flag; a second one exits with QB_EXIT_INTERRUPTED at once,
 * which is safe for the images at any moment.  SIGPIPE and SIGXFSZ are ignored: a reader that
 * closes a pipe, or a file that reaches RLIMIT_FSIZE, is an error of that file (EPIPE, EFBIG) and
 * must not stop the run.  SIGCHLD is not ignored, whatever the parent does: else nobody could ask
 * how a command ended.  SIGXCPU, which is sent every second past the soft RLIMIT_CPU, requests the
 * end of the run.  A SIGHUP or SIGINT that the parent ignores (nohup) stays ignored.  Child
 * processes inherit ignored signals: host/child.c resets them. */
void qb_signal_install(void);

bool qb_signal_seen(void);

/* Requests the end of the run like the first signal. */
void qb_signal_end(void);

/* Requests the end of the run after this time, like the first signal; 0: never, whatever was asked
 * before. */
void qb_signal_deadline(double seconds);

/* From now on a process that is forked sees what this one was sent, and the other way round: before
 * there is another thread.  false: the kernel has no memory for it. */
bool qb_signal_share(void);

/* In such a process: signals that end a run are its parent's, which has the terminal.  What the
 * kernel sends to each process (SIGXCPU) stays. */
void qb_signal_leave(void);

/* The text to write to stderr before exiting at once, to restore the terminal's cursor and line;
 * NULL for none.  The string must be static. */
void qb_signal_on_exit(const char *restore);

/* The text that the first signal writes to standard error, as a confirmation of ^C; NULL for none.
 * The string must be static. */
void qb_signal_first_words(const char *text);

/* SIGUSR1 prints a line on standard error: how many of `total` images are done, and how many have
 * failed; before this is called, or after a call with NULL, that none is in work.  The counters
 * must be valid until the process ends or such a call. */
void qb_signal_tell(const atomic_size_t *done, const atomic_size_t *failed, size_t total);

#endif
