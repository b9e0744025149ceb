/* Parses the command line, by the table in cli.def. */
#ifndef QB_CLI_CLI_H
#define QB_CLI_CLI_H

#include <stdio.h>

#include "base/vec.h"
#include "outcome/meter.h"
#include "job/keys.h"
#include "qbatch.h"

enum qb_command {
#define COMMAND(ID, name, verb, NAMES, operands, fewest, most, help) QB_COMMAND_##ID,
#include "cli/cli.def"
#undef COMMAND
    QB_COMMAND_COUNT
};

enum qb_option {
#define OPTION(ID, letter, name, argument, takes, commands, help) QB_OPTION_##ID,
#include "cli/cli.def"
#undef OPTION
    QB_OPTION_COUNT
};

/* What the operands of a command are. */
enum qb_names {
    QB_NAMES_MANIFEST,
    QB_NAMES_IMAGES,
    QB_NAMES_RUN,
    QB_NAMES_RUN_AND_IMAGES,
    QB_NAMES_BACKUPS, /* list, restore or prune, a run and images */
    QB_NAMES_ORDERS,  /* a run, and what it is asked for */
    QB_NAMES_REPORTS, /* show or merge, and files */
    QB_NAMES_TOPIC,
    QB_NAMES_SCHEMA, /* manifest or report */
    QB_NAMES_CODE,   /* of an error */
    QB_NAMES_PLAN,   /* a saved plan; or a manifest; or show and a saved plan */
};

/* What the argument of an option is. */
enum qb_takes {
    QB_TAKES_NOTHING,
    QB_TAKES_WORDS,   /* one of `words` */
    QB_TAKES_SETTING, /* a value of the manifest's key `setting`, which it overrides */
    QB_TAKES_KEYS,    /* KEY=VALUE[,KEY=VALUE]... */
    QB_TAKES_TAGS,
    QB_TAKES_MANIFEST,
    QB_TAKES_FILE,
    QB_TAKES_DIR,
    QB_TAKES_RUN,
    QB_TAKES_NUMBER,
    QB_TAKES_DURATION,
    QB_TAKES_STEP,
    QB_TAKES_SHARD, /* K/N, auto or auto/N */
};

struct qb_command_row {
    const char *name; /* "" for the command without a name */
    enum qb_names names;
    const char *operands, *help;
    struct {
        size_t least;
        const char *too_few; /* what is said then */
        size_t most;
        const char *too_many;
    } takes;
};

struct qb_option_row {
    int letter;           /* 0: none */
    const char *name;     /* NULL: none */
    const char *argument; /* NULL: takes none */
    struct {
        enum qb_takes kind;
        const char *const *words; /* a list that ends with NULL */
        const char *setting;      /* "policy.verify" */
    } takes;
    unsigned commands; /* bits of enum qb_command */
    const char *help;
};

/* The subjects of `qbatch help` other than commands and keys, NULL-terminated. */
extern const char *const qb_topics[];

extern const struct qb_command_row qb_commands[QB_COMMAND_COUNT];
extern const struct qb_option_row qb_options[QB_OPTION_COUNT];

struct qb_cli {
    enum qb_command command;
    unsigned step;                      /* --step; 0: none */
    uint64_t given;                     /* bits of enum qb_option */
    const char *texts[QB_OPTION_COUNT]; /* the argument of each as it was typed, or NULL */
    unsigned words[QB_OPTION_COUNT];    /* the index of the argument among an option's words */
    enum qb_watching watching;
    enum qb_io_kind io;
    unsigned jobs;              /* 0: automatic */
    struct qb_shard shard;      /* of = 0: none */
    QB_VEC(const char *) keys;  /* each -o */
    QB_VEC(const char *) sets;  /* each --set */
    QB_VEC(const char *) roots; /* each --root */
    QB_VEC(const char *)
    runs; /* the words of argv that name the run to resume, or request a new one */
    QB_VEC(const char *) shards; /* the words of argv that name the shard */
    char **argv;                 /* all words after the command, as getopt left them */
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

/* --color: 0 auto, 1 always, 2 never, as enum qb_color (text/table.h). */
static inline unsigned qb_cli_color(const struct qb_cli *cli)
{
    return cli->words[QB_OPTION_COLOR];
}

/* --resume=if-any: a run that is resumed if there is one to resume, or begun. */
bool qb_cli_resumes_if_any(const struct qb_cli *cli);

/* Of `ctl`: the operand that is the order, after which come its own; the run may come before it. */
size_t qb_cli_order(const struct qb_cli *cli);

/* The manifest's key that an option overrides; NULL: none. */
const struct qb_key_row *qb_cli_setting_of(enum qb_option option);

/* 0, or -1 after one line on `errors` with the mistake and a suggestion. argv is reordered by
 * getopt, and must outlive the cli. */
int qb_cli_parse(int argc, char **argv, struct qb_cli *cli, FILE *errors);
void qb_cli_free(struct qb_cli *cli);

/* ---- help.c ---------------------------------------------------------------------------------- */

void qb_help_usage(FILE *f); /* a few lines, for `qbatch` alone */
void qb_help_wrap(FILE *f, const char *text,
                  size_t at); /* lines broken between words, from a column on */
void qb_help_command(FILE *f, enum qb_command command); /* --help; of RUN: everything */
void qb_complete_bash(FILE *f);                         /* completion.c */
void qb_complete_zsh(FILE *f);
void qb_help_key(FILE *f, const struct qb_key_row *key);
void qb_help_man(FILE *f); /* manual.c: the OPTIONS of qbatch.1, in mdoc */

/* Copies a manual page of mdoc; replaces a line `.\\" @policy@` by the list of that section's keys,
 * and also `.\\" @amend@`, `@limits@` and `@condition@`. */
void qb_manual_fill(FILE *in, FILE *out);

/* The command of that name, or QB_COMMAND_COUNT. */
enum qb_command qb_command_find(const char *name);

/* The command that was probably meant, or NULL. */
const char *qb_command_nearest(const char *name);

#endif
