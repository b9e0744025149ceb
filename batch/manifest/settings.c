#include "manifest/settings.h"

#include <string.h>

enum { JOBS_MAX = 4096, IOPS_MAX = 1000000000 };
#define MEMORY_MIN (UINT64_C(1) << 20)

typedef struct qb_settings settings;

static bool set_on_error(const char *text, settings *out, struct qb_why *why)
{
    static const char *const words[] = {"continue", "stop", NULL};
    unsigned word;

    if (!qb_scalar_word(text, words, &word, why))
        return false;
    out->policy.on_error = word ? QB_ON_ERROR_STOP : QB_ON_ERROR_CONTINUE;
    return true;
}

static bool set_on_locked(const char *text, settings *out, struct qb_why *why)
{
    static const char *const words[] = {"skip", "fail", "wait", NULL};
    static const enum qb_on_locked meant[] = {QB_ON_LOCKED_SKIP, QB_ON_LOCKED_FAIL,
                                              QB_ON_LOCKED_WAIT};
    unsigned word;

    if (!qb_scalar_word(text, words, &word, why))
        return false;
    out->policy.on_locked = meant[word];
    return true;
}

static bool set_lock_timeout(const char *text, settings *out, struct qb_why *why)
{
    return qb_scalar_seconds(text, &out->policy.lock_timeout_seconds, why);
}

static bool set_on_no_locks(const char *text, settings *out, struct qb_why *why)
{
    static const char *const words[] = {"fail", "continue", NULL};
    unsigned word;

    if (!qb_scalar_word(text, words, &word, why))
        return false;
    out->request.without_locks = word == 1;
    return true;
}

static bool set_on_dirty(const char *text, settings *out, struct qb_why *why)
{
    static const char *const words[] = {"repair", "fail", NULL};
    unsigned word;

    if (!qb_scalar_word(text, words, &word, why))
        return false;
    out->request.fail_if_dirty = word == 1;
    return true;
}

static bool set_on_leaks(const char *text, settings *out, struct qb_why *why)
{
    static const char *const words[] = {"keep", "free", "fail", NULL};
    unsigned word;

    if (!qb_scalar_word(text, words, &word, why))
        return false;
    out->request.on_leaks = (enum qb_on_leaks[]){QB_LEAKS_KEEP, QB_LEAKS_FREE, QB_LEAKS_FAIL}[word];
    return true;
}

static bool set_allow_shrink(const char *text, settings *out, struct qb_why *why)
{
    return qb_scalar_bool(text, &out->request.allow_shrink, why);
}

static bool set_verify(const char *text, settings *out, struct qb_why *why)
{
    static const char *const words[] = {"none", "metadata", "content", NULL};
    unsigned word;

    if (!qb_scalar_word(text, words, &word, why))
        return false;
    out->request.verify =
        (enum qb_verify[]){QB_VERIFY_NONE, QB_VERIFY_METADATA, QB_VERIFY_CONTENT}[word];
    return true;
}

static bool set_backup(const char *text, settings *out, struct qb_why *why)
{
    static const char *const words[] = {"none", "reflink", NULL};
    unsigned word;

    if (!qb_scalar_word(text, words, &word, why))
        return false;
    out->policy.backup = word ? QB_BACKUP_REFLINK : QB_BACKUP_NONE;
    return true;
}

static bool set_drop_bitmaps(const char *text, settings *out, struct qb_why *why)
{
    return qb_scalar_bool(text, &out->request.drop_bitmaps, why);
}

static bool set_owner_must_read(const char *text, settings *out, struct qb_why *why)
{
    bool on;

    if (!qb_scalar_bool(text, &on, why))
        return false;
    out->policy.owner_need_not_read = out->request.owner_need_not_read = !on;
    return true;
}

static bool set_sync(const char *text, settings *out, struct qb_why *why)
{
    static const char *const words[] = {"auto", "file", "fs", NULL};
    unsigned word;

    if (!qb_scalar_word(text, words, &word, why))
        return false;
    out->policy.sync = (enum qb_sync[]){QB_SYNC_AUTO, QB_SYNC_FILE, QB_SYNC_FS}[word];
    return true;
}

static bool number_or_auto(const char *text, unsigned *out, struct qb_why *why)
{
    uint64_t n = 0;

    if (strcmp(text, "auto") != 0 && !qb_scalar_number(text, 1, JOBS_MAX, &n, why))
        return false;
    *out = (unsigned)n;
    return true;
}

static bool set_jobs(const char *text, settings *out, struct qb_why *why)
{
    return number_or_auto(text, &out->limits.jobs, why);
}

static bool set_jobs_per_filesystem(const char *text, settings *out, struct qb_why *why)
{
    return number_or_auto(text, &out->limits.jobs_per_filesystem, why);
}

