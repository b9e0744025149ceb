/* One image by several threads: images of many tables, a crew that is pretended, and what came of
 * it as text. */
#ifndef QB_TESTS_MANY_TABLES_H
#define QB_TESTS_MANY_TABLES_H

#include "amends.h"
#include "io/crew.h"

enum { MANY_TABLES_TEXT = 1 << 16 };

/* The numbers of threads that are compared. */
#define MANY_THREADS                                                                               \
    {                                                                                              \
        1, 2, 3, 7                                                                                 \
    }

/* An image of many tables, of whatever kinds of clusters, and something that is asked of it. */
struct subject many_tables(uint64_t seed);

/* A crew that there is not: all parts are computed by the caller, backwards, each as if by another
 * thread. */
struct pretended_crew {
    struct qb_crew crew; /* for qb_io_set_crew */
    unsigned hands;
};

void pretend_crew(struct pretended_crew *p, unsigned hands);

/* Loops of such crews so far. */
size_t pretended_loops(void);

struct outcome {
    char *text; /* owned */
    size_t len;
};

struct outcome outcome_new(void);
void outcome_add(struct outcome *o, const char *text);

#endif
