#include "record/joined_shards.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/index.h"
#include "base/own.h"
#include "shard/shard.h"
#include "util/text.h"

enum { RANGES_LISTED = 40 };

struct joining {
    struct qb_joined_shards *j;
    const struct qb_batch *batch;
    struct qb_joined_line *lines;
    size_t n;
    const struct qb_part *parts;
    size_t n_parts;
};

void qb_joined_shards_free(struct qb_joined_shards *j)
{
    qb_vec_each (sentence, &j->sentences)
        free(*sentence);
    qb_vec_free(&j->sentences);
    qb_vec_free(&j->missing);
    qb_vec_free(&j->unfinished);
    qb_vec_free(&j->overlapping);
    qb_vec_free(&j->in_two);
}

static struct qb_shard shard_of(const struct joining *x, size_t part)
{
    return x->parts[part].origin->shard;
}

/* Whether two runs had the same images to amend. */
static bool are_one_shard(const struct joining *x, size_t a, size_t b)
{
    struct qb_shard p = shard_of(x, a), q = shard_of(x, b);

    return p.of && p.of == q.of && p.number == q.number &&
           qb_text_same(x->parts[a].name, x->parts[b].name);
}

/* ---- each image once ------------------------------------------------------------------------- */

static bool is_newer(const struct joining *x, size_t a, size_t b)
{
    double p = x->parts[x->lines[a].part].origin->started;
    double q = x->parts[x->lines[b].part].origin->started;

    return p != q ? p > q : a > b;
}

/* Which of two lines about an image does not count. */
static size_t lesser(const struct joining *x, size_t a, size_t b)
{
    size_t newer = is_newer(x, a, b) ? a : b, older = newer == a ? b : a;

    return x->lines[newer].status == QB_STATUS_UNCHANGED &&
                   x->lines[older].status == QB_STATUS_CHANGED
               ? newer
               : older;
}

/* The line that counts of the image so far, which may be the new one. */
static bool count_once(struct joining *x, struct qb_index *paths, size_t line)
{
    const char *path = x->batch->jobs[line].path;
    struct qb_probe p = qb_index_probe(paths, qb_key_of_text(path));

    while (qb_index_next(paths, &p))
        if (!x->lines[p.item].left_out && qb_text_same(x->batch->jobs[p.item].path, path) &&
            are_one_shard(x, x->lines[p.item].part, x->lines[line].part))
            x->lines[lesser(x, p.item, line)].left_out = true;
    if (x->lines[line].left_out)
        return true;
    if (!qb_index_room(paths, 1))
        return false;
    qb_index_add(paths, qb_key_of_text(path), line);
    return true;
}

static bool count_each_once(struct joining *x)
{
    struct qb_index paths = {0};
    bool ok = true;

    for (size_t i = 0; ok && i < x->n; i++)
        if (shard_of(x, x->lines[i].part).of)
            ok = count_once(x, &paths, i);
    qb_index_free(&paths);
    return ok;
}

/* ---- one file in two shards ------------------------------------------------------------------ */

/* An inode says something on its own host alone; a path is named by one shard. */
static bool is_one_file(const struct joining *x, size_t a, size_t b)
{
    const struct qb_job *p = &x->batch->jobs[a], *q = &x->batch->jobs[b];
    const struct qb_origin *on = x->parts[x->lines[a].part].origin;
    const struct qb_origin *at = x->parts[x->lines[b].part].origin;

    return qb_text_same(p->path, q->path) ||
           (p->ino && p->ino == q->ino && p->dev == q->dev && qb_text_same(on->host, at->host));
}

static bool look_up_file(struct joining *x, struct qb_index *files, uint64_t key, size_t line)
{
    struct qb_probe p = qb_index_probe(files, key);

    while (qb_index_next(files, &p))
        if (!are_one_shard(x, x->lines[p.item].part, x->lines[line].part) &&
            is_one_file(x, p.item, line))
            return qb_vec_push(&x->j->in_two, (struct qb_in_two){p.item, line});
    if (!qb_index_room(files, 1))
        return false;
    qb_index_add(files, key, line);
    return true;
}

static bool find_in_two(struct joining *x)
{
    struct qb_index files = {0}, paths = {0};
    bool ok = true;

    for (size_t i = 0; ok && i < x->n; i++) {
        const struct qb_job *job = &x->batch->jobs[i];
        size_t found = x->j->in_two.n;

        if (x->lines[i].left_out || !shard_of(x, x->lines[i].part).of)
            continue;
        ok = look_up_file(x, &paths, qb_key_of_text(job->path), i);
        if (ok && job->ino && x->j->in_two.n == found)
            ok = look_up_file(x, &files, qb_key_of_file(job->dev, job->ino), i);
    }
    qb_index_free(&files);
    qb_index_free(&paths);
    return ok;
}

/* ---- the shards ------------------------------------------------------------------------------ */

/* The division that most runs have. */
static void find_division(struct joining *x)
{
    size_t most = 0;

    for (size_t i = 0; i < x->n_parts; i++) {
        unsigned of = shard_of(x, i).of;
        size_t n = 0;

        for (size_t k = 0; of && k < x->n_parts; k++)
            n += shard_of(x, k).of == of;
        if (n > most) {
            most = n;
            x->j->of = of;
        }
    }
    for (size_t i = 0; x->j->of && i < x->n_parts; i++)
        x->j->mixed |= shard_of(x, i).of != x->j->of;
}

/* Whether an earlier report of the same run has its end too: the run was interrupted, or waited for
 * an answer, and was resumed. */
