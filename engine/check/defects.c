#include "check/defects.h"

#include <strings.h>

const struct qb_defect_row qb_defects[QB_DEFECT_COUNT] = {
#define DEFECT(CASE, name, COUNTER, what, means, todo)                                             \
    [QB_DEFECT_##CASE] = {#name, QB_COUNT_##COUNTER, what, means, todo},
#include "check/defects.def"
#undef DEFECT
};

enum qb_found_kind qb_defect_kind(enum qb_defect defect)
{
    switch (qb_defects[defect].counter) {
    case QB_COUNT_LEAKS:
        return QB_FOUND_LEAK;
    case QB_COUNT_SIGNS:
        return QB_FOUND_SIGN;
    default:
        return QB_FOUND_CORRUPTION;
    }
}

void qb_defect_tell(qb_finding_fn *found, void *arg, enum qb_defect defect, uint64_t offset,
                    const char *text)
{
    const struct qb_found one = {.kind = qb_defect_kind(defect),
                                 .code = qb_defects[defect].name,
                                 .offset = offset,
                                 .text = text};

    if (found)
        found(arg, &one);
}

enum qb_defect qb_defect_named(const char *name)
{
    enum qb_defect defect = 0;

    while (defect < QB_DEFECT_COUNT && strcasecmp(qb_defects[defect].name, name) != 0)
        defect++;
    return defect;
}
