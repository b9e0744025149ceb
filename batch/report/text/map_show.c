#include "text/map_show.h"

#include <inttypes.h>

#include "record/report_json.h"
#include "util/json.h"
#include "util/text.h"

int qb_map_json_begin(FILE *f, const char *path, bool without_locks)
{
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "type", "map");
    qb_json_path(&o, path);
    qb_json_bool(&o, "without_locks", without_locks);
    return qb_json_begin(f, o, "map");
}

static const char *word(bool is)
{
    return is ? "true" : "false";
}

void qb_map_json_run(FILE *f, const struct qb_disk_run *run, bool is_first)
{
    fprintf(f,
            "%s{\"start\":%" PRIu64 ",\"length\":%" PRIu64 ",\"depth\":%u,\"present\":%s,"
            "\"zero\":%s,\"data\":%s,\"compressed\":%s",
            is_first ? "" : ",", run->start, run->length, run->depth, word(run->present),
            word(run->zero), word(run->data), word(run->compressed));
    if (run->has_offset)
        fprintf(f, ",\"offset\":%" PRIu64, run->offset);
    fputc('}', f);
}

static void put_measured(struct qb_json *o, const struct qb_measured *measured)
{
    struct qb_json m = qb_json_object();

    qb_json_number(&m, "required", measured->required);
    qb_json_number(&m, "fully-allocated", measured->fully_allocated);
    if (measured->has_bitmaps)
        qb_json_number(&m, "bitmaps", measured->bitmaps);
    qb_json_child(o, "measure", m);
}

int qb_map_json_end(FILE *f, const struct qb_failure *failure, const struct qb_measured *measured)
{
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "status", failure->code == QB_E_NONE ? "read" : "failed");
    qb_json_error(&o, NULL, NULL, failure);
    if (failure->code == QB_E_NONE)
        put_measured(&o, measured);
    return qb_json_end(f, o);
}

void qb_map_text_begin(FILE *f, const char *path, bool named)
{
    if (named) {
        qb_text_safe(f, path);
        fputs(":\n", f);
    }
    fprintf(f, "%-18s  %-18s  %5s  %-11s  %s\n", "start", "length", "depth", "holds", "offset");
}

static const char *holds(const struct qb_disk_run *run)
{
    return run->compressed          ? "compressed"
           : run->data && run->zero ? "hole"
           : run->data              ? "data"
           : run->present           ? "zero"
                                    : "unallocated";
}

void qb_map_text_run(FILE *f, const struct qb_disk_run *run)
{
    fprintf(f, "%#-18" PRIx64 "  %#-18" PRIx64 "  %5u  ", run->start, run->length, run->depth);
    if (run->has_offset)
        fprintf(f, "%-11s  %#" PRIx64 "\n", holds(run), run->offset);
    else
        fprintf(f, "%s\n", holds(run));
}

void qb_map_text_end(FILE *f, const struct qb_measured *measured)
{
    fprintf(f, "required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n",
            measured->required, measured->fully_allocated);
    if (measured->has_bitmaps)
        fprintf(f, "bitmaps size: %" PRIu64 "\n", measured->bitmaps);
}
