#include "show/json.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "clock/stats.h"

/* Where memory is short jansson gives NULL for what cannot be made, and refuses it as a member: one
 * look at the end tells. */
/* 1 or 0, for `&`: each value is made, and so taken over, whatever became of those before. */
static int set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static json_t *real(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *reals(const double *values, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, real(values[i]));
    return array;
}

/* ---- writing --------------------------------------------------------------------------------- */

static json_t *parameters(const struct bench_record *r)
{
    json_t *object = json_object();
    char buf[32];

    for (enum bench_param p = 0; p < BENCH_PARAM_COUNT; p++) {
        uint64_t v = r->values.v[p];
        bool number = bench_params[p].kind != BENCH_KIND_WORD && v <= INT64_MAX;

        if (bench_cases[r->which].params & 1u << p)
            set(object, bench_params[p].name,
                number ? json_integer((json_int_t)v)
                       : json_string(bench_value_text(p, v, buf, sizeof(buf))));
    }
    return object;
}

static int set_usage(json_t *object, const struct bench_record *r)
{
    json_t *codes = json_array(), *memory = json_array();
    double user = 0, system = 0;

    for (size_t i = 0; i < r->n; i++) {
        user += r->runs[i].user / (double)r->n;
        system += r->runs[i].system / (double)r->n;
        json_array_append_new(codes, json_integer(r->runs[i].exit_code));
        json_array_append_new(memory, json_integer((json_int_t)r->runs[i].max_rss));
    }
    return set(object, "user", real(user)) & set(object, "system", real(system)) &
           set(object, "memory_usage_byte", memory) & set(object, "exit_codes", codes);
}

static int set_times(json_t *object, const struct bench_record *r)
{
    QB_AUTO(qb_buf) double *seconds = bench_record_seconds(r);
    struct bench_summary s;

    if (!seconds)
        return 0;
    s = bench_summarize(seconds, r->n);
    return set(object, "mean", real(s.mean)) & set(object, "stddev", real(s.stddev)) &
           set(object, "median", real(s.median)) & set_usage(object, r) &
           set(object, "min", real(s.min)) & set(object, "max", real(s.max)) &
           set(object, "times", reals(seconds, r->n)) &
           set(object, "clusters_per_second", real((double)r->clusters / s.median)) &
           set(object, "guest_bytes_per_second", real((double)r->guest_bytes / s.median)) &
           set(object, "images_per_second", real((double)r->images / s.median));
}

/* Seconds of each bare program that was tried. */
static json_t *methods(const struct bench_record *r)
{
    json_t *object = json_object();

    for (size_t m = 0; m < BENCH_LIMIT_METHODS; m++) {
        if (r->trials[m] > 0)
            set(object, bench_limit_methods[m].name, json_real(r->trials[m]));
    }
    return object;
}

