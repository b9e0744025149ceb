/* The filter of system calls, in the kernel's language of packet filters.
 *
 * A list as short as this one needs no library: one of general rules takes 0.3 ms to make a program
 * of it, three times what the whole sandbox may cost a small image. */
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/btrfs.h>
#include <linux/fiemap.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "opener/confine.h"

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define MACHINE AUDIT_ARCH_AARCH64
#else
#define MACHINE 0 /* the list was not tried there */
#endif

enum {
    VALUES_MAX = 8,
    NUMBERS = 512 /* above the numbers of all calls; those of x32, on x86_64, are above 2^30 */
};

enum test { ALWAYS, IS_ONE_OF, HAS_NONE, HAS_ALL, IS_NULL, IS_OWN, NEVER };

struct call {
    unsigned number;
    enum test test;
    unsigned argument;
    unsigned n;
    unsigned long values[VALUES_MAX];
    bool for_sighted, for_blind; /* of which processes it is */
};

#define COUNT(...) (sizeof((unsigned long[]){__VA_ARGS__}) / sizeof(unsigned long))

static const struct call calls[] = {
#define CALL(name) {SYS_##name, ALWAYS, 0, 0, {0}, true, true},
#define ONLY(name, arg, ...)                                                                       \
    {SYS_##name, IS_ONE_OF, arg, COUNT(__VA_ARGS__), {__VA_ARGS__}, true, true},
#define NONE(name, arg)          {SYS_##name, IS_NULL, arg, 0, {0}, true, true},
#define OWN(name, arg)           {SYS_##name, IS_OWN, arg, 0, {0}, true, true},
#define LACKING(name)            {SYS_##name, NEVER, 0, 0, {0}, true, true},
#define WITHOUT(name, arg, bits) {SYS_##name, HAS_NONE, arg, 1, {bits}, true, true},
#define WITH(name, arg, bits)    {SYS_##name, HAS_ALL, arg, 1, {bits}, true, true},
#define PATH(name)               {SYS_##name, ALWAYS, 0, 0, {0}, true, false},
#define OPEN(name, arg, bits)    PATH(name){SYS_##name, HAS_ALL, arg, 1, {bits}, false, true},
#include "opener/confine_calls.def"
#undef CALL
#undef ONLY
#undef NONE
#undef LACKING
#undef OWN
#undef WITHOUT
#undef WITH
#undef PATH
#undef OPEN
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

_Static_assert(CALLS < UINT8_MAX, "a row has its number in a byte");

/* A program is written from its end to its beginning, for its jumps lead forwards: what is jumped
 * to is there already, and the answers are there once. */
struct program {
    struct sock_filter *steps;       /* QB_FILTER_STEPS; the last `n` are written */
    unsigned n;                      /* a step is named by the number of those from it on */
    unsigned allow, refuse, lacking; /* the answers */
    bool too_long;                   /* more steps, or a longer jump, than there can be */
};

/* Puts a step in front of the others; returns it. */
static unsigned put(struct program *p, unsigned code, unsigned k)
{
    if (p->n == QB_FILTER_STEPS)
        p->too_long = true;
    else
        p->n++;
    p->steps[QB_FILTER_STEPS - p->n] = (struct sock_filter){.code = (unsigned short)code, .k = k};
    return p->n;
}

static unsigned char jump(struct program *p, unsigned to)
{
    unsigned over = p->n - to - 1;

    p->too_long |= over > UINT8_MAX;
    return (unsigned char)over;
}

static unsigned put_jump(struct program *p, unsigned how, unsigned k, unsigned yes, unsigned no)
{
    struct sock_filter *step;

    put(p, BPF_JMP | how | BPF_K, k);
    step = &p->steps[QB_FILTER_STEPS - p->n];
    step->jt = jump(p, yes);
    step->jf = jump(p, no);
    return p->n;
}

static unsigned put_load(struct program *p, size_t offset)
{
    return put(p, BPF_LD | BPF_W | BPF_ABS, (unsigned)offset);
}

#define REFUSE(errnum) (SECCOMP_RET_ERRNO | (errnum))

/* The lower half of an argument; the machines of the list have the lower byte first.  The kernel
 * looks at no more of an int, and the bits that are wanted or not are in it. */
static size_t argument_at(unsigned i)
{
    return offsetof(struct seccomp_data, args) + i * sizeof(uint64_t);
}

static unsigned put_values(struct program *p, const struct call *c)
{
    unsigned next = p->refuse;

    for (unsigned i = c->n; i-- > 0;)
        next = put_jump(p, BPF_JEQ, (unsigned)c->values[i], p->allow, next);
    return next;
}

/* Of an argument: whether it is as the row says; its call ends here either way. */
static unsigned put_test(struct program *p, const struct call *c)
{
    size_t at = argument_at(c->argument);

    switch (c->test) {
    case ALWAYS:
        return p->allow;
    case NEVER:
        return p->lacking;
    case HAS_NONE:
        put_jump(p, BPF_JSET, (unsigned)c->values[0], p->refuse, p->allow);
        break;
    case HAS_ALL:
        put_jump(p, BPF_JEQ, (unsigned)c->values[0], p->allow, p->refuse);
        put(p, BPF_ALU | BPF_AND | BPF_K, (unsigned)c->values[0]);
        break;
    case IS_OWN:
        put_jump(p, BPF_JEQ, (unsigned)getpid(), p->allow, p->refuse);
        break;
    case IS_NULL:
        put_jump(p, BPF_JEQ, 0, p->allow, p->refuse);
        put_load(p, at + sizeof(uint32_t));
        put_jump(p, BPF_JEQ, 0, p->n, p->refuse);
        break;
    case IS_ONE_OF:
        put_values(p, c);
        break;
    }
    return put_load(p, at);
}

/* Calls from this number up to the next range's; of the last one up to any number. */
struct range {
    unsigned first;
    const struct call *call; /* NULL: denied; of several that are always allowed the first */
};

enum { RANGES_MAX = 2 * CALLS + 1 };

/* Where to divide the list, whose ranges end at `end`: as many calls on either side as may be. */
static size_t middle_of(const struct range *list, size_t n, unsigned end)
{
    size_t at = 1;

    while (at + 1 < n && list[at].first + list[at + 1].first <= list[0].first + end)
        at++;
    return at;
}

static bool is_allowed(const struct call *c)
{
    return c && c->test == ALWAYS;
}

static bool are_alike(const struct range *a, const struct range *b)
{
    return a->call == b->call || (is_allowed(a->call) && is_allowed(b->call));
}

enum { DOTS_MAX = 6 };

/* The range that all of the list are like but for up to DOTS_MAX single numbers; NULL: none. */
static const struct range *ground_of(const struct range *list, size_t n, unsigned end)
{
    const struct range *ground = NULL;
    size_t dots = 0;

    if (n > 2 * DOTS_MAX + 1)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        unsigned next = i + 1 < n ? list[i + 1].first : end;

        if (next - list[i].first == 1)
            dots += !ground || !are_alike(&list[i], ground);
        else if (!ground)
            ground = &list[i];
        else if (!are_alike(&list[i], ground))
            return NULL;
    }
    return dots <= DOTS_MAX ? ground : NULL;
}

static unsigned put_answer(struct program *p, const struct range *r)
{
    return r->call ? put_test(p, r->call) : p->refuse;
}

static unsigned put_dots(struct program *p, const struct range *list, size_t n,
                         const struct range *ground)
{
    unsigned answers[2 * DOTS_MAX + 1], next = put_answer(p, ground);

    for (size_t i = 0; i < n; i++)
        answers[i] = are_alike(&list[i], ground) ? next : put_answer(p, &list[i]);
    for (size_t i = n; i-- > 0;)
        if (!are_alike(&list[i], ground))
            next = put_jump(p, BPF_JEQ, list[i].first, answers[i], next);
    return next;
}

/* Halves the list again and again, down to a few numbers that differ from those around them: when a
 * filter is set the kernel goes through it once for each call that there is, to remember those that
 * are always allowed, and each step costs as much again to be translated.  Returns where it begins.
 */
/* NOLINTNEXTLINE(misc-no-recursion): less deep than there are ranges */
static unsigned put_ranges(struct program *p, const struct range *list, size_t n, unsigned end)
{
    const struct range *ground = ground_of(list, n, end);
    unsigned upper, lower;
    size_t at;

    if (n == 1)
        return put_answer(p, &list[0]);
    if (ground)
        return put_dots(p, list, n, ground);
    at = middle_of(list, n, end);
    upper = put_ranges(p, list + at, n - at, end);
    lower = put_ranges(p, list, at, list[at].first);
    return put_jump(p, BPF_JGE, list[at].first, upper, lower);
}

/* Covers all numbers; returns how many ranges.  The last one is denied. */
static size_t find_ranges(struct program *p, bool blind, struct range list[RANGES_MAX])
{
    uint8_t rows[NUMBERS + 1] = {0}; /* of each call, from 1 on; 0: none */
    const struct call *before = NULL;
    size_t n = 0;

    for (size_t i = 0; i < CALLS; i++) {
        if (!(blind ? calls[i].for_blind : calls[i].for_sighted))
            continue;
        if (calls[i].number < NUMBERS)
            rows[calls[i].number] = (uint8_t)(i + 1);
        else
            p->too_long = true;
    }
    for (unsigned number = 0; number <= NUMBERS; number++) {
        const struct call *c = rows[number] ? &calls[rows[number] - 1] : NULL;

        if (n == 0 || (c != before && !(is_allowed(c) && is_allowed(before))))
            list[n++] = (struct range){number, c};
        before = c;
    }
    return n;
}

static void compose(struct program *p, bool blind)
{
    struct range list[RANGES_MAX];
    size_t n = find_ranges(p, blind, list);

    p->lacking = put(p, BPF_RET | BPF_K, REFUSE(ENOSYS));
    p->refuse = put(p, BPF_RET | BPF_K, REFUSE(EPERM));
    p->allow = put(p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    put_ranges(p, list, n, NUMBERS);
    put_load(p, offsetof(struct seccomp_data, nr));
    put_jump(p, BPF_JEQ, MACHINE, p->n, p->refuse);
    put_load(p, offsetof(struct seccomp_data, arch));
}

bool qb_confine_filter_is_known(void)
{
    return MACHINE != 0;
}

unsigned qb_confine_filter_make(struct sock_filter *steps, bool blind)
{
    struct program p = {.steps = steps};

    compose(&p, blind);
    memmove(steps, steps + QB_FILTER_STEPS - p.n, p.n * sizeof(steps[0]));
    return p.too_long ? 0 : p.n;
}

int qb_confine_filter(bool blind)
{
    struct sock_filter steps[QB_FILTER_STEPS];
    struct sock_fprog prog = {.filter = steps};

    if (!qb_confine_filter_is_known())
        return ENOSYS;
    prog.len = (unsigned short)qb_confine_filter_make(steps, blind);
    if (!prog.len)
        return E2BIG;
    switch (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog)) {
    case 0:
        return 0;
    case -1:
        return errno;
    default: /* a thread that has another filter */
        return EBUSY;
    }
}
