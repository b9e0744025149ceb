#include "common/overrides.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "manifest/manifest.h"
#include "manifest/o_option.h"
#include "job/rules.h"
#include "util/text.h"

static int complain(const char *what, const char *word, size_t len)
{
    QB_AUTO(qb_buf) char *copy = strndup(word, len);

    fputs("qbatch: ", stderr);
    if (copy) {
        fputc('"', stderr);
        qb_text_safe(stderr, copy);
        fputs("\" ", stderr);
    }
    fprintf(stderr, "%s\n", what);
    return -1;
}

/* ---- --set ----------------------------------------------------------------------------------- */

static int set_all(const struct qb_cli *cli, struct qb_batch *batch, struct qb_request *rq)
{
    uint64_t listed = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < cli->sets.n; i++) {
        struct qb_diags diags;

        r = qb_options_parse(cli->sets.items[i], batch, rq, &listed, &diags);
        free(diags.file);
        diags.file = strdup("--set");
        qb_diags_render(&diags, stderr);
        qb_diags_free(&diags);
        if (r == QB_OPTIONS_HELP)
            r = complain("is not KEY=VALUE", cli->sets.items[i], strlen(cli->sets.items[i]));
    }
    return r;
}

static int check_rules(const struct qb_job *job)
{
    if (job->rules && job->rules->moves && job->request.set & QB_KEY_BACKING_FILE)
        return complain("cannot be set: the image's entry has \"backing\"", "backing_file", 12);
    return 0;
}

/* The images of one entry have one request, and get one again. */
static int apply_sets(const struct qb_cli *cli, struct qb_batch *batch)
{
    struct qb_request before = {0};

    for (size_t i = 0; i < batch->n_jobs && cli->sets.n; i++) {
        struct qb_job *job = &batch->jobs[i];
        bool same = i > 0 && memcmp(&before, &job->request, sizeof(before)) == 0;

        before = job->request;
        if (same)
            job->request = job[-1].request;
        else if (set_all(cli, batch, &job->request) < 0)
            return -1;
        if (check_rules(job) < 0)
            return -1;
    }
    return 0;
}

/* ---- tags ------------------------------------------------------------------------------------ */

static bool has_tag(const struct qb_job *job, const char *tag, size_t len)
{
    const char *const *t = job->rules ? job->rules->tags : NULL;

    for (; t && *t; t++)
        if (strlen(*t) == len && memcmp(*t, tag, len) == 0)
            return true;
    return false;
}

/* Calls fn for each word of a list with commas until it returns true; whether it did. */
static bool any_word(const char *list, bool (*fn)(const void *arg, const char *word, size_t len),
                     const void *arg)
{
    while (*list) {
        size_t len = strcspn(list, ",");

        if (len > 0 && fn(arg, list, len))
            return true;
        list += len + (list[len] == ',');
    }
    return false;
}

static bool job_has(const void *arg, const char *tag, size_t len)
{
    return has_tag(arg, tag, len);
}

/* The tag of some entry that was probably meant, or NULL. */
static const char *nearest_tag(const struct qb_batch *batch, const char *tag, size_t len)
{
    QB_AUTO(qb_buf) char *word = strndup(tag, len);
    const char *near = NULL;

    for (size_t i = 0; word && !near && i < batch->n_jobs; i++) {
        const struct qb_rules *rules = batch->jobs[i].rules;

        if (rules && rules->tags && (i == 0 || rules != batch->jobs[i - 1].rules))
            near = qb_text_nearest(word, rules->tags);
    }
    return near;
}

/* Whether no entry has the tag: a mistake, most likely of spelling. */
static bool is_unknown(const void *arg, const char *tag, size_t len)
{
    const struct qb_batch *batch = arg;
    char words[200] = "is the tag of no entry";
    const char *near;

    for (size_t i = 0; i < batch->n_jobs; i++)
        if (has_tag(&batch->jobs[i], tag, len))
            return false;
    near = nearest_tag(batch, tag, len);
    if (near)
        snprintf(words, sizeof(words), "is the tag of no entry; did you mean \"%s\"?", near);
    complain(words, tag, len);
    return true;
}

