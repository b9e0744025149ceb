#include "saved/plan_read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32.h"
#include "base/own.h"
#include "base/digest.h"
#include "outcome/planned.h"
#include "job/rules.h"
#include "saved/plan_write.h"
#include "saved/request_json.h"
#include "shard/shard.h"

struct reading {
    struct qb_batch *batch;
    struct qb_plan_head *head;
    struct qb_request base; /* with the plan's policy */
    struct qb_hasher *hasher;
    uint64_t named; /* images, by the first line */
    bool begun, ended;
    char why[QB_REQUEST_WHY];
};

void qb_plan_head_free(struct qb_plan_head *h)
{
    free(h->saved);
    free(h->qbatch);
    free(h->manifest);
    free(h->manifest_print);
    qb_origin_free(&h->origin);
}

/* ---- the file -------------------------------------------------------------------------------- */

static int check_owner(int fd, const char *path, struct qb_err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%.300s", path);
    if (!S_ISREG(st.st_mode))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%.300s: not a regular file", path);
    if (st.st_uid != geteuid())
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "%.300s: this plan belongs to user %u, not to the present user %u", path,
                       (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "%.300s: other users can write this plan (mode %03o)", path,
                       (unsigned)st.st_mode & 0777);
    return 0;
}

static FILE *open_plan(const char *path, struct qb_err *err)
{
    /* O_NONBLOCK: opening a FIFO would wait. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    FILE *f = NULL;

    if (fd < 0 && errno == ELOOP)
        qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%.300s: a plan is not a link", path);
    else if (fd < 0)
        qb_fail_sys(err, errno, QB_NOWHERE, "cannot open the plan %.300s", path);
    else if (check_owner(fd, path, err) == 0 && !(f = fdopen(fd, "r")))
        qb_fail_memory(err);
    if (fd >= 0 && !f)
        close(fd);
    return f;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static bool wrong(struct reading *r, const char *why)
{
    if (!r->why[0])
        snprintf(r->why, sizeof(r->why), "%s", why);
    return false;
}

static char *copy(const struct qb_parsed *o, const char *key)
{
    const char *text = qb_json_get_text(o, key);

    return text ? strdup(text) : NULL;
}

static void add_label(void *arg, const char *key, const char *text)
{
    struct reading *r = arg;

    if (r->batch->origin.labels.n < QB_LABELS_MAX) {
        qb_origin_add_label(&r->batch->origin, key, text);
        qb_origin_add_label(&r->head->origin, key, text);
    }
}

static bool add_scan(void *arg, const char *text)
{
    struct qb_batch *batch = arg;
    const char *kept = qb_batch_keep(batch, text, strlen(text));

    return kept && kept[0] == '/' &&
           qb_vec_push(&batch->scan, (struct qb_scan_root){.folder = "", .text = kept});
}

static bool read_head(struct reading *r, const struct qb_parsed *o)
{
    const char *type = qb_json_get_text(o, "type");
    struct qb_parsed labels = qb_json_get_child(o, "labels");

    if (!type || strcmp(type, "plan") != 0)
        return wrong(r, "its first line is not that of a plan");
    if (qb_json_get_number(o, "format", 0) != QB_PLAN_FORMAT)
        return wrong(r, "its format is not known to this version of qbatch; the version that made "
                        "the plan applies it");
    r->begun = true;
    r->named = qb_json_get_number(o, "images", 0);
    r->head->saved = copy(o, "saved");
    r->head->qbatch = copy(o, "qbatch");
    r->head->manifest = copy(o, "manifest");
    r->head->manifest_print = copy(o, "manifest_print");
    r->head->origin.host = copy(o, "host");
    r->head->origin.caller = copy(o, "caller");
    r->head->origin.command = copy(o, "command");
    r->batch->name = copy(o, "name");
    r->batch->ages_from = qb_json_get_number(o, "ages_from", 0);
    qb_json_each_text(&labels, add_label, r);
    if (!qb_json_each_item(o, "scan", add_scan, r->batch))
        return wrong(r, "\"scan\" is not a list of absolute paths");
    return qb_settings_read(o, r->batch, &r->base, r->why);
}

static bool read_work(const struct qb_parsed *o, uint64_t *out)
{
    const char *text = qb_json_get_text(o, "work");
    char *end;

    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return false;
    *out = strtoull(text, &end, 16);
    return true;
}

/* What the plan said of the image when it was made, and of what becomes of it. */
static bool read_planned(struct reading *r, const struct qb_parsed *o,
                         const struct qb_read_line *line, struct qb_planned **out)
{
    const struct qb_result *result = &line->outcome.result;
    const char *message = result->err.code ? result->err.text : "";
    struct qb_planned *p = qb_batch_block(r->batch, sizeof(*p));

    if (!p)
        return wrong(r, "out of memory");
    qb_planned_note(result, qb_json_get_number(o, "bytes", 0), p);
    p->message = qb_batch_keep(r->batch, message, strlen(message));
    *out = p;
    if (!read_work(o, &p->work))
        return wrong(r, "\"work\" is not a fingerprint");
    if (p->status == QB_STATUS_CHANGED || p->status == QB_STATUS_INTERRUPTED)
        return wrong(r, "an image has a status that no plan has");
    return (p->status == QB_STATUS_FAILED || p->status == QB_STATUS_SKIPPED) == (p->code != 0) ||
           wrong(r, "an image has an error that does not go with its status");
}

static bool add_job(struct reading *r, const struct qb_parsed *o, const char *path,
                    const struct qb_planned *planned)
{
    uint64_t line = qb_json_get_number(o, "line", 0), at = qb_json_get_number(o, "named_at", 0);
    const struct qb_rules *rules;
    struct qb_request rq;
    struct qb_job *job;

    if (!qb_request_read(o, &r->base, r->batch, &rq, &rules, r->why))
        return wrong(r, "out of memory");
    if (rq.set & QB_KEY_SIZE && rq.size_is != QB_SIZE_SET && qb_planned_applies(planned))
        return wrong(r, "a size is added, and would be added once more each time");
    if (!qb_batch_add(r->batch, path, line < UINT32_MAX ? (unsigned)line : 0, &rq))
        return wrong(r, "out of memory");
    job = &r->batch->jobs[r->batch->n_jobs - 1];
    job->rules = rules;
    job->planned = planned;
    job->named_at = at < strlen(path) ? at : 0;
    return true;
}

static bool read_image(struct reading *r, const struct qb_parsed *o)
{
    struct qb_parsed result = qb_json_get_child(o, "result");
    QB_AUTO(qb_buf) char *path = qb_json_get_path(o);
    struct qb_planned *planned;
    struct qb_read_line line;
    const char *why;
    bool ok;

    if (!path || path[0] != '/')
        return wrong(r, "an image has no absolute path");
    if (!result.value)
        return wrong(r, "an image has no result");
    why = qb_image_read(&result, &line);
    if (why)
        return wrong(r, why);
    ok = read_planned(r, o, &line, &planned) && add_job(r, o, path, planned);
    qb_line_free(&line);
    return ok;
}

static bool read_end(struct reading *r, const struct qb_parsed *o)
{
    struct qb_digest d = qb_hasher_end(r->hasher);
    const char *digest = qb_json_get_text(o, "digest");
    char want[40];

    snprintf(want, sizeof(want), "%016" PRIx64 "%016" PRIx64, d.high, d.low);
    if (!digest || strcmp(digest, want) != 0)
        return wrong(r, "it was changed after it was saved: its digest is another one");
    if (r->batch->n_jobs != r->named || qb_json_get_number(o, "images", 0) != r->named)
        return wrong(r, "it has not as many images as it says");
    r->ended = true;
    return true;
}

static bool read_line(struct reading *r, const char *text, size_t len)
{
    QB_AUTO(qb_json_drop) struct qb_parsed o = {0};
    const char *type;
    bool ok;

    if (r->ended)
        return wrong(r, "it goes on after its end");
    if (text[len - 1] != '\n' || !qb_json_parse(text, len, &o))
        return wrong(r, "a line is not a JSON object");
    if (!r->begun) {
        ok = read_head(r, &o);
    } else {
        type = qb_json_get_text(&o, "type");
        if (type && strcmp(type, "end") == 0)
            return read_end(r, &o);
        if (!type || strcmp(type, "image") != 0)
            return wrong(r, "a line is not that of an image");
        ok = read_image(r, &o);
    }
    qb_hasher_add(r->hasher, text, len);
    return ok;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int read_lines(struct reading *r, FILE *f, const char *path, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *text = NULL;
    uint32_t print = 0;
    uint64_t bytes = 0;
    size_t room = 0, number = 0;
    bool ok = true;
    ssize_t len;

    while (ok && (len = getline(&text, &room, f)) > 0) {
        number++;
        bytes += (uint64_t)len;
        print = qb_crc32(print, text, (size_t)len);
        ok = read_line(r, text, (size_t)len);
    }
    if (ferror(f))
        return qb_fail_sys(err, errno, QB_NOWHERE, "%.300s", path);
    if (!ok)
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "%.300s:%zu: the plan is not used: %s", path,
                       number, r->why);
    if (!r->ended)
        return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "%.300s: the plan is not used: it has no end",
                       path);
    snprintf(r->batch->manifest_print, sizeof(r->batch->manifest_print), "%08x-%" PRIu64, print,
             bytes);
    return 0;
}

