/* A line has its run under "of"; a line of an earlier version has not: then it is the run of the
 * summary after it. */
#include "fleet/report_parts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "base/own.h"
#include "util/text.h"

enum { COMPLAINTS_MAX = 20 };

static void complain(struct qb_reports *r, const char *path, size_t line, const char *what)
{
    if (r->complaints++ >= COMPLAINTS_MAX)
        return;
    fputs("qbatch report: ", stderr);
    qb_text_safe(stderr, path);
    if (line)
        fprintf(stderr, ":%zu", line);
    fprintf(stderr, ": %s\n", what);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* What cannot be read twice, a pipe, is copied. */
static FILE *open_twice(const char *path)
{
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re"), *copy;
    char piece[16384];
    struct stat st;
    size_t n;

    if (!in || (fstat(fileno(in), &st) == 0 && S_ISREG(st.st_mode) && in != stdin))
        return in;
    copy = tmpfile();
    while (copy && (n = fread(piece, 1, sizeof(piece), in)) > 0)
        fwrite(piece, 1, n, copy);
    if (copy && (ferror(in) || fflush(copy) != 0)) {
        fclose(copy);
        copy = NULL;
    }
    if (in != stdin)
        fclose(in);
    if (copy)
        rewind(copy);
    return copy;
}

bool qb_reports_each_line(struct qb_reports *r, struct qb_report_file *file, qb_report_line_fn *fn)
{
    QB_AUTO(qb_buf) char *text = NULL;
    size_t room = 0, number = 0;
    bool ok = true;
    ssize_t len;

    rewind(file->f);
    while (ok && (len = getline(&text, &room, file->f)) >= 0) {
        number++;
        r->cut = text[len - 1] != '\n';
        if (!r->cut)
            text[--len] = '\0';
        if (len > 0)
            ok = fn(r, file, text, (size_t)len, number);
    }
    if (ferror(file->f))
        complain(r, file->path, 0, strerror(errno));
    return ok && !ferror(file->f);
}

/* ---- the first time: is it whole, and what is in it? ------------------------------------------
 */

static bool is_same_run(const struct qb_read_run *a, const struct qb_read_run *b)
{
    return qb_text_same(a->run, b->run) && qb_text_same(a->manifest, b->manifest) &&
           qb_text_same(a->name, b->name) && qb_text_same(a->origin.host, b->origin.host) &&
           fabs(a->origin.started - b->origin.started) < 1;
}

/* The part that a line belongs to; NULL when memory is short. */
static struct qb_report_part *part_of(struct qb_reports *r, struct qb_report_file *file,
                                      struct qb_read_run *of)
{
    struct qb_report_part *last = file->parts ? &r->parts.items[r->parts.n - 1] : NULL;

    if (last && of->told && last->of.told ? is_same_run(&last->of, of) : last && !last->closed)
        return last;
    if (!qb_vec_push(&r->parts, (struct qb_report_part){0}))
        return NULL;
    if (file->parts++ == 0)
        file->first_part = r->parts.n - 1;
    return &r->parts.items[r->parts.n - 1];
}

static void learn(struct qb_report_part *part, struct qb_read_run *of)
{
    if (!of->told || part->of.told)
        return;
    part->of = *of;
    *of = (struct qb_read_run){0};
}

static bool note_image(struct qb_reports *r, struct qb_report_file *file, struct qb_read_line *line)
{
    struct qb_report_part *part = part_of(r, file, &line->of);
    bool dry = line->outcome.result.status == QB_STATUS_WOULD_CHANGE;
    struct qb_request none;

    if (!part)
        return false;
    learn(part, &line->of);
    qb_request_init(&none);
    part->images++;
    part->seconds = qb_max_double(part->seconds, qb_timing_end(&line->outcome.timing));
    part->dry_run |= dry;
    r->sum.dry_run |= dry;
    r->batch.policy.owner_need_not_read |= line->owner_need_not_read;
    if (!qb_batch_add(&r->batch, line->path, 0, &none))
        return false;
    r->batch.jobs[r->batch.n_jobs - 1].dev = line->dev;
    r->batch.jobs[r->batch.n_jobs - 1].ino = line->ino;
    return qb_vec_push(&r->lines, (struct qb_joined_line){.part = (size_t)(part - r->parts.items),
                                                          .status = line->outcome.result.status});
}

static void take_orders(struct qb_report_part *part, qb_orders *orders)
{
    qb_orders_free(&part->orders);
    part->orders = *orders;
    *orders = (qb_orders){0};
}

/* Merged shards are in one file, with one summary. */
static void note_ended(struct qb_reports *r, const struct qb_report_file *file,
                       struct qb_read_line *line)
{
    for (size_t i = file->first_part; i < file->first_part + file->parts; i++) {
        struct qb_report_part *p = &r->parts.items[i];

        qb_vec_each (part, &line->parts) {
            const struct qb_shard *shard = &part->of.origin.shard;

            p->closed |= part->ended && shard->of && shard->of == p->of.origin.shard.of &&
                         shard->number == p->of.origin.shard.number;
            if (!p->rollout && is_same_run(&p->of, &part->of))
                p->rollout = qb_take(&part->rollout);
            if (is_same_run(&p->of, &part->of))
                take_orders(p, &part->orders);
        }
    }
}

static bool note_summary(struct qb_reports *r, struct qb_report_file *file,
                         struct qb_read_line *line)
{
    struct qb_report_part *part;

    if (line->is_total) {
        note_ended(r, file, line);
        return true;
    }
    part = part_of(r, file, &line->of);
    if (!part)
        return false;
    learn(part, &line->of);
    part->closed = true;
    free(part->rollout);
    part->rollout = qb_take(&line->rollout);
    take_orders(part, &line->orders);
    part->seconds = QB_MAX(part->seconds, line->seconds);
    part->dry_run |= line->dry_run;
    r->sum.dry_run |= line->dry_run;
    return true;
}

static bool is_of_shard(const struct qb_reports *r, const struct qb_report_file *file)
{
    return file->parts && r->parts.items[r->parts.n - 1].of.origin.shard.of;
}

static bool check_line(struct qb_reports *r, struct qb_report_file *file, const char *text,
                       size_t len, size_t number)
{
    struct qb_read_line line;
    const char *wrong = qb_line_read(text, len, &line);
    bool ok = true;

    if (wrong && r->cut && is_of_shard(r, file)) /* its run was killed: that is said later */
        return true;
    if (wrong && r->cut && number == 1 && text[0] == '{') { /* perhaps, by the other reports */
        file->torn = true;
        return true;
    }
    if (wrong) {
        complain(r, file->path, number, wrong);
        return true; /* the others are reported too */
    }
    if (line.kind == QB_READ_SUMMARY)
        ok = note_summary(r, file, &line);
    else
        ok = note_image(r, file, &line);
    qb_line_free(&line);
    if (!ok)
        complain(r, file->path, number, "out of memory");
    return ok;
}

/* Shards work side by side: they took from the first one's start to the last one's end.  Images
 * that are in two reports of a shard count once. */
static bool join_shards(struct qb_reports *r)
{
    double end = 0;

    if (!qb_joined_shards_find(&r->shards, &r->batch, r->lines.items, r->lines.n, r->shown.items,
                               r->shown.n))
        return false;
    qb_vec_each (line, &r->lines)
        r->shown.items[line->part].images -= line->left_out;
    if (!r->shards.of)
        return true;
    for (size_t i = 0; i < r->shown.n; i++) {
        const struct qb_part *p = &r->shown.items[i];

        r->began = i == 0 || p->origin->started < r->began ? p->origin->started : r->began;
        end = QB_MAX(end, p->origin->started + p->seconds);
    }
    r->sum.seconds = end - r->began;
    return true;
}

/* What one run was, the report of it is too; of several, each has its own. */
static bool name_all(struct qb_reports *r)
{
    const char *slash = strrchr(r->files[0].path, '/');
    struct qb_report_part *first = r->parts.n ? &r->parts.items[0] : NULL;

    for (size_t i = 0, file = 0; i < r->parts.n; i++) {
        struct qb_report_part *p = &r->parts.items[i];

        while (i >= r->files[file].first_part + r->files[file].parts)
            file++;
        r->sum.seconds += p->seconds;
        if (!qb_vec_push(&r->shown, (struct qb_part){.name = p->of.name,
                                                     .manifest = p->of.manifest,
                                                     .run = p->of.run,
                                                     .file = r->files[file].path,
                                                     .origin = &p->of.origin,
                                                     .seconds = p->seconds,
                                                     .images = p->images,
                                                     .dry_run = p->dry_run,
                                                     .ended = p->closed,
                                                     .rollout = p->rollout,
                                                     .orders = &p->orders}))
            return false;
    }
    if (!join_shards(r))
        return false;
    qb_reports_judge(r);
    if (r->parts.n > 1)
        return qb_reports_take_common(r);
    if (first && first->of.name)
        r->batch.name = strdup(first->of.name);
    else
        r->batch.name = strdup(slash ? slash + 1 : r->files[0].path);
    if (!first)
        return r->batch.name;
    r->batch.manifest_path = first->of.manifest ? strdup(first->of.manifest) : NULL;
    snprintf(r->batch.run_id, sizeof(r->batch.run_id), "%s", first->of.run ? first->of.run : "");
    r->batch.origin = first->of.origin;
    first->of.origin = (struct qb_origin){.started = r->batch.origin.started};
    r->shown.items[0].origin = &r->batch.origin;
    return r->batch.name;
}

/* Among the reports of shards, one without a whole line is of a shard that is missing. */
static bool judge_torn(struct qb_reports *r)
{
    for (size_t i = 0; r->shards.of == 0 && i < r->n_files; i++)
        if (r->files[i].torn)
            complain(r, r->files[i].path, 1, "it is cut off within its first line");
    return r->complaints == 0;
}

bool qb_reports_read(struct qb_reports *r, const struct qb_cli *cli)
{
    r->files = calloc(cli->n_operands - 1, sizeof(r->files[0]));
    if (!r->files)
        return false;
    for (size_t i = 1; i < cli->n_operands; i++) {
        struct qb_report_file *file = &r->files[r->n_files++];

        *file = (struct qb_report_file){
            .path = cli->operands[i], .f = open_twice(cli->operands[i]), .first_part = r->parts.n};
        if (!file->f)
            complain(r, file->path, 0, strerror(errno));
        else if (!qb_reports_each_line(r, file, check_line))
            break;
    }
    if (r->complaints > COMPLAINTS_MAX)
        fprintf(stderr, "qbatch report: and %u more\n", r->complaints - COMPLAINTS_MAX);
    return r->complaints == 0 && name_all(r) && judge_torn(r);
}

struct qb_telling qb_reports_telling(const struct qb_reports *r)
{
    return (struct qb_telling){.batch = &r->batch,
                               .sum = &r->sum,
                               .parts = r->shown.items,
                               .n_parts = r->shown.n,
                               .shards = &r->shards};
}

void qb_reports_next(struct qb_reports *r)
{
    if (r->left == 0)
        for (size_t i = r->part; r->left == 0 && i < r->parts.n; i++) {
            r->part = i + 1;
            r->left = r->parts.items[i].images;
        }
    r->left--;
}

void qb_reports_free(struct qb_reports *r)
{
    for (size_t i = 0; i < r->n_files; i++)
        if (r->files[i].f)
            fclose(r->files[i].f);
    free(r->files);
    qb_vec_each (p, &r->parts) {
        qb_read_run_free(&p->of);
        free(p->rollout);
        qb_orders_free(&p->orders);
    }
    qb_vec_free(&r->parts);
    qb_vec_free(&r->shown);
    qb_vec_free(&r->lines);
    qb_joined_shards_free(&r->shards);
    qb_batch_free(&r->batch);
}
