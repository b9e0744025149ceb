#include "ctl/server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/beside.h"
#include "base/clock.h"
#include "ctl/socket.h"
#include "opener/confine.h"

enum { CLIENTS = 4, LOOK_MS = 250 };

#define PATIENCE_SECONDS 2.0

struct client {
    int fd; /* -1: none */
    double until;
};

struct qb_ctl_server {
    struct qb_ctl_scene scene;
    int listener, wake;
    struct client clients[CLIENTS];
    bool started;
    pthread_t thread;
};

static void drop(struct client *c)
{
    close(c->fd);
    c->fd = -1;
}

/* What does not fit is lost: the other end did not read. */
static void tell(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return;
}

static void take(struct qb_ctl_server *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    uid_t uid;

    if (fd < 0)
        return;
    if (!qb_ctl_peer(fd, &uid) || !qb_ctl_may(uid, s->scene.owner)) {
        tell(fd, "{\"type\":\"answer\",\"version\":1,\"ok\":false,\"error\":\"refused: the run "
                 "belongs to another user\"}\n");
        close(fd);
        return;
    }
    for (size_t i = 0; i < CLIENTS; i++)
        if (s->clients[i].fd < 0) {
            s->clients[i] = (struct client){fd, qb_now() + PATIENCE_SECONDS};
            return;
        }
    close(fd);
}

/* A packet that is longer than a request is cut off by the kernel, and then is none. */
static void serve(struct qb_ctl_server *s, struct client *c)
{
    char request[QB_CTL_REQUEST];
    ssize_t n = recv(c->fd, request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);
    char *answer = NULL;
    uid_t uid;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && (size_t)n <= sizeof(request) && qb_ctl_peer(c->fd, &uid))
        answer = qb_ctl_answer(&s->scene, request, (size_t)n, uid);
    if (answer)
        tell(c->fd, answer);
    free(answer);
    drop(c);
}

static void *serve_all(void *arg)
{
    struct qb_ctl_server *s = arg;
    struct qb_confinement own = {0};

    if (s->scene.confined)
        qb_confine_thread(&own);
    for (;;) {
        struct pollfd fds[2 + CLIENTS] = {{.fd = s->wake, .events = POLLIN}, {.fd = -1}};
        bool some = false, room = false;

        for (size_t i = 0; i < CLIENTS; i++) {
            fds[2 + i] = (struct pollfd){.fd = s->clients[i].fd, .events = POLLIN};
            some |= s->clients[i].fd >= 0;
            room |= s->clients[i].fd < 0;
        }
        if (room)
            fds[1] = (struct pollfd){.fd = s->listener, .events = POLLIN};
        if (poll(fds, 2 + CLIENTS, some ? LOOK_MS : -1) < 0 && errno != EINTR)
            return NULL;
        if (fds[0].revents)
            return NULL;
        qb_beside_work();
        for (size_t i = 0; i < CLIENTS; i++) {
            struct client *c = &s->clients[i];

            if (c->fd >= 0 && fds[2 + i].revents)
                serve(s, c);
            if (c->fd >= 0 && qb_now() > c->until)
                drop(c);
        }
        if (fds[1].revents)
            take(s);
        qb_beside_rest();
    }
}

static void release(struct qb_ctl_server *s)
{
    if (s->listener >= 0)
        close(s->listener);
    if (s->wake >= 0)
        close(s->wake);
    free(s);
}

static int fail_start(int errnum, struct qb_err *err)
{
    return qb_fail_sys(err, errnum, QB_NOWHERE, "cannot serve the control socket");
}

int qb_ctl_open(const char *dir, const struct qb_ctl_scene *scene, struct qb_ctl_server **out,
                struct qb_err *err)
{
    struct qb_ctl_server *s = calloc(1, sizeof(*s));

    if (!s)
        return qb_fail_memory(err);
    s->scene = *scene;
    s->wake = -1;
    for (size_t i = 0; i < CLIENTS; i++)
        s->clients[i].fd = -1;
    s->listener = qb_ctl_listen(dir, scene->batch->run_id, err);
    if (s->listener < 0) {
        release(s);
        return -1;
    }
    s->wake = eventfd(0, EFD_CLOEXEC);
    if (s->wake < 0) {
        fail_start(errno, err);
        qb_ctl_unlink(dir, scene->batch->run_id);
        release(s);
        return -1;
    }
    *out = s;
    return 0;
}

int qb_ctl_start(struct qb_ctl_server *s, struct qb_err *err)
{
    int errnum = qb_beside_start(&s->thread, serve_all, s);

    s->started = errnum == 0;
    return errnum ? fail_start(errnum, err) : 0;
}

void qb_ctl_end(struct qb_ctl_server *s)
{
    if (!s)
        return;
    if (s->started && eventfd_write(s->wake, 1) == 0)
        pthread_join(s->thread, NULL);
    for (size_t i = 0; i < CLIENTS; i++)
        if (s->clients[i].fd >= 0)
            drop(&s->clients[i]);
    release(s);
}
