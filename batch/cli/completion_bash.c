#include <string.h>

#include "cli/cli.h"
#include "cli/completion_parts.h"

static void bash_options_of(FILE *f, enum qb_command command)
{
    const char *before = "";

    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        const struct qb_option_row *row = &qb_options[i];

        if (!(row->commands & 1u << command))
            continue;
        if (row->name)
            fprintf(f, "%s--%s", before, row->name);
        else
            fprintf(f, "%s-%c", before, row->letter);
        before = " ";
    }
}

/* A branch for each option that takes an argument, with what offers its values. */
void qb_bash_arguments(FILE *f)
{
    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        const struct qb_option_row *row = &qb_options[i];

        if (!row->argument)
            continue;
        fputs("    ", f);
        if (row->letter)
            fprintf(f, "-%c", row->letter);
        if (row->name)
            fprintf(f, "%s--%s", row->letter ? "|" : "", row->name);
        fputs(") ", f);
        if (row->takes.kind == QB_TAKES_WORDS || row->takes.kind == QB_TAKES_SETTING) {
            fputs("_qbatch_words '", f);
            qb_complete_option_words(f, (enum qb_option)i);
            fputs("'", f);
        } else {
            fputs(qb_argument_offers[row->takes.kind].bash, f);
        }
        fputs(" ;;\n", f);
    }
}

/* A branch for the values of each part of a list of mappings, whatever its number. */
static void bash_part_values(FILE *f, const struct qb_key_row *key)
{
    qb_parts_each(part, key)
    {
        fprintf(f, "    %s.*.%s) _qbatch_words '", key->name, part->name);
        qb_complete_key_words(f, part);
        fputs("' ;;\n", f);
    }
}

void qb_bash_key_values(FILE *f)
{
    qb_keys_each (key, QB_SECTION_amend) {
        bash_part_values(f, key);
        if (key->kind == QB_KIND_GROUP || key->kind == QB_KIND_MAPPINGS)
            continue;
        fprintf(f, "    %s) ", key->name);
        if (key->kind == QB_KIND_TEXT) {
            fputs("_qbatch_files ;;\n", f);
            continue;
        }
        fputs("_qbatch_words '", f);
        qb_complete_key_words(f, key);
        fputs("' ;;\n", f);
    }
}

void qb_bash_operands(FILE *f)
{
    static const char *const offers[] = {
        [QB_NAMES_MANIFEST] = "_qbatch_manifests",
        [QB_NAMES_IMAGES] = "_qbatch_images",
        [QB_NAMES_RUN] = "_qbatch_runs",
        [QB_NAMES_RUN_AND_IMAGES] = "_qbatch_run_and_images",
        [QB_NAMES_BACKUPS] = "_qbatch_backups",
        [QB_NAMES_ORDERS] = "_qbatch_orders",
        [QB_NAMES_REPORTS] = "_qbatch_reports",
        [QB_NAMES_TOPIC] = "_qbatch_topics",
        [QB_NAMES_SCHEMA] = "_qbatch_schemas",
        [QB_NAMES_CODE] = "_qbatch_codes",
        [QB_NAMES_PLAN] = "_qbatch_files",
    };

    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++) {
        fprintf(f, "    %s) options='", qb_commands[i].name);
        bash_options_of(f, (enum qb_command)i);
        fprintf(f, "' names=%s ;;\n", offers[qb_commands[i].names]);
    }
    fputs("    *) options='", f);
    bash_options_of(f, QB_COMMAND_RUN);
    fputs("' names=_qbatch_manifests ;;\n", f);
}

void qb_bash_commands(FILE *f)
{
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++)
        fprintf(f, "%s%s", i > QB_COMMAND_RUN + 1 ? " " : "", qb_commands[i].name);
}

void qb_bash_keys(FILE *f)
{
    const char *before = "";

    qb_keys_each (key, QB_SECTION_amend) {
        qb_parts_each(part, key) fprintf(f, " %s.0.%s=", key->name, part->name);
        if (key->kind == QB_KIND_GROUP || key->kind == QB_KIND_MAPPINGS)
            continue;
        fprintf(f, "%s%s=", before, key->name);
        before = " ";
    }
}
