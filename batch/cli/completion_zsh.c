#include <string.h>

#include "cli/cli.h"
#include "cli/completion_parts.h"

/* Text inside the single quotes of an argument of _arguments. */
static void put_quoted(FILE *f, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", f);
        else if (strchr("[]:\\", *text))
            fprintf(f, "\\%c", *text);
        else
            fputc(*text, f);
    }
}

static void zsh_action(FILE *f, enum qb_option option)
{
    const struct qb_option_row *row = &qb_options[option];

    if (row->takes.kind == QB_TAKES_WORDS || row->takes.kind == QB_TAKES_SETTING) {
        fputc('(', f);
        qb_complete_option_words(f, option);
        fputc(')', f);
    } else {
        fputs(qb_argument_offers[row->takes.kind].zsh, f);
    }
}

static void zsh_spec(FILE *f, enum qb_option option, const char *dashes, const char *name)
{
    const struct qb_option_row *row = &qb_options[option];
    bool optional = row->argument && row->argument[0] == '[';

    fprintf(f, " \\\n            '*%s%s%s[", dashes, name,
            !row->argument     ? ""
            : optional         ? "=-"
            : dashes[1] == '-' ? "="
                               : "+");
    put_quoted(f, row->help);
    fputs("]", f);
    if (row->argument) {
        fputs(optional ? "::" : ":", f);
        put_quoted(f, optional ? "run" : row->argument);
        fputc(':', f);
        zsh_action(f, option);
    }
    fputc('\'', f);
}

static void zsh_specs(FILE *f, enum qb_command command)
{
    static const char *const operands[] = {
        [QB_NAMES_MANIFEST] = "'1:manifest:_qbatch_manifests'",
        [QB_NAMES_IMAGES] = "'*:image:_qbatch_images'",
        [QB_NAMES_RUN] = "'1:run:_qbatch_runs'",
        [QB_NAMES_RUN_AND_IMAGES] = "'1:run:_qbatch_runs' '*:image:_qbatch_images'",
        [QB_NAMES_BACKUPS] =
            "'1:what:(list restore prune)' '2:run:_qbatch_runs' '*:image:_qbatch_images'",
        [QB_NAMES_ORDERS] = "'*:order:_qbatch_orders'",
        [QB_NAMES_REPORTS] = "'1:what:(show merge)' '*:report:_files'",
        [QB_NAMES_TOPIC] = "'1:topic:_qbatch_topics' '2:shell:_qbatch_shells'",
        [QB_NAMES_SCHEMA] = "'1:schema:(manifest report)'",
        [QB_NAMES_CODE] = "'1:code:_qbatch_codes'",
        [QB_NAMES_PLAN] = "'*:plan or manifest:_files'",
    };

    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        const struct qb_option_row *row = &qb_options[i];
        char letter[2] = {(char)row->letter, '\0'};

        if (!(row->commands & 1u << command))
            continue;
        if (row->name)
            zsh_spec(f, (enum qb_option)i, "--", row->name);
        if (row->letter)
            zsh_spec(f, (enum qb_option)i, "-", letter);
    }
    fprintf(f, " \\\n            %s\n", operands[qb_commands[command].names]);
}

void qb_zsh_commands(FILE *f)
{
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++) {
        fprintf(f, "        '%s:", qb_commands[i].name);
        put_quoted(f, qb_commands[i].help);
        fputs("'\n", f);
    }
}

void qb_zsh_arguments(FILE *f)
{
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++) {
        fprintf(f, "    %s)\n        _arguments", qb_commands[i].name);
        zsh_specs(f, (enum qb_command)i);
        fputs("        ;;\n", f);
    }
    fputs("    *)\n        _arguments", f);
    zsh_specs(f, QB_COMMAND_RUN);
    fputs("        ;;\n", f);
}

/* `name` is typed, with what the prefix says before it. */
static void zsh_key(FILE *f, const char *prefix, const struct qb_key_row *key)
{
    fprintf(f, "        '%s%s[", prefix, key->name);
    put_quoted(f, key->help);
    fputs(key->kind == QB_KIND_TEXT ? "]:value:_files" : "]:value:(", f);
    if (key->kind != QB_KIND_TEXT) {
        qb_complete_key_words(f, key);
        fputc(')', f);
    }
    fputs("' \\\n", f);
}

void qb_zsh_keys(FILE *f)
{
    char prefix[80];

    qb_keys_each (key, QB_SECTION_amend) {
        snprintf(prefix, sizeof(prefix), "%s.0.", key->name);
        qb_parts_each(part, key) zsh_key(f, prefix, part);
        if (key->kind != QB_KIND_GROUP && key->kind != QB_KIND_MAPPINGS)
            zsh_key(f, "", key);
    }
    fputc('\n', f);
}
