#include "io/ring_setup.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/backend.h"

static bool has_operations(struct io_uring *uring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(uring);
    bool all = probe && io_uring_opcode_supported(probe, IORING_OP_READ) &&
               io_uring_opcode_supported(probe, IORING_OP_FSYNC);

    io_uring_free_probe(probe);
    return all;
}

#define OPERATION(op)                                                                              \
    {                                                                                              \
        .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = (op)                                        \
    }
#define REGISTER(op)                                                                               \
    {                                                                                              \
        .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = (op)                              \
    }

/* Not every build of the library exports its functions for these two. */
static int ask(struct io_uring *uring, unsigned what, void *arg, unsigned n)
{
    return syscall(SYS_io_uring_register, uring->ring_fd, what, arg, n) < 0 ? -errno : 0;
}

/* What ring.c queues, and registers later.  In force once the ring is enabled. */
static int restrict_ring(struct io_uring *uring)
{
    struct io_uring_restriction allowed[] = {
        OPERATION(IORING_OP_READ), OPERATION(IORING_OP_WRITE), OPERATION(IORING_OP_WRITE_FIXED),
        OPERATION(IORING_OP_FSYNC), REGISTER(IORING_REGISTER_BUFFERS)};

    return ask(uring, IORING_REGISTER_RESTRICTIONS, allowed, sizeof(allowed) / sizeof(allowed[0]));
}

int qb_ring_setup(unsigned entries, struct io_uring *out)
{
    int rc = io_uring_queue_init(entries, out, IORING_SETUP_R_DISABLED);

    if (rc < 0)
        return rc == -EINVAL ? EOPNOTSUPP : -rc;
    if (!has_operations(out))
        rc = -EOPNOTSUPP;
    if (rc == 0)
        rc = restrict_ring(out);
    if (rc == 0)
        rc = ask(out, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (rc == 0)
        return 0;
    io_uring_queue_exit(out);
    return -rc;
}

int qb_ring_features(unsigned *features)
{
    struct io_uring uring;
    int rc = qb_ring_setup(1, &uring);

    if (rc == 0) {
        *features = uring.features;
        io_uring_queue_exit(&uring);
    }
    return rc;
}
