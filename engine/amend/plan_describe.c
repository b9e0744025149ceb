/* A plan in words. */
#include <inttypes.h>
#include <stdio.h>

#include "amend/plan.h"

void qb_plan_describe(const struct qb_plan *p, void (*line)(void *arg, const char *text), void *arg)
{
    char text[200];

    if (p->sector.name_at) {
        snprintf(text, sizeof(text), "append: backing file name at 0x%" PRIx64, p->sector.name_at);
        line(arg, text);
    }
    if (p->size.appended != p->size.old) {
        snprintf(text, sizeof(text), "append: file length %" PRIu64 " -> %" PRIu64, p->size.old,
                 p->size.appended);
        line(arg, text);
    }
    for (size_t i = 0; i < p->place.steps.n; i++) {
        snprintf(text, sizeof(text), "append: %s %zu at 0x%" PRIx64, p->place.steps.items[i].what,
                 p->place.steps.items[i].index, p->place.steps.items[i].offset);
        line(arg, text);
    }
    if (p->zeros.len) {
        snprintf(text, sizeof(text), "append: %" PRIu64 " bytes of zeros at 0x%" PRIx64,
                 p->zeros.len, p->zeros.base);
        line(arg, text);
    }
    line(arg, "flip: sector 0");
    for (size_t i = 0; i < p->freed.punches.n; i++) {
        snprintf(text, sizeof(text), "settle: punch 0x%" PRIx64 "-0x%" PRIx64,
                 p->freed.punches.items[i].first, p->freed.punches.items[i].end);
        line(arg, text);
    }
}
