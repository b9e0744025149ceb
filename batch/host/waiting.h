/* Measures whether the calls that a thread makes in a loop mostly wait for reads: then more of them
 * can be in progress than there are cores. */
#ifndef QB_HOST_WAITING_H
#define QB_HOST_WAITING_H

struct qb_waiting {
    double from, used;       /* when the measurement began, and the thread's processor time then */
    long read;               /* blocks that it had the kernel read from disks */
    long blocked, preempted; /* how often it left its core, and was made to */
    unsigned calls;          /* since then */
};

enum { QB_WAITING_MOST = 64 };

/* By the thread, at its first call. */
void qb_waiting_begin(struct qb_waiting *waiting);

/* By the thread, after each call: how many threads would keep a core busy with such calls, at most
 * QB_WAITING_MOST; 0: it has mostly computed, or found what it read in memory, or waited for a
 * core, or it is too early to say.  A system call a millisecond. */
unsigned qb_waiting_threads(struct qb_waiting *waiting);

#endif
