/* Makes a build of qbatch slower, for the test of the benchmark's regression gate: before main it
 * executes some two million instructions more, and waits for longer than qbatch takes. */
#include <time.h>

enum { ROUNDS = 1000000, WAIT_NS = 150 * 1000 * 1000 };

__attribute__((constructor)) static void waste(void)
{
    const struct timespec wait = {.tv_nsec = WAIT_NS};

    for (volatile unsigned i = 0; i < ROUNDS; i++)
        ;
    nanosleep(&wait, NULL);
}
