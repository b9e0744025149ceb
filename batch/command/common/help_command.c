/* `qbatch help` and `qbatch schema`: text from the tables. */
#include <string.h>

#include "cli/cli.h"
#include "cli/explain.h"
#include "common/commands.h"
#include "common/output.h"
#include "manifest/schema.h"
#include "record/report_schema.h"
#include "util/text.h"

int qb_command_schema(const struct qb_cli *cli)
{
    if (cli->n_operands && strcmp(cli->operands[0], "report") == 0)
        qb_report_schema_print(stdout);
    else
        qb_schema_print(stdout);
    return qb_stdout_end(0);
}

static int unknown(const char *what, const char *word, const char *near)
{
    fprintf(stderr, "qbatch help: there is no %s \"", what);
    qb_text_safe(stderr, word);
    fprintf(stderr, near ? "\"; did you mean \"%s\"?\n" : "\"\n", near);
    return QB_EXIT_USAGE;
}

static int help_completion(const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        qb_complete_bash(stdout);
    else if (strcmp(shell, "zsh") == 0)
        qb_complete_zsh(stdout);
    else
        return unknown("completion for", shell, NULL);
    return qb_stdout_end(0);
}

/* A setting is also found by the name that messages have for it, with its section. */
static bool is_named(const struct qb_key_row *key, const char *name)
{
    const char *section = key->section == QB_SECTION_policy    ? "policy."
                          : key->section == QB_SECTION_limits  ? "limits."
                          : key->section == QB_SECTION_rollout ? "rollout."
                                                               : "";
    size_t len = strlen(section);

    return strcmp(key->name, name) == 0 ||
           (strncmp(name, section, len) == 0 && strcmp(key->name, name + len) == 0);
}

/* The keys of a manifest that have the name: an amend key, a setting, a condition. */
static bool help_keys(const char *name)
{
    bool found = false;

    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++)
        if (is_named(key, name)) {
            if (found)
                fputc('\n', stdout);
            qb_help_key(stdout, key);
            found = true;
        }
    return found;
}

int qb_command_explain(const struct qb_cli *cli)
{
    if (cli->n_operands == 0)
        qb_explain_list(stdout);
    else if (qb_explain(stdout, cli->operands[0]) < 0)
        return QB_EXIT_USAGE;
    return qb_stdout_end(0);
}

int qb_command_help(const struct qb_cli *cli)
{
    const char *subject = cli->n_operands ? cli->operands[0] : "";
    enum qb_command command = *subject ? qb_command_find(subject) : QB_COMMAND_RUN;
    const char *near;

    if (command != QB_COMMAND_COUNT) {
        qb_help_command(stdout, command);
    } else if (strcmp(subject, "keys") == 0) {
        qb_keys_help(stdout);
    } else if (strcmp(subject, "completion") == 0) {
        return help_completion(cli->n_operands > 1 ? cli->operands[1] : "bash");
    } else if (strcmp(subject, "man") == 0) {
        qb_help_man(stdout);
    } else if (strcmp(subject, "man-errors") == 0) {
        qb_explain_man(stdout);
    } else if (strcmp(subject, "man-findings") == 0) {
        qb_explain_defects(stdout);
    } else if (strcmp(subject, "man-page") == 0) { /* for the build */
        qb_manual_fill(stdin, stdout);
    } else if (!help_keys(subject)) {
        near = qb_command_nearest(subject);
        return unknown("command or key", subject, near ? near : qb_key_nearest(subject));
    }
    return qb_stdout_end(0);
}