static json_t *result(const struct bench_record *r)
{
    json_t *object = json_object();
    int ok = set(object, "command", json_string(r->command ? r->command : "")) &
             set_times(object, r) & set(object, "parameters", parameters(r)) &
             set(object, "case", json_string(bench_cases[r->which].name)) &
             set(object, "title", json_string(r->title)) &
             set(object, "contender", json_string(r->who)) &
             set(object, "caches_dropped", json_string(r->cooled ? r->cooled : "no")) &
             set(object, "clusters", json_integer((json_int_t)r->clusters)) &
             set(object, "guest_bytes", json_integer((json_int_t)r->guest_bytes)) &
             set(object, "images", json_integer((json_int_t)r->images));

    if (r->instructions)
        ok &= set(object, "instructions", json_integer((json_int_t)r->instructions));
    if (r->method)
        ok &= set(object, "method", json_string(r->method)) & set(object, "methods", methods(r));
    if (r->ratios)
        ok &= set(object, "ratios", reals(r->ratios, r->n)) &
              set(object, "median_ratio", real(bench_median(r->ratios, r->n)));
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *environment(const struct bench_env *e)
{
    return json_pack("{ss ss ss si sI ss ss ss ss ss ss sf}", "date", e->date, "cpu", e->cpu,
                     "kernel", e->kernel, "cpus", (int)e->cpus, "memory_bytes",
                     (json_int_t)e->memory_bytes, "device", e->device, "filesystem", e->filesystem,
                     "mount_options", e->mount_options, "qbatch", e->qbatch, "other", e->other,
                     "qemu_img", e->qemu_img, "load_average", e->load);
}

static json_t *document(const struct bench_env *env, const struct bench_records *records)
{
    json_t *root = json_object(), *results = json_array();
    int ok = 1;

    for (const struct bench_record *r = records->items; r < records->items + records->n; r++)
        ok &= json_array_append_new(results, result(r)) == 0;
    ok &= set(root, "results", results);
    ok &= set(root, "environment", environment(env));
    if (ok)
        return root;
    json_decref(root);
    return NULL;
}

static int dump(const json_t *root, const char *path, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *fresh = NULL;
    size_t how = JSON_INDENT(2) | JSON_REAL_PRECISION(9);
    FILE *f;
    bool ok;

    if (!strcmp(path, "-"))
        return json_dumpf(root, stdout, how) < 0 || putchar('\n') < 0
                   ? qb_fail_sys(err, errno, QB_NOWHERE, "cannot write")
                   : 0;
    if (asprintf(&fresh, "%s.new", path) < 0)
        return qb_fail_memory(err);
    f = fopen(fresh, "we");
    if (!f)
        return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot create", fresh);
    ok = json_dumpf(root, f, how) == 0 && fputc('\n', f) != EOF;
    ok = fclose(f) == 0 && ok && rename(fresh, path) == 0;
    if (ok)
        return 0;
    unlink(fresh);
    return qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot write", path);
}

int bench_json_write(const char *path, const struct bench_env *env,
                     const struct bench_records *records, struct qb_err *err)
{
    json_t *root = document(env, records);
    int r;

    if (!root)
        return qb_fail_memory(err);
    r = dump(root, path, err);
    json_decref(root);
    return r;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool take_numbers(const json_t *array, size_t n, double *out)
{
    if (json_array_size(array) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(array, i)))
            return false;
        out[i] = json_number_value(json_array_get(array, i));
    }
    return true;
}

static bool take_result(const json_t *object, struct bench_records *records)
{
    const char *title = json_string_value(json_object_get(object, "title"));
    const char *who = json_string_value(json_object_get(object, "contender"));
    const json_t *times = json_object_get(object, "times");
    const json_t *ratios = json_object_get(object, "ratios");
    const json_t *count = json_object_get(object, "instructions");
    size_t n = json_array_size(times);
    struct bench_record *r;

    if (!title || !who || !json_is_array(times))
        return false;
    r = bench_records_add(records, n);
    if (!r || strlen(title) >= sizeof(r->title) || strlen(who) >= sizeof(r->who))
        return false;
    r->instructions = (uint64_t)json_integer_value(count);
    strcpy(r->title, title);
    strcpy(r->who, who);
    if (!take_numbers(times, n, r->ratios)) /* lent */
        return false;
    for (size_t i = 0; i < n; i++)
        r->runs[i].seconds = r->ratios[i];
    if (ratios)
        return take_numbers(ratios, n, r->ratios);
    free(r->ratios);
    r->ratios = NULL;
    return true;
}

int bench_json_read(const char *path, struct bench_records *records, struct qb_err *err)
{
    json_error_t e;
    json_t *root = json_load_file(path, 0, &e);
    const json_t *results = json_object_get(root, "results");
    int r = 0;

    if (!root)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%s:%d: %s", path, e.line, e.text);
    if (!json_is_array(results))
        r = qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%s: there are no results in it", path);
    for (size_t i = 0; r == 0 && i < json_array_size(results); i++) {
        if (!take_result(json_array_get(results, i), records))
            r = qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%s: result %zu is not one of ours", path,
                        i + 1);
    }
    json_decref(root);
    return r;
}
