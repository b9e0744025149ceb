#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli_check.h"
#include "shard/shard.h"
#include "util/scalar.h"
#include "util/text.h"

const struct qb_command_row qb_commands[QB_COMMAND_COUNT] = {
#define NO_FEWER(least, complaint) least, complaint
#define NO_MORE(most, complaint)   most, complaint
#define COMMAND(ID, name, verb, NAMES, operands, fewest, most, help)                               \
    [QB_COMMAND_##ID] = {name, QB_NAMES_##NAMES, operands, help, {fewest, most}},
#include "cli/cli.def"
#undef COMMAND
};

#define ON(ID) (1u << QB_COMMAND_##ID)
#define ON_ALL ((1u << QB_COMMAND_COUNT) - 1)

#define TAKES(KIND)                                                                                \
    {                                                                                              \
        QB_TAKES_##KIND, NULL, NULL                                                                \
    }
#define WORDS(...)                                                                                 \
    {                                                                                              \
        QB_TAKES_WORDS, (const char *const[]){__VA_ARGS__, NULL}, NULL                             \
    }
#define SETTING(of)                                                                                \
    {                                                                                              \
        QB_TAKES_SETTING, NULL, of                                                                 \
    }

const struct qb_option_row qb_options[QB_OPTION_COUNT] = {
#define OPTION(ID, letter, name, argument, takes, commands, help)                                  \
    [QB_OPTION_##ID] = {letter, name, argument, takes, commands, help},
#include "cli/cli.def"
#undef OPTION
};

const char *const qb_topics[] = {
#define TOPIC(name, help) name,
#include "cli/cli.def"
#undef TOPIC
    NULL,
};

_Static_assert(QB_IO_URING == 1 && QB_IO_POSIX == 2, "the order of the words of --io");
_Static_assert(QB_WATCH_JSON == 1 && QB_WATCH_NONE == 2, "the order of the words of --progress");

enum { LONG_ONLY = 1000 }; /* getopt's value for option i is LONG_ONLY + i, or its letter */

static int argument_rule(const struct qb_option_row *row)
{
    if (!row->argument)
        return no_argument;
    return row->argument[0] == '[' ? optional_argument : required_argument;
}

/* getopt's tables for one command. */
struct getopt_tables {
    char letters[2 * QB_OPTION_COUNT + 2];
    struct option names[QB_OPTION_COUNT + 1];
};

static void make_tables(enum qb_command command, struct getopt_tables *t)
{
    size_t letters = 0, names = 0;

    memset(t, 0, sizeof(*t));
    t->letters[letters++] = ':'; /* a missing argument is distinguished from an unknown option */
    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        const struct qb_option_row *row = &qb_options[i];

        if (!(row->commands & 1u << command))
            continue;
        if (row->letter) {
            t->letters[letters++] = (char)row->letter;
            if (row->argument)
                t->letters[letters++] = ':';
        }
        if (row->name)
            t->names[names++] = (struct option){row->name, argument_rule(row), NULL, LONG_ONLY + i};
    }
}

static enum qb_option option_of(int value)
{
    int i = 0;

    if (value >= LONG_ONLY)
        return (enum qb_option)(value - LONG_ONLY);
    while (i < QB_OPTION_COUNT && qb_options[i].letter != value)
        i++;
    return (enum qb_option)i;
}

/* ---- options --------------------------------------------------------------------------------- */

static int take_word(struct qb_cli *cli, enum qb_option option, FILE *errors)
{
    const char *const *words = qb_options[option].takes.words;
    char text[120] = "";
    size_t used = 0;

    for (unsigned i = 0; words[i]; i++) {
        if (strcmp(optarg, words[i]) == 0) {
            cli->words[option] = i;
            return 0;
        }
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s",
                                 i == 0         ? ""
                                 : words[i + 1] ? ", "
                                                : " or ",
                                 words[i]);
    }
    snprintf(text + used, sizeof(text) - used, " is expected");
    return qb_cli_bad_argument(cli, option, text, errors);
}

static int take_number(struct qb_cli *cli, enum qb_option option, unsigned long most,
                       const char *expected, unsigned *out, FILE *errors)
{
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(optarg, &end, 10);
    if (optarg[0] < '0' || optarg[0] > '9' || *end || errno || n == 0 || n > most)
        return qb_cli_bad_argument(cli, option, expected, errors);
    *out = (unsigned)n;
    return 0;
}

const struct qb_key_row *qb_cli_setting_of(enum qb_option option)
{
    const char *name = qb_options[option].takes.setting, *dot = name ? strchr(name, '.') : NULL;
    char section[16];

    if (!dot)
        return NULL;
    snprintf(section, sizeof(section), "%.*s", (int)(dot - name), name);
    return qb_setting_find(section, dot + 1);
}

static int check_setting(const struct qb_cli *cli, enum qb_option option, FILE *errors)
{
    const struct qb_key_row *key = qb_cli_setting_of(option);
    char text[300], values[QB_KEY_VALUES];
    struct qb_key_value value;
    struct qb_why why;

    if (qb_key_read(key, optarg, &value, &why))
        return 0;
    snprintf(text, sizeof(text), "%s; %s is expected", why.text, qb_key_values(key, values));
    return qb_cli_bad_argument(cli, option, text, errors);
}

static int check_duration(const struct qb_cli *cli, enum qb_option option, FILE *errors)
{
    struct qb_why why;
    double seconds;

    return qb_scalar_duration(optarg, &seconds, &why)
               ? 0
               : qb_cli_bad_argument(cli, option, why.text, errors);
}

static int check_text(const struct qb_cli *cli, enum qb_option option, const char *what,
                      FILE *errors)
{
    return optarg && !optarg[0] ? qb_cli_bad_argument(cli, option, what, errors) : 0;
}

