/* ^C and SIGTERM: the first asks the run to end, the second ends the process.  This is the one
 * place with process-wide state, because signals have nothing else. */
#ifndef QB_UTIL_SIGNAL_H
#define QB_UTIL_SIGNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* SIGINT, SIGTERM and SIGHUP set the flag; the second of them leaves with QB_EXIT_INTERRUPTED at
 * once, which is safe for the images at any moment.  SIGPIPE and SIGXFSZ are ignored: a reader that
 * goes away, or a file that reaches RLIMIT_FSIZE, is an error of that file (EPIPE, EFBIG) and must
 * not stop the run.  SIGXCPU, which comes every second past the soft RLIMIT_CPU, asks the run to
 * end.  A SIGHUP or SIGINT that the parent ignores (nohup) stays ignored.  A child that the process
 * executes inherits what is ignored: there is none today. */
void qb_signal_install(void);

bool qb_signal_seen(void);

/* Asks the run to end after so many seconds, as the first signal does. */
void qb_signal_deadline(double seconds);

/* What to write to stderr before leaving at once, to give the terminal its cursor and line back;
 * NULL for nothing.  The string must be static. */
void qb_signal_on_exit(const char *restore);

/* What the first signal writes to standard error, so that whoever pressed ^C sees that it was
 * noticed; NULL for nothing.  The string must be static. */
void qb_signal_first_words(const char *text);

/* SIGUSR1 prints a line on standard error: how many of `total` images are done, and how many have
 * failed.  The counters must live as long as the process, or until this is called with NULL. */
void qb_signal_tell(const atomic_size_t *done, const atomic_size_t *failed, size_t total);

#endif
