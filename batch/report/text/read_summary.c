#include "text/read_summary.h"

#include "text/profile_show.h"
#include "util/json.h"
#include "util/text.h"

int qb_line_read_summary(FILE *f, const struct qb_read_summary *sum, int exit_code)
{
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "type", "summary");
    qb_json_number(&o, "images", sum->images);
    qb_json_number(&o, "read", sum->images - sum->failed);
    qb_json_number(&o, "failed", sum->failed);
    qb_json_number(&o, "not_reached", sum->not_reached);
    if (sum->fleet)
        qb_profile_fleet_put(&o, sum->fleet);
    qb_json_real(&o, "seconds", sum->seconds);
    qb_json_number(&o, "exit_code", (uint64_t)exit_code);
    qb_json_text(&o, "qbatch", QB_VERSION);
    return qb_json_line(f, o);
}

void qb_read_summary_print(FILE *f, const struct qb_read_summary *sum)
{
    char buf[QB_TEXT_NUMBER];

    if (sum->not_reached)
        fprintf(f, "interrupted: %s of ", qb_text_count(sum->images, buf));
    fprintf(f, "%s images", qb_text_count(sum->images + sum->not_reached, buf));
    if (sum->failed)
        fprintf(f, ", of which %s could not be read", qb_text_count(sum->failed, buf));
    fprintf(f, ", in %s\n", qb_text_seconds(sum->seconds, buf));
}