static int take_keys(struct qb_cli *cli, enum qb_option option, FILE *errors)
{
    if (option == QB_OPTION_SET ? qb_vec_push(&cli->sets, optarg) : qb_vec_push(&cli->keys, optarg))
        return 0;
    return qb_cli_bad_argument(cli, option, "out of memory", errors);
}

static int take_dir(struct qb_cli *cli, enum qb_option option, FILE *errors)
{
    if (check_text(cli, option, "a directory is expected", errors) < 0)
        return -1;
    if (option != QB_OPTION_ROOT || qb_vec_push(&cli->roots, optarg))
        return 0;
    return qb_cli_bad_argument(cli, option, "out of memory", errors);
}

static const char *environment(const char *name)
{
    return getenv(name);
}

static int take_shard(struct qb_cli *cli, enum qb_option option, FILE *errors)
{
    struct qb_why why;

    return qb_shard_read(optarg, environment, &cli->shard, &why)
               ? 0
               : qb_cli_bad_argument(cli, option, why.text, errors);
}

static int take(struct qb_cli *cli, enum qb_option option, FILE *errors)
{
    cli->given |= UINT64_C(1) << option;
    cli->texts[option] = optarg;
    switch (qb_options[option].takes.kind) {
    case QB_TAKES_NOTHING:
        break;
    case QB_TAKES_WORDS:
        return take_word(cli, option, errors);
    case QB_TAKES_SETTING:
        return check_setting(cli, option, errors);
    case QB_TAKES_KEYS:
        return take_keys(cli, option, errors);
    case QB_TAKES_TAGS:
        return check_text(cli, option, "a tag is expected", errors);
    case QB_TAKES_MANIFEST:
    case QB_TAKES_FILE:
        return check_text(cli, option, "a file name is expected", errors);
    case QB_TAKES_DIR:
        return take_dir(cli, option, errors);
    case QB_TAKES_RUN:
        return check_text(cli, option, "a run is expected behind =", errors);
    case QB_TAKES_NUMBER:
        return take_number(cli, option, 4096, "a number from 1 to 4096 is expected", &cli->jobs,
                           errors);
    case QB_TAKES_DURATION:
        return check_duration(cli, option, errors);
    case QB_TAKES_STEP:
        return take_number(cli, option, QB_STEPS_MAX, "a step from 1 to 32 is expected", &cli->step,
                           errors);
    case QB_TAKES_SHARD:
        return take_shard(cli, option, errors);
    }
    return 0;
}

/* None of these takes an argument of its own word. */
static bool names_a_run(const struct qb_cli *cli, enum qb_option option)
{
    return (option == QB_OPTION_YES && cli->command == QB_COMMAND_RUN) ||
           option == QB_OPTION_RESUME || option == QB_OPTION_RETRY_FAILED ||
           option == QB_OPTION_REDO || option == QB_OPTION_NEW_RUN;
}

/* "--shard=3/16" is one word, "--shard 3/16" are two. */
static bool note_shard(struct qb_cli *cli, char *const *last)
{
    return qb_vec_push(&cli->shards, last[0]) &&
           (optarg != last[0] || qb_vec_push(&cli->shards, last[-1]));
}

static int parse_options(int argc, char **argv, struct qb_cli *cli, FILE *errors)
{
    struct getopt_tables tables;
    const char *first = argc > 1 ? argv[1] : "";
    int value;

    make_tables(cli->command, &tables);
    opterr = 0;
    optind = 0; /* glibc: start over, also after an earlier parse */
    while ((value = getopt_long(argc, argv, tables.letters, tables.names, NULL)) != -1) {
        if (value == '?' && optopt >= LONG_ONLY) /* --quiet=yes */
            return optarg = NULL,
                   qb_cli_bad_argument(cli, option_of(optopt), "takes no argument", errors);
        if (value == '?')
            return qb_cli_unknown_option(cli->command, argv[optind - 1], tables.names, first,
                                         errors);
        if (value == ':')
            return optarg = NULL,
                   qb_cli_bad_argument(cli, option_of(optopt), "an argument is missing", errors);
        if (take(cli, option_of(value), errors) < 0)
            return -1;
        if (names_a_run(cli, option_of(value)) && !qb_vec_push(&cli->runs, argv[optind - 1]))
            return optarg = NULL,
                   qb_cli_bad_argument(cli, option_of(value), "out of memory", errors);
        if (option_of(value) == QB_OPTION_SHARD && !note_shard(cli, &argv[optind - 1]))
            return optarg = NULL,
                   qb_cli_bad_argument(cli, option_of(value), "out of memory", errors);
    }
    cli->argv = argv + 1;
    cli->argc = (size_t)argc - 1;
    cli->io = (enum qb_io_kind)cli->words[QB_OPTION_IO];
    cli->watching = (enum qb_watching)cli->words[QB_OPTION_WATCH];
    cli->operands = argv + optind;
    cli->n_operands = (size_t)(argc - optind);
    return 0;
}

int qb_cli_parse(int argc, char **argv, struct qb_cli *cli, FILE *errors)
{
    *cli = (struct qb_cli){.command = QB_COMMAND_RUN};
    if (argc > 1 && qb_command_find(argv[1]) != QB_COMMAND_COUNT) {
        cli->command = qb_command_find(argv[1]);
        argc--;
        argv++;
    }
    if (parse_options(argc, argv, cli, errors) < 0)
        return -1;
    return qb_cli_check(cli, errors);
}

void qb_cli_free(struct qb_cli *cli)
{
    qb_vec_free(&cli->keys);
    qb_vec_free(&cli->sets);
    qb_vec_free(&cli->roots);
    qb_vec_free(&cli->runs);
    qb_vec_free(&cli->shards);
}
