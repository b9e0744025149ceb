#include "common/confined_reading.h"

#include <stdio.h>

int qb_confined_reading_begin(struct qb_confined_reading *r, const struct qb_batch *batch,
                              struct qb_sched *sched, struct qb_owners *owners, struct qb_err *err)
{
    const struct qb_confine_wish wish = {.owners = owners, .helper = true};
    struct qb_confining *c = &r->confining;

    qb_confining_init(c, batch, true);
    if (!qb_confining_is_due(c))
        return 0;
    qb_scan_offer(&r->scan, c);
    return qb_confining_check(c, err) < 0 ? -1 : qb_confining_begin(c, sched, &wish, err);
}

void qb_confined_reading_end(struct qb_confined_reading *r)
{
    if (r->confining.begun)
        qb_confining_end(&r->confining);
    qb_scan_errand_free(&r->scan);
}

void qb_confining_tell_lack(const struct qb_cli *cli, const struct qb_confining *c)
{
    char text[QB_SANDBOX_TEXT];
    const char *lack = qb_confining_lack(c, text);

    if (lack && !qb_cli_has(cli, QB_OPTION_QUIET))
        fprintf(stderr, "%s: sandbox: %s\n", qb_cli_program(cli->command), lack);
}
