/* The filter of system calls, interpreted as the kernel does it: each number is answered as the
 * list says, whatever shape the program has. */
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
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "opener/confine.h"
#include "unit.h"

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#else
#define MACHINE AUDIT_ARCH_AARCH64
#endif

enum { NUMBERS = 1024, REFUSED = SECCOMP_RET_ERRNO | EPERM, LACKS = SECCOMP_RET_ERRNO | ENOSYS };

static struct sock_filter steps[QB_FILTER_STEPS];
static unsigned n_steps, most; /* steps that a number took at most */

static unsigned answer(const struct seccomp_data *d)
{
    unsigned a = 0, taken = 0;

    for (unsigned at = 0; at < n_steps; at++) {
        const struct sock_filter *s = &steps[at];
        bool yes = false;

        taken++;
        switch (s->code) {
        case BPF_RET | BPF_K:
            most = taken > most ? taken : most;
            return s->k;
        case BPF_LD | BPF_W | BPF_ABS:
            memcpy(&a, (const char *)d + s->k, sizeof(a));
            continue;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= s->k;
            continue;
        case BPF_JMP | BPF_JEQ | BPF_K:
            yes = a == s->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            yes = a >= s->k;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            yes = (a & s->k) != 0;
            break;
        default:
            return 1;
        }
        at += yes ? s->jt : s->jf;
    }
    return 2;
}

static unsigned ask(unsigned number, unsigned argument, unsigned long value)
{
    struct seccomp_data d = {.nr = (int)number, .arch = MACHINE};

    d.args[argument] = value;
    return answer(&d);
}

/* Of an argument with a test: whether the value passes. */
static bool is_one_of(unsigned long value, const unsigned long *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (values[i] == value)
            return true;
    return false;
}

static bool listed[NUMBERS], blind;

static void expect(unsigned number, unsigned argument, unsigned long value, unsigned wanted)
{
    unsigned was = ask(number, argument, value);

    listed[number] = true;
    CU_ASSERT_EQUAL(was, wanted);
    if (was != wanted)
        fprintf(stderr, "call %u with %#lx: %#x instead of %#x\n", number, value, was, wanted);
}

static unsigned allowed_if(bool is)
{
    return is ? SECCOMP_RET_ALLOW : REFUSED;
}

static void expect_only(unsigned number, unsigned argument, const unsigned long *values, size_t n)
{
    for (unsigned long v = 0; v < 2048; v++)
        expect(number, argument, v, allowed_if(is_one_of(v, values, n)));
    for (size_t i = 0; i < n; i++)
        expect(number, argument, values[i], SECCOMP_RET_ALLOW);
}

static void expect_bits(unsigned number, unsigned argument, unsigned long bits, bool all)
{
    for (unsigned bit = 0; bit < 32; bit++) {
        unsigned long one = 1ul << bit;

        expect(number, argument, one, allowed_if(all ? (one & bits) == bits : !(one & bits)));
        expect(number, argument, bits | one, allowed_if(all));
        expect(number, argument, bits & ~one, allowed_if(all ? !(bits & one) : bits == one));
    }
}

#define SOME(...)                                                                                  \
    (const unsigned long[]){__VA_ARGS__}, sizeof((unsigned long[]){__VA_ARGS__}) / sizeof(long)

static void each_listed_call_is_answered_as_the_list_says(void)
{
#define CALL(name)               expect(SYS_##name, 0, 77, SECCOMP_RET_ALLOW);
#define ONLY(name, arg, ...)     expect_only(SYS_##name, arg, SOME(__VA_ARGS__));
#define LACKING(name)            expect(SYS_##name, 0, 77, LACKS);
#define WITHOUT(name, arg, bits) expect_bits(SYS_##name, arg, bits, false);
#define WITH(name, arg, bits)    expect_bits(SYS_##name, arg, bits, true);
#define PATH(name)               expect(SYS_##name, 0, 77, allowed_if(!blind));
#define OPEN(name, arg, bits)                                                                      \
    if (blind)                                                                                     \
        expect_bits(SYS_##name, arg, bits, true);                                                  \
    else                                                                                           \
        expect(SYS_##name, arg, 0, SECCOMP_RET_ALLOW);
#define NONE(name, arg)                                                                            \
    expect(SYS_##name, arg, 0, SECCOMP_RET_ALLOW);                                                 \
    expect(SYS_##name, arg, 1, REFUSED);                                                           \
    expect(SYS_##name, arg, 1ul << 32, REFUSED);
#define OWN(name, arg)                                                                             \
    expect(SYS_##name, arg, (unsigned long)getpid(), SECCOMP_RET_ALLOW);                           \
    expect(SYS_##name, arg, (unsigned long)getppid(), REFUSED);
#include "opener/confine_calls.def"
}

static void every_other_one_is_refused(void)
{
    for (unsigned number = 0; number < NUMBERS; number++) {
        if (!listed[number])
            CU_ASSERT_EQUAL(ask(number, 0, 0), REFUSED);
        CU_ASSERT_EQUAL(ask(number | 0x40000000, 0, 0), REFUSED); /* of x32 */
    }
    CU_ASSERT_EQUAL(ask(~0u, 0, 0), REFUSED);
    CU_ASSERT_EQUAL(ask(1u << 31, 0, 0), REFUSED);
}

static void so_is_every_one_of_another_machine(void)
{
    struct seccomp_data d = {.arch = AUDIT_ARCH_I386};

    for (d.nr = 0; d.nr < NUMBERS; d.nr++)
        CU_ASSERT_EQUAL(answer(&d), REFUSED);
}

/* Setting the filter is what the sandbox costs a small image most: the kernel translates each step,
 * and takes those of each number once. */
static void the_program_is_short(void)
{
    CU_ASSERT_TRUE(n_steps > 0 && n_steps <= 145);
    CU_ASSERT_TRUE(most <= 25);
}

static void make(bool for_blind)
{
    blind = for_blind;
    n_steps = qb_confine_filter_make(steps, blind);
}

/* It may look at what it has open, and at no path. */
static void so_it_is_of_a_process_that_sees_no_path(void)
{
    make(true);
    memset(listed, 0, sizeof(listed));
    each_listed_call_is_answered_as_the_list_says();
    every_other_one_is_refused();
    so_is_every_one_of_another_machine();
    CU_ASSERT_TRUE(n_steps > 0);
    CU_ASSERT_EQUAL(ask(SYS_newfstatat, 3, 0), REFUSED);
    CU_ASSERT_EQUAL(ask(SYS_readlinkat, 0, 0), REFUSED);
    make(false);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_listed_call_is_answered_as_the_list_says),
        UNIT(every_other_one_is_refused),
        UNIT(so_is_every_one_of_another_machine),
        UNIT(so_it_is_of_a_process_that_sees_no_path),
        UNIT(the_program_is_short),
    };

    if (!qb_confine_filter_is_known())
        return 0;
    make(false);
    return unit_main("confine_filter", tests, UNIT_COUNT(tests));
}
