#include "host/confining.h"

#include <string.h>

struct told {
    uint32_t applies, in_force, landlock_version;
    int32_t errnum[QB_CONFINE_PARTS];
};

void qb_confining_put(const struct qb_confining *c, struct qb_wire *wire)
{
    struct told t = {.applies = c->sandboxed.applies,
                     .in_force = c->sandboxed.got.in_force,
                     .landlock_version = c->sandboxed.got.landlock_version};

    for (size_t i = 0; i < QB_CONFINE_PARTS; i++)
        t.errnum[i] = c->sandboxed.got.errnum[i];
    qb_wire_put(wire, &t, sizeof(t));
    qb_wire_text(wire, c->refused);
}

bool qb_confining_take(struct qb_confining *c, struct qb_wired *wired)
{
    const char *refused;
    struct told t;

    qb_wired_take(wired, &t, sizeof(t));
    refused = qb_wired_text(wired, NULL);
    if (wired->bad || !refused || strlen(refused) >= sizeof(c->refused))
        return false;
    memcpy(c->refused, refused, strlen(refused) + 1);
    if (c->refused[0])
        c->sandboxed.why_not = c->refused;
    c->sandboxed.applies = t.applies != 0;
    c->sandboxed.got.in_force = t.in_force;
    c->sandboxed.got.landlock_version = t.landlock_version;
    for (size_t i = 0; i < QB_CONFINE_PARTS; i++)
        c->sandboxed.got.errnum[i] = t.errnum[i];
    return true;
}
