#include "opener/parcel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/num.h"

/* Before the bytes of each message. */
struct head {
    unsigned errand; /* of a request; or another word of parcel.h */
    unsigned len;    /* of the bytes that follow */
};

union control {
    char bytes[CMSG_SPACE(sizeof(int) * QB_PARCEL_FILES)];
    struct cmsghdr align;
};

void qb_parcel_drop(struct qb_parcel *p)
{
    for (unsigned i = 0; i < p->n_fds; i++)
        close(p->fds[i]);
    p->n_fds = 0;
}

/* With a call that cannot name another socket than the one that is there. */
int qb_parcel_request(int fd, unsigned errand, const struct qb_parcel *p)
{
    struct head head = {errand, (unsigned)p->len};
    struct iovec parts[] = {{&head, sizeof(head)}, {(void *)(uintptr_t)p->bytes, p->len}};
    ssize_t sent;

    do
        sent = writev(fd, parts, 2);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)(sizeof(head) + p->len) ? 0 : -1;
}

int qb_parcel_answer(int fd, const struct qb_parcel *p)
{
    struct head head = {QB_PARCEL_ANSWER, (unsigned)p->len};
    struct iovec parts[] = {{&head, sizeof(head)}, {(void *)(uintptr_t)p->bytes, p->len}};
    union control control = {{0}};
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent;

    if (p->n_fds) {
        struct cmsghdr *c;

        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * p->n_fds);
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * p->n_fds);
        memcpy(CMSG_DATA(c), p->fds, sizeof(int) * p->n_fds);
    }
    do
        sent = p->n_fds ? sendmsg(fd, &m, MSG_NOSIGNAL) : writev(fd, parts, 2);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)(sizeof(head) + p->len) ? 0 : -1;
}

static void take_files(struct msghdr *m, struct qb_parcel *p)
{
    p->n_fds = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        unsigned n;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        n = QB_MIN(n, QB_PARCEL_FILES - p->n_fds); /* there was no room for more */
        memcpy(p->fds + p->n_fds, CMSG_DATA(c), n * sizeof(int));
        p->n_fds += n;
    }
}

int qb_parcel_receive(int fd, unsigned *errand, struct qb_parcel *p)
{
    struct head head;
    struct iovec parts[] = {{&head, sizeof(head)}, {p->bytes, sizeof(p->bytes)}};
    union control control;
    struct msghdr m = {.msg_iov = parts,
                       .msg_iovlen = 2,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    ssize_t got;

    do
        got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return 0;
    take_files(&m, p);
    if (!(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && (size_t)got >= sizeof(head) &&
        head.len == (size_t)got - sizeof(head)) {
        *errand = head.errand;
        p->len = head.len;
        return 1;
    }
    qb_parcel_drop(p);
    errno = m.msg_flags & MSG_CTRUNC ? EMFILE : EPROTO;
    return -1;
}
