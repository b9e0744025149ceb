/* The command line, taken apart.  What may be said stands in cli.def; nothing is done here but to
 * understand it. */
#ifndef QB_CLI_CLI_H
#define QB_CLI_CLI_H

#include <stdio.h>

#include "base/vec.h"
#include "job/meter.h"
#include "manifest/settings.h"
#include "qbatch.h"

enum qb_command {
#define COMMAND(ID, name, operands, help) QB_COMMAND_##ID,
#include "cli/cli.def"
#undef COMMAND
    QB_COMMAND_COUNT
};

enum qb_option {
#define OPTION(ID, letter, name, argument, commands, help) QB_OPTION_##ID,
#include "cli/cli.def"
#undef OPTION
    QB_OPTION_COUNT
};

struct qb_command_row {
    const char *name; /* "" for the command without a name */
    const char *operands, *help;
};

struct qb_option_row {
    int letter;           /* 0: none */
    const char *name;     /* NULL: none */
    const char *argument; /* NULL: takes none */
    unsigned commands;    /* bits of enum qb_command */
    const char *help;
};

extern const struct qb_command_row qb_commands[QB_COMMAND_COUNT];
extern const struct qb_option_row qb_options[QB_OPTION_COUNT];

struct qb_cli {
    enum qb_command command;
    uint64_t given;                     /* bits of enum qb_option */
    const char *texts[QB_OPTION_COUNT]; /* the argument of each as it was typed, or NULL */
    enum qb_watching watching;
    enum qb_io_kind io;
    enum qb_verify verify;     /* with QB_OPTION_VERIFY */
    enum qb_on_leaks on_leaks; /* with QB_OPTION_ON_LEAKS */
    unsigned jobs;             /* 0: as the machine allows */
    QB_VEC(const char *) keys; /* each -o */
    QB_VEC(const char *) sets; /* each --set */
    QB_VEC(const char *) runs; /* the words of argv that say which run to resume, or to begin one */
    char **argv;               /* all words after the command, as getopt left them */
    size_t argc;
    char **operands;
    size_t n_operands;
};

static inline bool qb_cli_has(const struct qb_cli *cli, enum qb_option option)
{
    return cli->given >> option & 1;
}

/* The argument of an option that has one; NULL where the option, or its argument, was not given. */
static inline const char *qb_cli_text(const struct qb_cli *cli, enum qb_option option)
{
    return cli->texts[option];
}

/* The manifest's setting that an option stands for, over which it wins; NULL: none. */
const struct qb_setting_row *qb_cli_setting_of(enum qb_option option);

/* 0, or -1 after one line on `errors` that says what is wrong and what may have been meant.  argv
 * is reordered, as getopt does, and must outlive the cli. */
int qb_cli_parse(int argc, char **argv, struct qb_cli *cli, FILE *errors);
void qb_cli_free(struct qb_cli *cli);

/* ---- help.c ---------------------------------------------------------------------------------- */

void qb_help_usage(FILE *f);                            /* a few lines, for `qbatch` alone */
void qb_help_command(FILE *f, enum qb_command command); /* --help; of RUN: everything */
void qb_complete_bash(FILE *f);                         /* completion.c */
void qb_complete_zsh(FILE *f);
void qb_help_man(FILE *f); /* the OPTIONS of qbatch.1, in mdoc */

/* The command of that name, or QB_COMMAND_COUNT. */
enum qb_command qb_command_find(const char *name);

/* The command that was probably meant, or NULL. */
const char *qb_command_nearest(const char *name);

#endif