int qb_plan_read(const char *path, struct qb_batch *batch, struct qb_plan_head *head,
                 struct qb_err *err)
{
    struct reading r = {.batch = batch, .head = head, .hasher = qb_hasher_new()};
    FILE *f = r.hasher ? open_plan(path, err) : NULL;
    int rc = -1;

    *head = (struct qb_plan_head){0};
    if (!r.hasher)
        qb_fail_memory(err);
    if (f) {
        qb_hasher_reset(r.hasher);
        rc = read_lines(&r, f, path, err);
    }
    if (f)
        fclose(f);
    qb_hasher_free(r.hasher);
    batch->manifest_path = strdup(path);
    if (!batch->name)
        batch->name = strdup("plan");
    if (rc == 0 && (!batch->manifest_path || !batch->name))
        rc = qb_fail_memory(err);
    return rc;
}

int qb_plan_each_line(const char *path, const struct qb_batch *batch, qb_plan_line_fn *fn,
                      void *arg, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *text = NULL;
    FILE *f = open_plan(path, err);
    uint32_t print = 0;
    uint64_t bytes = 0;
    size_t room = 0;
    char whole[24];
    ssize_t len;

    if (!f)
        return -1;
    while ((len = getline(&text, &room, f)) > 0) {
        QB_AUTO(qb_json_drop) struct qb_parsed o = {0};
        struct qb_read_line line = {.path = NULL};
        struct qb_parsed result = {0};

        print = qb_crc32(print, text, (size_t)len);
        bytes += (uint64_t)len;
        if (qb_json_parse(text, (size_t)len, &o))
            result = qb_json_get_child(&o, "result");
        if (result.value && qb_image_read(&result, &line) == NULL) {
            fn(arg, text, (size_t)len, &line);
            qb_line_free(&line);
        } else {
            fn(arg, text, (size_t)len, NULL);
        }
    }
    fclose(f);
    snprintf(whole, sizeof(whole), "%08x-%" PRIu64, print, bytes);
    if (strcmp(whole, batch->manifest_print) == 0)
        return 0;
    return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "%.300s was changed while it was read", path);
}
