#include "saved/plan_write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "base/digest.h"
#include "outcome/planned.h"
#include "job/rules.h"
#include "record/report_json.h"
#include "saved/request_json.h"
#include "util/path.h"
#include "util/text.h"

struct qb_plan_writer {
    const struct qb_batch *batch;
    char *path, *temp;
    FILE *f;
    struct qb_hasher *hasher; /* of all lines so far */
    struct qb_helper *helper; /* once it is started it names and removes the file; or NULL */
    unsigned errand;          /* its number there */
    uint64_t images;
    int errnum;  /* the first failure */
    bool odd;    /* a name that no text can hold */
    bool is_cut; /* some image was not planned: the run was interrupted */
};

/* ---- lines ----------------------------------------------------------------------------------- */

static void put(struct qb_plan_writer *w, struct qb_json o, bool hashed)
{
    size_t len = 0;
    QB_AUTO(qb_buf) char *text = qb_json_take(o, &len);

    if (!text || fwrite(text, 1, len, w->f) != len)
        w->errnum = w->errnum ? w->errnum : errno ? errno : ENOMEM;
    else if (hashed)
        qb_hasher_add(w->hasher, text, len);
}

/* Roots, and the pattern behind them, as they are found from any directory. */
static void put_scan(struct qb_json *o, const struct qb_batch *batch)
{
    struct qb_json list = qb_json_list();
    QB_AUTO(qb_buf) char *here = getcwd(NULL, 0);

    qb_vec_each (root, &batch->scan) {
        QB_AUTO(qb_buf) char *path = qb_scan_path(root), *full = NULL;

        if (!path || !here ||
            asprintf(&full, "%s%s%s", path[0] == '/' ? "" : here, path[0] == '/' ? "" : "/", path) <
                0)
            list.whole = false;
        else
            qb_json_append_string(&list, full);
    }
    qb_json_child(o, "scan", list);
}

static void put_head(struct qb_plan_writer *w)
{
    const struct qb_batch *batch = w->batch;
    struct qb_json o = qb_json_object();
    char at[QB_TEXT_NUMBER];

    qb_json_text(&o, "type", "plan");
    qb_json_number(&o, "format", QB_PLAN_FORMAT);
    qb_json_text(&o, "qbatch", QB_VERSION);
    qb_json_text(&o, "saved", qb_text_time(batch->origin.started, at));
    qb_line_origin(&o, &batch->origin);
    qb_json_text(&o, "name", batch->name);
    qb_json_text(&o, "manifest", batch->manifest_path);
    qb_json_text(&o, "manifest_print", batch->manifest_print);
    qb_json_number(&o, "ages_from", batch->ages_from);
    w->odd |= !qb_settings_json(&o, batch);
    put_scan(&o, batch);
    qb_json_number(&o, "images", batch->n_jobs);
    put(w, o, true);
}

/* ---- an image -------------------------------------------------------------------------------- */

/* The request without anything that would be computed once more: a second amend is the same. */
static struct qb_request settled(const struct qb_job *job, const struct qb_result *r)
{
    struct qb_request rq = job->request;

    if ((rq.set & QB_KEY_SIZE) && r->after) {
        rq.size = r->after->virtual_size;
        rq.size_is = QB_SIZE_SET;
    }
    if (!job->rules || !job->rules->moves || !r->after || !r->before)
        return rq;
    if (strcmp(r->after->backing_file ? r->after->backing_file : "",
               r->before->backing_file ? r->before->backing_file : "") != 0) {
        rq.backing_file = r->after->backing_file;
        rq.set |= QB_KEY_BACKING_FILE;
    }
    if (strcmp(r->after->backing_fmt ? r->after->backing_fmt : "",
               r->before->backing_fmt ? r->before->backing_fmt : "") != 0) {
        rq.backing_fmt = r->after->backing_fmt;
        rq.set |= QB_KEY_BACKING_FMT;
    }
    return rq;
}

/* The absolute path of an image, which ends with its name as the manifest has it, from *at on: by
 * that name shards and the steps of a rollout are drawn, in a run of the manifest and of the plan
 * alike. */
static const char *place_of(const struct qb_batch *batch, const struct qb_job *job,
                            char buf[PATH_MAX], size_t *at)
{
    const char *name = job->path + job->named_at, *folder = batch->real_folder;
    int len = -1;

    if (name[0] != '/' && folder)
        len = snprintf(buf, PATH_MAX, "%s%s%s", folder, strcmp(folder, "/") ? "/" : "", name);
    if (len < 0 || len >= PATH_MAX) {
        *at = job->named_at;
        return job->path;
    }
    *at = (size_t)len - strlen(name);
    return buf;
}

void qb_plan_write_image(struct qb_plan_writer *w, size_t i, const struct qb_outcome *outcome)
{
    const struct qb_job *job = &w->batch->jobs[i];
    const struct qb_result *r = &outcome->result;
    struct qb_request rq = settled(job, r);
    struct qb_json o = qb_json_object();
    struct qb_planned planned;
    char path[PATH_MAX], work[20];
    size_t at;
    const char *name = place_of(w->batch, job, path, &at);
    bool changes = r->status == QB_STATUS_WOULD_CHANGE;

    w->is_cut |= r->status == QB_STATUS_INTERRUPTED || r->err.code == QB_E_CANCELLED;
    qb_planned_note(r, changes && r->allocated_delta > 0 ? (uint64_t)r->allocated_delta : 0,
                    &planned);
    snprintf(work, sizeof(work), "%016" PRIx64, planned.work);
    qb_json_text(&o, "type", "image");
    qb_json_path(&o, name);
    qb_json_number(&o, "named_at", at);
    qb_json_number(&o, "line", job->line);
    qb_json_number(&o, "bytes", planned.bytes);
    qb_json_text(&o, "work", work);
    w->odd |= !qb_request_json(&o, &rq, job->rules);
    qb_json_child(&o, "result", qb_json_image(w->batch, job, outcome, NULL, false));
    put(w, o, true);
    w->images++;
}

