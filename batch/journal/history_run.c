/* Reads the first record of a journal: what the run is. */
#include <stdlib.h>
#include <string.h>

#include "journal/history_parts.h"

/* A journal without "format" is of format 1.  Another one has records that cannot be passed over.
 */
static int check_format(const struct qb_history *h, const struct qb_parsed *record,
                        struct qb_err *err)
{
    const char *by = qb_json_get_text(record, "qbatch");
    uint64_t format = qb_json_get_number(record, "format", 1);

    if (format <= QB_JOURNAL_FORMAT)
        return 0;
    return qb_fail(
        err, QB_E_UNSUPPORTED, QB_NOWHERE,
        "run %s: the journal is of format %llu, by qbatch %.20s; this qbatch reads up to "
        "format %d",
        h->id, (unsigned long long)format, by ? by : "(unknown)", QB_JOURNAL_FORMAT);
}

static char *copy_of(const char *text)
{
    return text ? strdup(text) : NULL;
}

static void read_origin(const struct qb_parsed *record, struct qb_origin *o)
{
    uint64_t n = qb_json_get_number(record, "labels", 0);

    qb_origin_free(o);
    o->host = copy_of(qb_json_get_text(record, "host"));
    o->caller = copy_of(qb_json_get_text(record, "caller"));
    o->command = copy_of(qb_json_get_text(record, "command_line"));
    for (uint64_t i = 1; i <= n && i <= QB_LABELS_MAX; i++) {
        char key[40], value[40];
        const char *k, *v;

        snprintf(key, sizeof(key), "label_%llu", (unsigned long long)i);
        snprintf(value, sizeof(value), "value_%llu", (unsigned long long)i);
        k = qb_json_get_text(record, key);
        v = qb_json_get_text(record, value);
        if (k && v)
            qb_origin_add_label(o, k, v);
    }
}

int qb_history_on_run(struct qb_history *h, const struct qb_parsed *record, struct qb_err *err)
{
    const char *print = qb_json_get_text(record, "manifest_print");

    qb_history_keep_text(record, "manifest", &h->manifest);
    qb_history_keep_text(record, "name", &h->name);
    qb_history_keep_text(record, "started", &h->started);
    qb_history_keep_text(record, "folder", &h->folder);
    qb_history_keep_text(record, "command", &h->typed);
    read_origin(record, &h->origin);
    snprintf(h->manifest_print, sizeof(h->manifest_print), "%s", print ? print : "");
    h->origin.shard = qb_state_shard_read(record);
    h->ages_from = qb_json_get_number(record, "ages_from", 0);
    h->images = h->left = qb_json_get_number(record, "images", 0);
    h->undo = qb_json_get_bool(record, "undo");
    h->backup = qb_json_get_bool(record, "backup");
    if (check_format(h, record, err) < 0)
        return -1;
    qb_run_roots_free(&h->roots);
    return qb_run_roots_read(record, &h->roots, err);
}
