/* Completion for bash and zsh, made from the tables of commands, options and keys. */
#include <string.h>

#include "cli/cli.h"
#include "cli/completion.h"
#include "cli/explain.h"

/* The words that a key takes, separated by `between`; nothing where it takes no words. */
static void put_key_words(FILE *f, const struct qb_key_row *key, char between)
{
    const char *word = key->kind == QB_KIND_SWITCH                            ? "on|off"
                       : key->kind == QB_KIND_FORMAT                          ? key->good
                       : key->kind == QB_KIND_AUTO_NUMBER                     ? "auto"
                       : key->kind == QB_KIND_NUMBER_POWER && key->high <= 64 ? key->good
                                                                              : "";

    for (size_t i = 0; key->words && key->words[i]; i++) {
        if (i)
            fputc(between, f);
        fputs(key->words[i], f);
    }
    if (key->kind == QB_KIND_WORDS)
        fprintf(f, "%call%cnone", between, between);
    for (; !key->words && *word; word++)
        fputc(*word == '|' ? between : *word, f);
}

static void put_option_words(FILE *f, enum qb_option option)
{
    const struct qb_option_row *row = &qb_options[option];

    if (row->takes.kind == QB_TAKES_SETTING)
        put_key_words(f, qb_cli_setting_of(option), ' ');
    for (size_t i = 0; row->takes.words && row->takes.words[i]; i++)
        fprintf(f, "%s%s", i ? " " : "", row->takes.words[i]);
}

static void put_topics(FILE *f)
{
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++)
        fprintf(f, "%s ", qb_commands[i].name);
    for (size_t i = 0; qb_topics[i]; i++)
        fprintf(f, "%s ", qb_topics[i]);
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++)
        if (key->section != QB_SECTION_condition && key->kind != QB_KIND_LATER)
            fprintf(f, "%s%s", key->name, key + 1 < qb_keys + qb_keys_count ? " " : "");
}

/* ---- bash ------------------------------------------------------------------------------------ */

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

/* What offers values for the argument of an option, other than words. */
static const struct qb_offer argument_offers[] = {
    [QB_TAKES_KEYS] = {"_qbatch_keys", "_qbatch_keys"},
    [QB_TAKES_TAGS] = {":", " "},
    [QB_TAKES_MANIFEST] = {"_qbatch_manifests", "_qbatch_manifests"},
    [QB_TAKES_FILE] = {"_qbatch_files", "_files"},
    [QB_TAKES_DIR] = {"_qbatch_dirs", "_files -/"},
    [QB_TAKES_RUN] = {"_qbatch_runs", "_qbatch_runs"},
    [QB_TAKES_NUMBER] = {":", " "},
    [QB_TAKES_DURATION] = {":", " "},
};

/* A branch for each option that takes an argument, with what offers its values. */
static void bash_arguments(FILE *f)
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
            put_option_words(f, (enum qb_option)i);
            fputs("'", f);
        } else {
            fputs(argument_offers[row->takes.kind].bash, f);
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
        put_key_words(f, part, ' ');
        fputs("' ;;\n", f);
    }
}

static void bash_key_values(FILE *f)
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
        put_key_words(f, key, ' ');
        fputs("' ;;\n", f);
    }
}

static void bash_operands(FILE *f)
{
    static const char *const offers[] = {
        [QB_NAMES_MANIFEST] = "_qbatch_manifests",
        [QB_NAMES_IMAGES] = "_qbatch_images",
        [QB_NAMES_RUN] = "_qbatch_runs",
        [QB_NAMES_RUN_AND_IMAGES] = "_qbatch_run_and_images",
        [QB_NAMES_BACKUPS] = "_qbatch_backups",
        [QB_NAMES_REPORTS] = "_qbatch_reports",
        [QB_NAMES_TOPIC] = "_qbatch_topics",
        [QB_NAMES_SCHEMA] = "_qbatch_schemas",
        [QB_NAMES_CODE] = "_qbatch_codes",
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

static void bash_commands(FILE *f)
{
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++)
        fprintf(f, "%s%s", i > QB_COMMAND_RUN + 1 ? " " : "", qb_commands[i].name);
}

static void bash_keys(FILE *f)
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

/* ---- zsh ------------------------------------------------------------------------------------- */

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
        put_option_words(f, option);
        fputc(')', f);
    } else {
        fputs(argument_offers[row->takes.kind].zsh, f);
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
        [QB_NAMES_REPORTS] = "'1:what:(show merge)' '*:report:_files'",
        [QB_NAMES_TOPIC] = "'1:topic:_qbatch_topics' '2:shell:_qbatch_shells'",
        [QB_NAMES_SCHEMA] = "'1:schema:(manifest report)'",
        [QB_NAMES_CODE] = "'1:code:_qbatch_codes'",
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

static void zsh_commands(FILE *f)
{
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++) {
        fprintf(f, "        '%s:", qb_commands[i].name);
        put_quoted(f, qb_commands[i].help);
        fputs("'\n", f);
    }
}

static void zsh_arguments(FILE *f)
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
        put_key_words(f, key, ' ');
        fputc(')', f);
    }
    fputs("' \\\n", f);
}

static void zsh_keys(FILE *f)
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

/* ---- the scripts ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*put)(FILE *f);
} parts[] = {
    {"@topics@", put_topics},
    {"@codes@", qb_explain_names},
    {"@bash_commands@", bash_commands},
    {"@bash_keys@", bash_keys},
    {"@bash_key_values@", bash_key_values},
    {"@bash_arguments@", bash_arguments},
    {"@bash_operands@", bash_operands},
    {"@zsh_commands@", zsh_commands},
    {"@zsh_arguments@", zsh_arguments},
    {"@zsh_keys@", zsh_keys},
};

/* Prints the script with each @part@ filled in; one that is alone in its line is whole lines. */
static void fill(FILE *f, const char *script)
{
    while (*script) {
        size_t n = sizeof(parts) / sizeof(parts[0]), i = *script == '@' ? 0 : n;

        while (i < n && strncmp(script, parts[i].name, strlen(parts[i].name)) != 0)
            i++;
        if (i == n) {
            fputc(*script++, f);
            continue;
        }
        parts[i].put(f);
        script += strlen(parts[i].name);
        script += script[-1 - (long)strlen(parts[i].name)] == '\n' && *script == '\n';
    }
}

void qb_complete_bash(FILE *f)
{
    fill(f, qb_completion_bash);
}

void qb_complete_zsh(FILE *f)
{
    fill(f, qb_completion_zsh);
}