/* ---- the file -------------------------------------------------------------------------------- */

static int sync_folder(const char *path)
{
    QB_AUTO(qb_buf) char *folder = qb_path_folder(path);
    int fd = folder ? open(*folder ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, r;

    if (fd < 0)
        return -1;
    r = fsync(fd);
    close(fd);
    return r;
}

/* 0 or an errno. */
static int name_here(const struct qb_plan_writer *w)
{
    return rename(w->temp, w->path) < 0 || sync_folder(w->path) < 0 ? errno : 0;
}

enum { NAME_IT, REMOVE_IT };

/* In the helper. */
static void on_errand(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    const struct qb_plan_writer *w = arg;
    int errnum = 0;

    if (request->len == 1 && request->bytes[0] == NAME_IT)
        errnum = name_here(w);
    else
        unlink(w->temp);
    memcpy(answer->bytes, &errnum, sizeof(errnum));
    answer->len = sizeof(errnum);
}

void qb_plan_write_offer(struct qb_plan_writer *w, struct qb_errands *errands,
                         struct qb_helper *helper)
{
    w->errand = qb_errands_add(errands, on_errand, w);
    w->helper = helper;
}

/* 0 or an errno. */
static int ask(const struct qb_plan_writer *w, unsigned char what)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));
    int errnum;

    if (!p)
        return ENOMEM;
    p->bytes[0] = what;
    p->len = 1;
    if (qb_helper_ask(w->helper, w->errand, NULL, p) || p->len != sizeof(errnum))
        return EIO;
    memcpy(&errnum, p->bytes, sizeof(errnum));
    return errnum;
}

static void drop(struct qb_plan_writer *w)
{
    if (w->f)
        fclose(w->f);
    if (w->temp && qb_helper_is_there(w->helper))
        ask(w, REMOVE_IT);
    else if (w->temp)
        unlink(w->temp);
    qb_hasher_free(w->hasher);
    free(w->temp);
    free(w->path);
    free(w);
}

/* Only a plan is replaced. */
static int check_old(const char *path, struct qb_err *err)
{
    char begins[16] = "";
    struct stat st;
    FILE *f;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : qb_fail_sys(err, errno, QB_NOWHERE, "%.300s", path);
    f = S_ISREG(st.st_mode) ? fopen(path, "re") : NULL;
    if (f && fgets(begins, sizeof(begins), f) == NULL)
        begins[0] = '\0';
    if (f)
        fclose(f);
    if (f && (st.st_size == 0 || strncmp(begins, "{\"type\":\"plan\"", 14) == 0))
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "%.300s: there is a file that is not a plan, which is not replaced", path);
}

static int open_temp(struct qb_plan_writer *w, struct qb_err *err)
{
    int fd = -1;

    if (asprintf(&w->temp, "%s.%08x.tmp", w->path, (unsigned)getpid()) < 0) {
        w->temp = NULL;
        return qb_fail_memory(err);
    }
    fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        int error = errno;

        free(qb_take(&w->temp));
        return qb_fail_sys(err, error, QB_NOWHERE, "cannot write the plan %.300s", w->path);
    }
    w->f = fdopen(fd, "w");
    if (!w->f)
        close(fd);
    return w->f ? 0 : qb_fail_memory(err);
}

struct qb_plan_writer *qb_plan_write_begin(const char *path, const struct qb_batch *batch,
                                           struct qb_err *err)
{
    struct qb_plan_writer *w = calloc(1, sizeof(*w));

    if (!w) {
        qb_fail_memory(err);
        return NULL;
    }
    w->batch = batch;
    w->path = strdup(path);
    w->hasher = qb_hasher_new();
    if (!w->path || !w->hasher)
        qb_fail_memory(err);
    else if (check_old(path, err) == 0 && open_temp(w, err) == 0) {
        qb_hasher_reset(w->hasher);
        put_head(w);
        return w;
    }
    drop(w);
    return NULL;
}

static void put_end(struct qb_plan_writer *w)
{
    struct qb_digest d = qb_hasher_end(w->hasher);
    struct qb_json o = qb_json_object();
    char digest[40];

    snprintf(digest, sizeof(digest), "%016" PRIx64 "%016" PRIx64, d.high, d.low);
    qb_json_text(&o, "type", "end");
    qb_json_number(&o, "images", w->images);
    qb_json_text(&o, "digest", digest);
    put(w, o, false);
}

static int name_it(struct qb_plan_writer *w, struct qb_err *err)
{
    if (w->odd)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "no plan was saved: a name in a list of a request is not UTF-8");
    if (w->is_cut || w->images != w->batch->n_jobs)
        return qb_fail(err, QB_E_CANCELLED, QB_NOWHERE,
                       "no plan was saved: not every image was planned");
    put_end(w);
    if (!w->errnum && (fflush(w->f) != 0 || fsync(fileno(w->f)) < 0))
        w->errnum = errno;
    if (!w->errnum)
        w->errnum = qb_helper_is_there(w->helper) ? ask(w, NAME_IT) : name_here(w);
    if (w->errnum)
        return qb_fail_sys(err, w->errnum, QB_NOWHERE, "cannot write the plan %.300s", w->path);
    free(qb_take(&w->temp));
    return 0;
}

int qb_plan_write_end(struct qb_plan_writer *w, bool keep, struct qb_err *err)
{
    int r = keep ? name_it(w, err) : 0;

    drop(w);
    return r;
}