static bool set_memory(const char *text, settings *out, struct qb_why *why)
{
    if (!qb_scalar_size(text, MEMORY_MIN, INT64_MAX, &out->limits.memory_bytes, why))
        return false;
    out->request.memory_limit = out->limits.memory_bytes;
    return true;
}

static bool set_timeout(const char *text, settings *out, struct qb_why *why)
{
    return qb_scalar_seconds(text, &out->limits.timeout_seconds, why);
}

static bool set_deadline(const char *text, settings *out, struct qb_why *why)
{
    return qb_scalar_seconds(text, &out->limits.deadline_seconds, why);
}

static bool set_rate(const char *text, settings *out, struct qb_why *why)
{
    return qb_scalar_size(text, 0, INT64_MAX, &out->limits.rate, why);
}

static bool set_iops(const char *text, settings *out, struct qb_why *why)
{
    return qb_scalar_number(text, 0, IOPS_MAX, &out->limits.iops, why);
}

static bool set_nice(const char *text, settings *out, struct qb_why *why)
{
    bool below = text[0] == '-';
    uint64_t n;

    if (!qb_scalar_number(text + below, 0, below ? 20 : 19, &n, why))
        return false;
    out->limits.has_nice = true;
    out->limits.nice = below ? -(int)n : (int)n;
    return true;
}

static bool set_ionice(const char *text, settings *out, struct qb_why *why)
{
    static const char *const words[] = {"keep", "idle", "best-effort", NULL};
    static const char level_of[] = "best-effort:";
    uint64_t level = 4;
    unsigned word = QB_IONICE_BEST_EFFORT;

    if (strncmp(text, level_of, strlen(level_of)) == 0) {
        if (!qb_scalar_number(text + strlen(level_of), 0, 7, &level, why))
            return false;
    } else if (!qb_scalar_word(text, words, &word, why)) {
        return false;
    }
    out->limits.ionice = (enum qb_ionice)word;
    out->limits.ionice_level = (int)level;
    return true;
}

static bool set_load(const char *text, settings *out, struct qb_why *why)
{
    double percent;

    if (!qb_scalar_seconds(text, &percent, why) || percent > 100)
        return qb_why_not(why, NULL, "is no percentage such as 20 or 12.5");
    out->limits.load_percent = percent;
    return true;
}

/* "5%": the number before the sign. */
static bool percent(const char *text, uint64_t *out, struct qb_why *why)
{
    char digits[8];
    size_t len = strlen(text);

    if (len > sizeof(digits))
        return qb_why_not(why, NULL, "is no percentage");
    memcpy(digits, text, len - 1);
    digits[len - 1] = '\0';
    return qb_scalar_number(digits, 0, 100, out, why);
}

static bool is_percent(const char *text)
{
    return *text && text[strlen(text) - 1] == '%';
}

static bool set_max_failed(const char *text, settings *out, struct qb_why *why)
{
    struct qb_policy *p = &out->policy;
    bool share = is_percent(text);

    if (share ? !percent(text, &p->max_failed, why)
              : !qb_scalar_number(text, 0, UINT32_MAX, &p->max_failed, why))
        return false;
    p->max_failed_percent = share;
    p->has_max_failed = true;
    return true;
}

static bool set_min_free(const char *text, settings *out, struct qb_why *why)
{
    struct qb_policy *p = &out->policy;
    bool share = is_percent(text);

    if (share ? !percent(text, &p->min_free, why)
              : !qb_scalar_size(text, 0, INT64_MAX, &p->min_free, why))
        return false;
    p->min_free_percent = share;
    return true;
}

#define SETTING(section, name, values, standard, good, help)                                       \
    {#section, #name, set_##name, values, standard, good, help},
const struct qb_setting_row qb_setting_rows[] = {
#include "manifest/settings.def"
};
#undef SETTING

const size_t qb_setting_count = sizeof(qb_setting_rows) / sizeof(qb_setting_rows[0]);

const struct qb_setting_row *qb_setting_find(const char *section, const char *name)
{
    for (size_t i = 0; i < qb_setting_count; i++) {
        const struct qb_setting_row *row = &qb_setting_rows[i];

        if (strcmp(row->name, name) == 0 && (!section || strcmp(row->section, section) == 0))
            return row;
    }
    return NULL;
}

void qb_settings_man(const char *section, FILE *f)
{
    fputs(".Bl -tag -width Ds\n", f);
    for (size_t i = 0; i < qb_setting_count; i++) {
        const struct qb_setting_row *row = &qb_setting_rows[i];

        if (strcmp(row->section, section) == 0)
            fprintf(f, ".It Cm %s : No %s Pq default Cm %s\n%s.\n", row->name, row->values,
                    row->standard, row->help);
    }
    fputs(".El\n", f);
}
