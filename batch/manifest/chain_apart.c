#include "manifest/chain_apart.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/vec.h"
#include "opener/confine.h"
#include "opener/look.h"
#include "opener/opener.h"
#include "job/sandboxed.h"
#include "chain/chain.h"

/* ---- in that process ------------------------------------------------------------------------- */

struct walk {
    struct qb_file head;
    const struct qb_policy *policy;
    bool done, failed;
    struct qb_err err;
    struct qb_io *io;
    struct qb_chain chain;
    struct qb_helper helper;
    struct qb_opener opener;
    struct qb_opening_rules rules;
};

enum { DEATHS_MAX = 2 };

/* An answer begins with it; links follow, each a byte (whether it is qcow2) and a path.  One
 * without links is the last. */
struct answer_head {
    uint32_t failed, n; /* n: links in this one */
    struct qb_err err;
};

static bool no_image(void *arg, const char *path, struct qb_claim *how)
{
    (void)arg;
    (void)path;
    (void)how;
    return false;
}

/* There is one thread.  Where no helper can be started the process stays as it is, as a run does,
 * unless it is to be strict. */
static int give_up_rights(struct walk *w, struct qb_owners *owners)
{
    bool strict = w->policy->sandbox == QB_SANDBOX_STRICT;
    struct qb_errands errands = {.n = 0};
    struct qb_confinement own = {0};
    char text[QB_SANDBOX_TEXT];
    const char *lacking;

    w->rules = (struct qb_opening_rules){.is_image = no_image, .mutex = PTHREAD_MUTEX_INITIALIZER};
    if (!qb_opening_know(&w->rules, w->head.uid, w->head.gid))
        return qb_fail_memory(&w->err);
    if (qb_opening_begin(&w->rules, 1, owners, &w->err) < 0)
        return -1;
    w->opener = (struct qb_opener){.helper = &w->helper, .list = QB_ERRANDS_MAX};
    w->opener.errand = qb_errands_add(&errands, qb_opening_errand, &w->rules);
    w->opener.claims = qb_errands_add(&errands, qb_opening_claims, &w->rules);
    w->opener.look = qb_errands_add(&errands, qb_looking_errand, &w->rules);
    w->opener.blind = strict;
    if (qb_helper_start(&w->helper, &errands, 1, &w->err) < 0)
        return strict ? -1 : 0;
    qb_opener_serve(&w->opener, w->io);
    qb_confine_output();
    if (strict)
        qb_confine_enter(&own);
    qb_confine_thread(&own);
    qb_confine_process(&own, strict);
    lacking = qb_sandbox_lack(&own, w->policy->sandbox, text);
    if (strict && lacking)
        return qb_fail(&w->err, QB_E_UNSUPPORTED, QB_NOWHERE, "policy.sandbox is strict: %.300s",
                       lacking);
    return 0;
}

static int read_chain(struct walk *w)
{
    struct qb_owners *owners = qb_policy_owners(w->policy, false, &w->err);
    struct qb_image img;
    int r = 0;

    if (!owners || qb_io_open(QB_IO_POSIX, &w->io, NULL, &w->err) < 0)
        return -1;
    qb_io_set_owners(w->io, owners);
    if (w->policy->sandbox != QB_SANDBOX_OFF && give_up_rights(w, owners) < 0)
        return -1;
    if (qb_image_open(w->io, &w->head, &img, &w->err) < 0)
        return -1;
    if (img.backing_name[0])
        r = qb_chain_open(
            w->io,
            &(struct qb_chain_top){w->head.path, &w->head, img.backing_name, img.backing_fmt},
            QB_CHAIN_WHOLE, &w->chain, &w->err);
    qb_image_close(&img);
    return r;
}

/* Links from the number in the request on, as many as have room. */
static void on_links(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    struct answer_head head = {0};
    struct walk *w = arg;
    size_t from, at = sizeof(head);

    if (request->len != sizeof(from))
        return;
    memcpy(&from, request->bytes, sizeof(from));
    if (!w->done)
        w->failed = read_chain(w) < 0;
    w->done = true;
    head.failed = w->failed;
    head.err = w->err;
    for (size_t i = from; !w->failed && i < w->chain.n; i++) {
        const char *path = qb_chain_file(&w->chain, i)->path;
        size_t len = strlen(path) + 1;

        if (at + 1 + len > sizeof(answer->bytes))
            break;
        answer->bytes[at] = qb_chain_is_qcow2(&w->chain, i);
        memcpy(answer->bytes + at + 1, path, len);
        at += 1 + len;
        head.n++;
    }
    memcpy(answer->bytes, &head, sizeof(head));
    answer->len = at;
}

