/* Parses the run of a line. */
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "record/report_read.h"
#include "shard/shard.h"
#include "util/json_read.h"
#include "util/text.h"

static char *text_under(const struct qb_parsed *o, const char *key)
{
    const char *text = qb_json_get_text(o, key);

    return text ? strdup(text) : NULL;
}

static void add_label(void *arg, const char *key, const char *text)
{
    struct qb_origin *origin = arg;

    if (origin->labels.n < QB_LABELS_MAX)
        qb_origin_add_label(origin, key, text);
}

static void read_shard(const struct qb_parsed *o, struct qb_shard *out)
{
    const char *shard = qb_json_get_text(o, "shard");
    struct qb_why why;

    *out = (struct qb_shard){0};
    if (shard)
        qb_shard_read(shard, NULL, out, &why);
}

void qb_run_read(const struct qb_parsed *o, struct qb_read_run *run)
{
    struct qb_parsed labels = qb_json_get_child(o, "labels");

    run->told = true;
    run->run = text_under(o, "run");
    run->name = text_under(o, "name");
    run->manifest = text_under(o, "manifest");
    run->origin.host = text_under(o, "host");
    run->origin.caller = text_under(o, "caller");
    run->origin.command = text_under(o, "command");
    run->origin.started = qb_text_time_read(qb_json_get_text(o, "started"));
    qb_json_each_text(&labels, add_label, &run->origin);
    read_shard(o, &run->origin.shard);
}

void qb_read_run_free(struct qb_read_run *run)
{
    free(qb_take(&run->run));
    free(qb_take(&run->name));
    free(qb_take(&run->manifest));
    qb_origin_free(&run->origin);
}
