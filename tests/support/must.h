/* Memory of a test: there is always enough. */
#ifndef QB_TESTS_MUST_H
#define QB_TESTS_MUST_H

#include <stdlib.h>

static inline void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

#endif
