/* A run in progress that is asked, without its images. */
#ifndef QB_TESTS_ASKED_RUN_H
#define QB_TESTS_ASKED_RUN_H

#include <string.h>

#include "ctl/answer.h"
#include "unit.h"

enum { ASKED_JOBS = 3 };

struct asked_run {
    struct qb_batch batch;
    struct qb_meter meter;
    struct qb_hand hand;
    struct qb_limits limits, manifest;
    unsigned ended;
    double deadline; /* the last one that was set; -1: none */
    bool loaded;     /* the host cannot tell its load */
};

extern struct asked_run run;

/* Begins it, ten seconds ago, as user 4711 asks: images /srv/a.qcow2 to c.qcow2. */
struct qb_ctl_scene begin_asked(void);
void end_asked(void);

/* The text or the error of the answer, which is to be `ok`; "?" where it is none. */
const char *ask_run(const struct qb_ctl_scene *scene, const char *request, bool ok);

static inline const struct qb_act *last_act(void)
{
    return &run.hand.acts[run.hand.n_acts - 1];
}

#define ORDER(what)  "{\"version\":1,\"command\":\"" what "\",\"caller\":\"eve\"}"
#define LIMITS(list) "{\"version\":1,\"command\":\"limits\",\"limits\":[" list "]}"
#define ASSERT_SAYS(text, part)                                                                    \
    do {                                                                                           \
        const char *said = (text);                                                                 \
        if (!strstr(said, (part)))                                                                 \
            printf("  \"%s\" lacks \"%s\"\n", said, (part));                                       \
        CU_ASSERT_PTR_NOT_NULL(strstr(said, (part)));                                              \
    } while (0)

#endif
