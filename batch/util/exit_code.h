#ifndef QB_UTIL_EXIT_CODE_H
#define QB_UTIL_EXIT_CODE_H

/* The exit codes of the program; the manual page says the same. */
enum qb_exit {
    QB_EXIT_OK = 0,           /* every image has the requested properties */
    QB_EXIT_FAILED = 1,       /* some failed; also: findings */
    QB_EXIT_USAGE = 2,        /* the command line or the manifest is wrong: nothing was touched */
    QB_EXIT_SKIPPED = 3,      /* none failed, some are in use */
    QB_EXIT_PENDING = 4,      /* --detailed-exitcode: a dry run found changes to make */
    QB_EXIT_MISTRUSTED = 5,   /* an amended image is not what it should be; over all others */
    QB_EXIT_INTERRUPTED = 75, /* run it again */
};

#endif
