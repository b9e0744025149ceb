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
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "io/confine.h"

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define MACHINE AUDIT_ARCH_AARCH64
#else
#define MACHINE 0 /* the list was not tried there */
#endif

#define X32 0x40000000u /* other numbers of calls, on x86_64 */

enum { VALUES_MAX = 8, STEPS_MAX = 1024 };

enum test { ALWAYS, IS_ONE_OF, HAS_NONE, HAS_ALL, IS_NULL, IS_OWN, NEVER };

struct call {
    unsigned number;
    enum test test;
    unsigned argument;
    unsigned n;
    unsigned long values[VALUES_MAX];
};

#define COUNT(...) (sizeof((unsigned long[]){__VA_ARGS__}) / sizeof(unsigned long))

static const struct call calls[] = {
#define CALL(name)               {.number = SYS_##name},
#define ONLY(name, arg, ...)     {SYS_##name, IS_ONE_OF, arg, COUNT(__VA_ARGS__), {__VA_ARGS__}},
#define NONE(name, arg)          {SYS_##name, IS_NULL, arg, 0, {0}},
#define OWN(name, arg)           {SYS_##name, IS_OWN, arg, 0, {0}},
#define LACKING(name)            {.number = SYS_##name, .test = NEVER},
#define WITHOUT(name, arg, bits) {SYS_##name, HAS_NONE, arg, 1, {bits}},
#define WITH(name, arg, bits)    {SYS_##name, HAS_ALL, arg, 1, {bits}},
#include "io/confine_calls.def"
#undef CALL
#undef ONLY
#undef NONE
#undef LACKING
#undef OWN
#undef WITHOUT
#undef WITH
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* A program is written from its end to its beginning, for its jumps lead forwards: what is jumped
 * to is there already, and the answers are there once. */
struct program {
    struct sock_filter steps[STEPS_MAX]; /* the last `n` are written */
    unsigned n;                          /* a step is named by the number of those from it on */
    unsigned allow, refuse, lacking;     /* the answers */
    bool too_long;                       /* a jump is longer than the language has */
};

/* Puts a step in front of the others; returns it. */
static unsigned put(struct program *p, unsigned code, unsigned k)
{
    p->n++;
    p->steps[STEPS_MAX - p->n] = (struct sock_filter){.code = (unsigned short)code, .k = k};
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
    step = &p->steps[STEPS_MAX - p->n];
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

/* Calls from this number up to the next range's. */
struct range {
    unsigned first;
    const struct call *call; /* NULL: denied; of several that are always allowed the first */
};

/* Halves the list, for when a filter is set the kernel goes through it for each call that it has.
 * Returns where it begins. */
static unsigned put_ranges(struct program *p, const struct range *list, size_t n)
{
    size_t half = n / 2;
    unsigned upper, lower;

    if (n == 1)
        return list[0].call ? put_test(p, list[0].call) : p->refuse;
    upper = put_ranges(p, list + half, n - half);
    lower = put_ranges(p, list, half);
    return put_jump(p, BPF_JGE, list[half].first, upper, lower);
}

/* By inserting: in so short a list that is done before qsort has found out how much memory it may
 * use. */
static void sort(const struct call *sorted[CALLS])
{
    for (size_t i = 0; i < CALLS; i++) {
        size_t at = i;

        for (; at > 0 && sorted[at - 1]->number > calls[i].number; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = &calls[i];
    }
}

/* Covers all numbers; returns how many ranges. */
static size_t find_ranges(struct range list[2 * CALLS + 1])
{
    const struct call *sorted[CALLS];
    unsigned next = 0;
    size_t n = 0;

    sort(sorted);
    for (size_t i = 0; i < CALLS; i++) {
        const struct call *c = sorted[i], *before = n ? list[n - 1].call : NULL;

        if (c->number > next)
            list[n++] = (struct range){next, NULL};
        if (c->number > next || !before || before->test != ALWAYS || c->test != ALWAYS)
            list[n++] = (struct range){c->number, c};
        next = c->number + 1;
    }
    list[n++] = (struct range){next, NULL};
    return n;
}

static void compose(struct program *p)
{
    struct range list[2 * CALLS + 1];
    size_t n = find_ranges(list);

    p->lacking = put(p, BPF_RET | BPF_K, REFUSE(ENOSYS));
    p->refuse = put(p, BPF_RET | BPF_K, REFUSE(EPERM));
    p->allow = put(p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    put_ranges(p, list, n);
    put_jump(p, BPF_JGE, X32, p->refuse, p->n);
    put_load(p, offsetof(struct seccomp_data, nr));
    put_jump(p, BPF_JEQ, MACHINE, p->n, p->refuse);
    put_load(p, offsetof(struct seccomp_data, arch));
}

bool qb_confine_filter_is_known(void)
{
    return MACHINE != 0;
}

int qb_confine_filter(void)
{
    struct program program;
    struct sock_fprog prog;

    if (!qb_confine_filter_is_known())
        return ENOSYS;
    program.n = 0;
    program.too_long = false;
    compose(&program);
    if (program.too_long)
        return E2BIG;
    prog = (struct sock_fprog){.len = (unsigned short)program.n,
                               .filter = program.steps + STEPS_MAX - program.n};
    switch (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog)) {
    case 0:
        return 0;
    case -1:
        return errno;
    default: /* a thread that has another filter */
        return EBUSY;
    }
}