static bool has_ended_before(const struct joining *x, size_t part)
{
    const char *run = x->parts[part].run;

    for (size_t i = 0; run && *run && i < part; i++)
        if (x->parts[i].ended && qb_text_same(x->parts[i].run, run) && are_one_shard(x, i, part))
            return true;
    return false;
}

/* What there is of a shard: how many of its runs ended, and whether the newest one did. */
struct there {
    unsigned ended;
    bool any, newest_ended;
    double newest;
};

static bool find_shards(struct joining *x)
{
    struct qb_joined_shards *j = x->j;
    QB_AUTO(qb_buf) struct there *there = calloc(j->of + 1, sizeof(*there));
    bool ok = there;

    for (size_t i = 0; ok && i < x->n_parts; i++) {
        const struct qb_part *p = &x->parts[i];
        struct there *t = &there[p->origin->shard.number];

        if (p->origin->shard.of != j->of)
            continue;
        t->ended += p->ended && !has_ended_before(x, i);
        if (!t->any || p->origin->started > t->newest) {
            t->newest_ended = p->ended;
            t->newest = p->origin->started;
        } else if (p->origin->started == t->newest) {
            t->newest_ended |= p->ended; /* reports tell whole seconds */
        }
        t->any = true;
    }
    for (unsigned k = 1; ok && k <= j->of; k++) {
        if (!there[k].any)
            ok = qb_vec_push(&j->missing, k);
        else if (!there[k].newest_ended)
            ok = qb_vec_push(&j->unfinished, k);
        else if (there[k].ended > 1)
            ok = qb_vec_push(&j->overlapping, k);
    }
    return ok;
}

/* ---- sentences ------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static bool add_sentence(struct qb_joined_shards *j,
                                                               const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n >= 0 && qb_vec_push(&j->sentences, text))
        return true;
    free(n < 0 ? NULL : text);
    return false;
}

/* "4, 7-9"; malloc'ed. */
static char *ranges(const unsigned *numbers, size_t n)
{
    char *text = NULL;
    size_t len = 0, listed = 0;
    FILE *f = open_memstream(&text, &len);

    for (size_t i = 0, end; f && i < n; i = end) {
        for (end = i + 1; end < n && numbers[end] == numbers[end - 1] + 1;)
            end++;
        if (listed++ == RANGES_LISTED) {
            fputs(", ...", f);
            break;
        }
        fprintf(f, "%s%u", i ? ", " : "", numbers[i]);
        if (end - i > 1)
            fprintf(f, "-%u", numbers[end - 1]);
    }
    if (f)
        fclose(f);
    return text;
}

static bool say_numbers(struct qb_joined_shards *j, const unsigned *numbers, size_t n,
                        const char *one, const char *many)
{
    QB_AUTO(qb_buf) char *text = n ? ranges(numbers, n) : NULL;

    return n == 0 || (text && add_sentence(j, "%zu of %u shards %s: %s", n, j->of,
                                           n == 1 ? one : many, text));
}

static bool say_in_two(struct joining *x)
{
    struct qb_joined_shards *j = x->j;
    char a[QB_SHARD_TEXT], b[QB_SHARD_TEXT];

    for (size_t i = 0; i < j->in_two.n && i < QB_IN_TWO_LISTED; i++) {
        struct qb_in_two t = j->in_two.items[i];

        if (!add_sentence(
                j, "one file is in two shards: %s (%s) and %s (%s)", x->batch->jobs[t.first].path,
                qb_shard_text(shard_of(x, x->lines[t.first].part), a), x->batch->jobs[t.other].path,
                qb_shard_text(shard_of(x, x->lines[t.other].part), b)))
            return false;
    }
    return j->in_two.n <= QB_IN_TWO_LISTED ||
           add_sentence(j, "and %zu more files are in two shards", j->in_two.n - QB_IN_TWO_LISTED);
}

static bool say_all(struct joining *x)
{
    struct qb_joined_shards *j = x->j;

    if (j->mixed &&
        !add_sentence(j,
                      "some reports are not of one of %u shards: they divide the fleet in "
                      "another way, or not at all",
                      j->of))
        return false;
    return say_numbers(j, j->missing.items, j->missing.n, "is missing", "are missing") &&
           say_numbers(j, j->unfinished.items, j->unfinished.n,
                       "did not come to its end (killed, or still under way)",
                       "did not come to their end (killed, or still under way)") &&
           say_numbers(j, j->overlapping.items, j->overlapping.n, "is there more than once",
                       "are there more than once") &&
           say_in_two(x);
}

/* ---- all of it ------------------------------------------------------------------------------- */

bool qb_joined_shards_find(struct qb_joined_shards *j, const struct qb_batch *batch,
                           struct qb_joined_line *lines, size_t n, const struct qb_part *parts,
                           size_t n_parts)
{
    struct joining x = {j, batch, lines, n, parts, n_parts};

    *j = (struct qb_joined_shards){0};
    find_division(&x);
    if (!j->of)
        return true;
    return count_each_once(&x) && find_in_two(&x) && find_shards(&x) && say_all(&x);
}

int qb_joined_shards_exit_code(const struct qb_joined_shards *j, int code)
{
    if (code == QB_EXIT_MISTRUSTED)
        return code;
    if (j->missing.n || j->unfinished.n)
        return QB_EXIT_INTERRUPTED;
    if ((j->mixed || j->overlapping.n || j->in_two.n) && code != QB_EXIT_INTERRUPTED)
        return QB_EXIT_FAILED;
    return code;
}
