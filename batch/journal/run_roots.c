#include "journal/run_roots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"

enum { KEY_BYTES = 32 };

static const char *key_of(size_t i, char out[KEY_BYTES])
{
    snprintf(out, KEY_BYTES, "root_%zu", i + 1);
    return out;
}

void qb_run_roots_record(struct qb_journal *j, const struct qb_policy *policy)
{
    char key[KEY_BYTES];

    if (policy->roots.n)
        qb_journal_number(j, "roots", policy->roots.n);
    for (size_t i = 0; i < policy->roots.n; i++) {
        QB_AUTO(qb_buf) char *real = realpath(policy->roots.items[i], NULL);

        qb_journal_path_of(j, key_of(i, key), real ? real : policy->roots.items[i]);
    }
    qb_journal_true(j, "one_file_system", policy->one_file_system);
}

int qb_run_roots_read(const struct qb_parsed *record, struct qb_run_roots *roots,
                      struct qb_err *err)
{
    uint64_t n = qb_json_get_number(record, "roots", 0);
    char key[KEY_BYTES];

    roots->one_file_system = qb_json_get_bool(record, "one_file_system");
    for (size_t i = 0; i < n; i++) {
        char *path = qb_json_get_path_of(record, key_of(i, key));

        if (!path)
            return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE,
                           "the journal names %zu of the %llu roots of the run", i,
                           (unsigned long long)n);
        if (!qb_vec_push(&roots->paths, path)) {
            free(path);
            return qb_fail_memory(err);
        }
    }
    return 0;
}

void qb_run_roots_free(struct qb_run_roots *roots)
{
    qb_vec_each (path, &roots->paths)
        free(*path);
    qb_vec_free(&roots->paths);
}

void qb_run_roots_apply(const struct qb_run_roots *roots, struct qb_policy *policy)
{
    policy->roots = (struct qb_name_list){(const char *const *)roots->paths.items, roots->paths.n};
    policy->one_file_system = roots->one_file_system;
}