bool qb_tags_want(const struct qb_cli *cli, const struct qb_job *job)
{
    const char *tags = qb_cli_text(cli, QB_OPTION_TAGS);
    const char *skipped = qb_cli_text(cli, QB_OPTION_SKIP_TAGS);

    return (!tags || any_word(tags, job_has, job)) && !(skipped && any_word(skipped, job_has, job));
}

int qb_tags_check(const struct qb_cli *cli, const struct qb_batch *batch)
{
    const char *tags = qb_cli_text(cli, QB_OPTION_TAGS);
    const char *skipped = qb_cli_text(cli, QB_OPTION_SKIP_TAGS);

    if ((tags && any_word(tags, is_unknown, batch)) ||
        (skipped && any_word(skipped, is_unknown, batch)))
        return -1;
    for (size_t i = 0; i < batch->n_jobs; i++)
        if (qb_tags_want(cli, &batch->jobs[i]))
            return 0;
    return tags || skipped
               ? complain("leaves no image", tags ? tags : skipped, strlen(tags ? tags : skipped))
               : 0;
}

static int apply_tags(const struct qb_cli *cli, struct qb_batch *batch)
{
    size_t n = 0;

    if (qb_tags_check(cli, batch) < 0)
        return -1;
    for (size_t i = 0; i < batch->n_jobs; i++) {
        if (qb_tags_want(cli, &batch->jobs[i]))
            batch->jobs[n++] = batch->jobs[i];
        else
            free(batch->jobs[i].path);
    }
    batch->n_jobs = n;
    return 0;
}

int qb_narrow(const struct qb_cli *cli, struct qb_batch *batch)
{
    return apply_sets(cli, batch) < 0 ? -1 : apply_tags(cli, batch);
}

/* An option's key is set in the batch and in the request of each image. */
static void override(struct qb_batch *batch, const struct qb_key_row *key, const char *text)
{
    struct qb_settings settings = {.policy = batch->policy, .limits = batch->limits};
    bool is_of_request = key->field >= offsetof(struct qb_settings, request);
    struct qb_why why;

    qb_setting_set(key, text, &settings, &why); /* the text was checked when it was parsed */
    batch->policy = settings.policy;
    batch->limits = settings.limits;
    for (size_t i = 0; is_of_request && i < batch->n_jobs; i++) {
        settings.request = batch->jobs[i].request;
        qb_setting_set(key, text, &settings, &why);
        batch->jobs[i].request = settings.request;
    }
}

void qb_override(const struct qb_cli *cli, struct qb_batch *batch)
{
    if (cli->roots.n)
        batch->policy.roots = (struct qb_name_list){cli->roots.items, cli->roots.n};
    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        const struct qb_key_row *key = qb_cli_setting_of((enum qb_option)i);

        if (key && qb_cli_has(cli, (enum qb_option)i))
            override(batch, key, qb_cli_text(cli, (enum qb_option)i));
    }
}

void qb_override_limits(const struct qb_cli *cli, struct qb_limits *limits)
{
    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        const struct qb_key_row *key = qb_cli_setting_of((enum qb_option)i);

        if (key && key->section == QB_SECTION_limits && qb_cli_has(cli, (enum qb_option)i))
            qb_limit_set(key, qb_cli_text(cli, (enum qb_option)i), limits);
    }
}

/* ---- a manifest ------------------------------------------------------------------------------ */

int qb_command_load(const struct qb_cli *cli, struct qb_batch *batch)
{
    const struct qb_typed typed = {cli->sets.n > 0, {cli->roots.items, cli->roots.n}};
    struct qb_diags diags;
    int r = qb_manifest_load(cli->operands[0], &typed, batch, &diags);

    qb_diags_render(&diags, stderr);
    qb_diags_free(&diags);
    return r < 0 ? -1 : qb_narrow(cli, batch);
}
