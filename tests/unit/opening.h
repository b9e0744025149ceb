/* A helper that opens three files by the rules of opener.h, and who asks it. */
#ifndef QB_TESTS_OPENING_H
#define QB_TESTS_OPENING_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/backend.h"
#include "opener/confine.h"
#include "opener/look.h"
#include "opener/opener_wire.h"
#include "unit.h"

enum { STRANGER = 54321 };

static char folder[] = "/tmp/qb-opener-XXXXXX";
static char image_path[64], other_path[64], read_path[64];

struct opening {
    struct qb_opening_rules rules;
    struct qb_helper helper;
    struct qb_opener opener;
    struct qb_io *io; /* that asks it */
};

static bool is_image(void *arg, const char *path, struct qb_claim *how)
{
    (void)arg;
    *how = (struct qb_claim){.writable = true};
    return strcmp(path, image_path) == 0;
}

static bool may_read(void *arg, const char *path)
{
    (void)arg;
    return strcmp(path, read_path) == 0;
}

static const char *image(void *arg, size_t number, struct qb_claim *how)
{
    (void)arg;
    *how = (struct qb_claim){.writable = true};
    return number == 7 ? image_path : number == 8 ? read_path : NULL;
}

/* Builds with sanitizers cannot have threads in a process that was forked beside others. */
static unsigned channels(void)
{
    return qb_confine_built() ? 2 : 1;
}

/* Says how many descriptors it has open. */
static void count_files(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    (void)arg;
    (void)request;
    for (int fd = 0; fd < 256; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            answer->len++;
}

static void wait_to_be_stopped(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    (void)arg;
    while (!qb_helper_is_to_stop((void *)(uintptr_t)request))
        poll(NULL, 0, 1);
    answer->len = 1;
}

static bool has_file(void *arg, const struct stat *st)
{
    struct stat image_st;

    (void)arg;
    return stat(image_path, &image_st) == 0 && image_st.st_dev == st->st_dev &&
           image_st.st_ino == st->st_ino;
}

/* For images of that owner. */
static void begin_for(struct opening *o, uid_t uid, struct qb_owners *owners)
{
    struct qb_errands errands = {.n = 0};

    *o = (struct opening){.rules = {.is_image = is_image,
                                    .may_read = may_read,
                                    .image = image,
                                    .has_file = has_file,
                                    .most = {.writable = true},
                                    .mutex = PTHREAD_MUTEX_INITIALIZER}};
    CU_ASSERT_EQUAL_FATAL(qb_opening_begin(&o->rules, 2, owners, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &o->io, NULL, NULL), 0);
    CU_ASSERT_TRUE(qb_opening_know(&o->rules, uid, uid == STRANGER ? STRANGER : getegid()));
    o->opener =
        (struct qb_opener){.helper = &o->helper,
                           .errand = qb_errands_add_many(&errands, qb_opening_errand, &o->rules)};
    qb_errands_add(&errands, count_files, NULL);
    qb_errands_add(&errands, wait_to_be_stopped, NULL);
    o->opener.claims = qb_errands_add_many(&errands, qb_opening_claims, &o->rules);
    o->opener.look = qb_errands_add_many(&errands, qb_looking_errand, &o->rules);
    o->opener.ahead = qb_errands_add_many(&errands, qb_looking_many, &o->rules);
    CU_ASSERT_EQUAL_FATAL(qb_helper_start(&o->helper, &errands, channels(), NULL), 0);
    qb_opener_serve(&o->opener, o->io);
}

static void begin(struct opening *o)
{
    begin_for(o, geteuid(), NULL);
}

static void end(struct opening *o)
{
    qb_helper_end(&o->helper);
    qb_opening_free(&o->rules);
    qb_io_close(o->io);
}

static inline struct qb_naming me(void)
{
    return (struct qb_naming){geteuid(), getegid(), image_path};
}

static void put(const char *path)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    if (write(fd, "12345", 5) != 5)
        abort();
    close(fd);
}

static int opening_main(const char *name, const struct unit_test *tests, size_t n)
{
    int rc;

    if (!mkdtemp(folder))
        return 2;
    signal(SIGPIPE, SIG_IGN);
    snprintf(image_path, sizeof(image_path), "%s/a", folder);
    snprintf(other_path, sizeof(other_path), "%s/b", folder);
    snprintf(read_path, sizeof(read_path), "%s/c", folder);
    put(image_path);
    put(other_path);
    put(read_path);
    rc = unit_main(name, tests, n);
    unlink(image_path);
    unlink(other_path);
    unlink(read_path);
    rmdir(folder);
    return rc;
}

#endif
