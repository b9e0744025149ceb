/* Completion for bash and zsh, made from the tables of commands, options and keys. */
#include <string.h>

#include "cli/cli.h"
#include "cli/completion.h"
#include "cli/completion_parts.h"
#include "cli/explain.h"

void qb_complete_key_words(FILE *f, const struct qb_key_row *key)
{
    const char *word = key->kind == QB_KIND_SWITCH                            ? "on|off"
                       : key->kind == QB_KIND_FORMAT                          ? key->good
                       : qb_key_takes_auto(key->kind)                         ? "auto"
                       : key->kind == QB_KIND_NUMBER_POWER && key->high <= 64 ? key->good
                                                                              : "";

    for (size_t i = 0; key->words && key->words[i]; i++) {
        if (i)
            fputc(' ', f);
        fputs(key->words[i], f);
    }
    if (key->kind == QB_KIND_WORDS)
        fputs(" all none", f);
    for (; !key->words && *word; word++)
        fputc(*word == '|' ? ' ' : *word, f);
}

void qb_complete_option_words(FILE *f, enum qb_option option)
{
    const struct qb_option_row *row = &qb_options[option];

    if (row->takes.kind == QB_TAKES_SETTING)
        qb_complete_key_words(f, qb_cli_setting_of(option));
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

/* What offers values for the argument of an option, other than words. */
const struct qb_offer qb_argument_offers[] = {
    [QB_TAKES_KEYS] = {"_qbatch_keys", "_qbatch_keys"},
    [QB_TAKES_TAGS] = {":", " "},
    [QB_TAKES_MANIFEST] = {"_qbatch_manifests", "_qbatch_manifests"},
    [QB_TAKES_FILE] = {"_qbatch_files", "_files"},
    [QB_TAKES_DIR] = {"_qbatch_dirs", "_files -/"},
    [QB_TAKES_RUN] = {"_qbatch_runs", "_qbatch_runs"},
    [QB_TAKES_NUMBER] = {":", " "},
    [QB_TAKES_DURATION] = {":", " "},
    [QB_TAKES_STEP] = {":", " "},
    [QB_TAKES_SHARD] = {":", " "},
};

/* The limits that `ctl limits` takes. */
static void put_limits(FILE *f, const char *after)
{
    const char *before = "";

    qb_keys_each (key, QB_SECTION_limits) {
        if (!key->live)
            continue;
        fprintf(f, "%s%s%s", before, key->name, after);
        before = " ";
    }
}

static void bash_limits(FILE *f)
{
    put_limits(f, "=");
}

static void zsh_limits(FILE *f)
{
    put_limits(f, "");
}

/* ---- the scripts ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*put)(FILE *f);
} parts[] = {
    {"@topics@", put_topics},
    {"@codes@", qb_explain_names},
    {"@bash_commands@", qb_bash_commands},
    {"@bash_keys@", qb_bash_keys},
    {"@bash_limits@", bash_limits},
    {"@zsh_limits@", zsh_limits},
    {"@bash_key_values@", qb_bash_key_values},
    {"@bash_arguments@", qb_bash_arguments},
    {"@bash_operands@", qb_bash_operands},
    {"@zsh_commands@", qb_zsh_commands},
    {"@zsh_arguments@", qb_zsh_arguments},
    {"@zsh_keys@", qb_zsh_keys},
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
