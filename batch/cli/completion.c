/* Completion for shells, made from the tables of commands and options. */
#include <string.h>

#include "cli/cli.h"

/* ---- bash ------------------------------------------------------------------------------------ */

static void print_words_of(FILE *f, enum qb_command command)
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

void qb_complete_bash(FILE *f)
{
    fputs(
        "# bash completion for qbatch: made by `qbatch help completion bash`\n"
        "_qbatch()\n{\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words\n"
        "    case $before in\n"
        "    --io) COMPREPLY=($(compgen -W 'auto uring posix' -- \"$word\")); return ;;\n"
        "    -f) COMPREPLY=($(compgen -W qcow2 -- \"$word\")); return ;;\n"
        "    --verify) COMPREPLY=($(compgen -W 'none metadata content' -- \"$word\")); return ;;\n"
        "    --backup) COMPREPLY=($(compgen -W 'none reflink' -- \"$word\")); return ;;\n"
        "    --ionice) COMPREPLY=($(compgen -W 'idle best-effort' -- \"$word\")); return ;;\n"
        "    esac\n"
        "    case ${COMP_WORDS[1]} in\n",
        f);
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++) {
        fprintf(f, "    %s) words='", qb_commands[i].name);
        print_words_of(f, (enum qb_command)i);
        fputs("' ;;\n", f);
    }
    fputs("    *) words='", f);
    print_words_of(f, QB_COMMAND_RUN);
    fputs("'; ((COMP_CWORD == 1)) && words+='", f);
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++)
        fprintf(f, " %s", qb_commands[i].name);
    fputs("' ;;\n"
          "    esac\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
          "    [[ $word == -* ]] || mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "
          "\"$word\")\n"
          "}\n"
          "complete -o filenames -F _qbatch qbatch\n",
          f);
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

/* What an argument is completed with. */
static const char *action_of(const struct qb_option_row *row)
{
    static const struct {
        const char *argument, *action;
    } actions[] = {{"FILE", "_files"},
                   {"DIR", "_files -/"},
                   {"BACKEND", "(auto uring posix)"},
                   {"FORMAT", "(qcow2)"},
                   {"MODE", "(none metadata content)"},
                   {"KIND", "(none reflink)"},
                   {"CLASS", "(idle best-effort)"}};

    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strcmp(row->argument, actions[i].argument) == 0)
            return actions[i].action;
    return " ";
}

static void put_spec(FILE *f, const struct qb_option_row *row, const char *dashes, const char *name)
{
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
        fprintf(f, ":%s", action_of(row));
    }
    fputc('\'', f);
}

static void put_specs(FILE *f, enum qb_command command)
{
    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        const struct qb_option_row *row = &qb_options[i];
        char letter[2] = {(char)row->letter, '\0'};

        if (!(row->commands & 1u << command))
            continue;
        if (row->name)
            put_spec(f, row, "--", row->name);
        if (row->letter)
            put_spec(f, row, "-", letter);
    }
    fputs(" \\\n            '*:file:_files'\n", f);
}

void qb_complete_zsh(FILE *f)
{
    fputs("#compdef qbatch\n"
          "# zsh completion for qbatch: made by `qbatch help completion zsh`\n"
          "_qbatch() {\n"
          "    local -a commands\n"
          "    commands=(\n",
          f);
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++) {
        fprintf(f, "        '%s:", qb_commands[i].name);
        put_quoted(f, qb_commands[i].help);
        fputs("'\n", f);
    }
    fputs("    )\n"
          "    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n"
          "        _describe -t commands command commands\n"
          "        _files\n"
          "        return\n"
          "    fi\n"
          "    case $words[2] in\n",
          f);
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++) {
        fprintf(f, "    %s)\n        _arguments", qb_commands[i].name);
        put_specs(f, (enum qb_command)i);
        fputs("        ;;\n", f);
    }
    fputs("    *)\n        _arguments", f);
    put_specs(f, QB_COMMAND_RUN);
    fputs("        ;;\n"
          "    esac\n"
          "}\n"
          "_qbatch \"$@\"\n",
          f);
}
