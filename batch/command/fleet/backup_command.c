/* `qbatch backup`: lists, restores and removes the clones that runs made. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "fleet/backup_parts.h"
#include "common/commands.h"
#include "common/output.h"
#include "record/report_json.h"
#include "util/text.h"

void qb_backup_note(const char *text)
{
    fputs("qbatch backup: ", stderr);
    qb_text_safe(stderr, text);
    fputc('\n', stderr);
}

int qb_backup_refuse(const struct qb_cli *cli, const struct qb_err *err)
{
    qb_backup_note(err->text);
    if (qb_cli_has(cli, QB_OPTION_JSON))
        qb_line_abort(stdout, err->text, QB_EXIT_USAGE);
    return qb_stdout_end(QB_EXIT_USAGE);
}

int qb_command_backup(const struct qb_cli *cli)
{
    const char *verb = cli->operands[0];

    if (strcmp(verb, "restore") == 0)
        return qb_backup_restore(cli);
    return strcmp(verb, "prune") == 0 ? qb_backup_prune(cli) : qb_backup_list(cli);
}
