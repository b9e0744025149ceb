#include "outcome/meter.h"

#include <string.h>

#include "base/clock.h"
#include "base/num.h"

enum { FIXED_BYTES = 256 << 10, FIXED_SHARE = 32 /* of its bytes: flip, barriers, verification */ };

const char *qb_doing_name(unsigned doing)
{
    static const char *const names[] = {
        [QB_DOING_PLANNING] = "planning",   [QB_DOING_WRITING] = "writing",
        [QB_DOING_VERIFYING] = "verifying", [QB_DOING_READING] = "reading",
        [QB_DOING_CHECKING] = "checking",   [QB_DOING_EXTENDING] = "extending"};

    return doing < sizeof(names) / sizeof(names[0]) ? names[doing] : NULL;
}

static const char *const waitings[] = {
    [QB_WAITS_WINDOW] = "limits.window", [QB_WAITS_LOAD] = "limits.load",
    [QB_WAITS_SOAK] = "rollout.soak",    [QB_WAITS_GATE] = "rollout.gate",
    [QB_WAITS_ASK] = "rollout.ask",      [QB_WAITS_PAUSED] = "paused"};

const char *qb_waiting_name(unsigned waits)
{
    return waits < sizeof(waitings) / sizeof(waitings[0]) ? waitings[waits] : NULL;
}

enum qb_waiting qb_waiting_of(const char *name)
{
    for (unsigned i = QB_WAITS_PAUSED; name && i > QB_WAITS_NOT; i--)
        if (strcmp(name, waitings[i]) == 0)
            return (enum qb_waiting)i;
    return QB_WAITS_NOT;
}

static void note_first(struct qb_meter *m)
{
    uint_fast64_t never = 0;

    if (atomic_load_explicit(&m->worked_from, memory_order_relaxed))
        return;
    atomic_compare_exchange_strong(&m->worked_from, &never, (uint64_t)(qb_now() * 1e3));
}

static void set_worked(struct qb_meter *m, struct qb_metered *i, uint64_t worked)
{
    if (worked == i->worked)
        return;
    note_first(m);
    atomic_fetch_add(&m->worked, worked - i->worked); /* unsigned: less is added as a wrap */
    i->worked = worked;
}

void qb_meter_plan(struct qb_meter *m, struct qb_metered *i, uint64_t write_bytes,
                   uint64_t read_bytes)
{
    if (!m || i->known)
        return;
    i->known = true;
    i->planned = write_bytes;
    i->bytes = write_bytes + read_bytes;
    i->work = i->bytes + FIXED_BYTES + i->bytes / FIXED_SHARE;
    note_first(m);
    atomic_fetch_add(&m->known, 1);
    atomic_fetch_add(&m->work, i->work);
    atomic_fetch_add(&m->planned, write_bytes);
}

void qb_meter_bytes(struct qb_meter *m, struct qb_metered *i, uint64_t bytes,
                    uint64_t written_bytes)
{
    if (!m)
        return;
    atomic_fetch_add(&m->written, written_bytes - i->written);
    i->written = written_bytes;
    if (i->known && QB_MIN(bytes, i->bytes) > i->worked)
        set_worked(m, i, QB_MIN(bytes, i->bytes));
}

void qb_meter_step(struct qb_meter *m, struct qb_metered *i, unsigned step)
{
    if (!m || step == 0)
        return;
    qb_meter_plan(m, i, 0, 0);
    if (step == QB_METER_STEPS)
        set_worked(m, i, i->work);
    else if (i->worked >= i->bytes)
        set_worked(m, i, i->bytes + (i->work - i->bytes) / QB_METER_STEPS * step);
}

void qb_meter_again(struct qb_meter *m, struct qb_metered *i)
{
    if (!m || !i->known)
        return;
    set_worked(m, i, 0);
    atomic_fetch_sub(&m->known, 1);
    atomic_fetch_sub(&m->work, i->work);
    atomic_fetch_sub(&m->planned, i->planned);
    *i = (struct qb_metered){0};
}

void qb_meter_pass(struct qb_meter *m)
{
    if (m)
        atomic_fetch_add(&m->passed, 1);
}

/* What was waited for before the first work does not count as time of work anyway. */
static uint64_t waited_until(const struct qb_meter *m, uint64_t now_ms)
{
    uint64_t from = atomic_load(&m->worked_from), since = atomic_load(&m->waits_from);

    return from ? now_ms - QB_MIN(now_ms, QB_MAX(from, since)) : 0;
}

void qb_meter_waits(struct qb_meter *m, enum qb_waiting waits)
{
    unsigned was = m ? atomic_load(&m->waits) : QB_WAITS_NOT;
    uint64_t now_ms = (uint64_t)(qb_now() * 1e3);

    if (!m)
        return;
    if (was && !waits)
        atomic_fetch_add(&m->waited, waited_until(m, now_ms));
    else if (!was && waits)
        atomic_store(&m->waits_from, now_ms);
    atomic_store(&m->waits, waits);
}

double qb_meter_working(const struct qb_meter *m)
{
    uint64_t from = atomic_load(&m->worked_from), now_ms = (uint64_t)(qb_now() * 1e3), waited;

    if (!from)
        return 0;
    waited = atomic_load(&m->waited) + (atomic_load(&m->waits) ? waited_until(m, now_ms) : 0);
    return (double)(now_ms - QB_MIN(now_ms, from + waited)) / 1e3;
}

double qb_meter_share(const struct qb_meter *m, size_t total)
{
    size_t known = atomic_load(&m->known), passed = atomic_load(&m->passed);
    double work = (double)atomic_load(&m->work), worked = (double)atomic_load(&m->worked);
    double mean = known ? work / (double)known : FIXED_BYTES;
    size_t unknown = total - QB_MIN(total, known + passed);

    if (total == 0 || passed >= total)
        return total ? 1 : 0;
    work += mean * (double)unknown;
    return work > 0 ? QB_MIN(worked / work, 1.0) : 0;
}