/* ---- here ------------------------------------------------------------------------------------ */

void qb_apart_chain_free(struct qb_apart_chain *chain)
{
    for (size_t i = 0; i < chain->n; i++)
        free(chain->links[i].path);
    free(chain->links);
    *chain = (struct qb_apart_chain){0};
}

static int fail_told(struct qb_err *err)
{
    return qb_fail(err, QB_E_CRASHED, QB_NOWHERE,
                   "the process that reads the chain has ended, or told what is none");
}

static int take_error(const struct qb_err *told, struct qb_err *err)
{
    if (told->code == QB_E_NONE || told->code >= QB_E_COUNT || told->code == QB_E_CRASHED ||
        !memchr(told->text, 0, sizeof(told->text)))
        return fail_told(err);
    *err = *told;
    return -1;
}

int qb_apart_chain_take(const struct qb_parcel *p, struct qb_apart_chain *out, struct qb_err *err)
{
    struct answer_head head;
    size_t at = sizeof(head);

    if (p->len < sizeof(head) || p->len > sizeof(p->bytes))
        return fail_told(err);
    memcpy(&head, p->bytes, sizeof(head));
    if (head.failed)
        return take_error(&head.err, err);
    for (uint32_t i = 0; i < head.n; i++) {
        const char *path = (const char *)p->bytes + at + 1;
        size_t len = at + 1 < p->len ? strnlen(path, p->len - at - 1) : 0;

        if (len == 0 || at + 1 + len >= p->len || out->n >= QB_CHAIN_MAX_DEPTH)
            return fail_told(err);
        if (!qb_vec_room(&out->links, out->n, &out->cap, sizeof(*out->links)))
            return qb_fail_memory(err);
        out->links[out->n] = (struct qb_apart_link){p->bytes[at] != 0, strdup(path)};
        if (!out->links[out->n++].path)
            return qb_fail_memory(err);
        at += 1 + len + 1;
    }
    return (int)head.n;
}

static int ask_all(struct qb_helper *reader, unsigned errand, struct qb_parcel *p,
                   struct qb_apart_chain *out, struct qb_err *err)
{
    int n = 1;

    while (n > 0) {
        memcpy(p->bytes, &out->n, sizeof(out->n));
        p->len = sizeof(out->n);
        if (qb_helper_ask(reader, errand, NULL, p) != 0)
            return fail_told(err);
        n = qb_apart_chain_take(p, out, err);
        qb_parcel_drop(p);
    }
    return n;
}

static int read_once(const struct qb_file *head, const struct qb_policy *policy,
                     struct qb_apart_chain *out, struct qb_err *err)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));
    struct walk walk = {.head = *head, .policy = policy};
    struct qb_errands errands = {.n = 0};
    unsigned errand = qb_errands_add(&errands, on_links, &walk);
    struct qb_helper reader;
    int r;

    *out = (struct qb_apart_chain){0};
    if (!p)
        return qb_fail_memory(err);
    qb_errands_keep(&errands, head->fd);
    if (qb_helper_start(&reader, &errands, 1, err) < 0)
        return -1;
    r = ask_all(&reader, errand, p, out, err);
    qb_helper_end(&reader);
    if (r < 0)
        qb_apart_chain_free(out);
    return r;
}

/* The first may have been ended by somebody, or by a lack of memory. */
int qb_chain_apart(const struct qb_file *head, const struct qb_policy *policy,
                   struct qb_apart_chain *out, struct qb_err *err)
{
    int r = -1;

    *err = (struct qb_err){.code = QB_E_CRASHED};
    for (unsigned i = 0; r < 0 && err->code == QB_E_CRASHED && i < DEATHS_MAX; i++)
        r = read_once(head, policy, out, err);
    return r;
}
