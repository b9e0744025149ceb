#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "manifest/settings.h"
#include "util/text.h"

const struct qb_command_row qb_commands[QB_COMMAND_COUNT] = {
#define COMMAND(ID, name, operands, help) [QB_COMMAND_##ID] = {name, operands, help},
#include "cli/cli.def"
#undef COMMAND
};

#define ON(ID) (1u << QB_COMMAND_##ID)
#define ON_ALL ((1u << QB_COMMAND_COUNT) - 1)

const struct qb_option_row qb_options[QB_OPTION_COUNT] = {
#define OPTION(ID, letter, name, argument, commands, help)                                         \
    [QB_OPTION_##ID] = {letter, name, argument, commands, help},
#include "cli/cli.def"
#undef OPTION
};

enum { LONG_ONLY = 1000 }; /* getopt's value for option i is LONG_ONLY + i, or its letter */

static int argument_rule(const struct qb_option_row *row)
{
    if (!row->argument)
        return no_argument;
    return row->argument[0] == '[' ? optional_argument : required_argument;
}

/* What getopt wants of one command. */
struct getopt_tables {
    char letters[2 * QB_OPTION_COUNT + 2];
    struct option names[QB_OPTION_COUNT + 1];
};

static void make_tables(enum qb_command command, struct getopt_tables *t)
{
    size_t letters = 0, names = 0;

    memset(t, 0, sizeof(*t));
    t->letters[letters++] = ':'; /* an argument that is missing is told from an unknown option */
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

/* ---- complaints ------------------------------------------------------------------------------ */

static const char *program(enum qb_command command)
{
    static const char *const names[] = {
#define COMMAND(ID, name, operands, help) "qbatch " name,
#include "cli/cli.def"
#undef COMMAND
    };

    return command == QB_COMMAND_RUN ? "qbatch" : names[command];
}

static int end_of_complaint(enum qb_command command, FILE *f)
{
    fprintf(f, " (see %s --help)\n", program(command));
    return -1;
}

/* Where else an option is known: "--shrink" of the command RUN belongs to amend. */
static const char *other_command(const char *word)
{
    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        bool is = word[1] == '-' ? qb_options[i].name && strcmp(word + 2, qb_options[i].name) == 0
                                 : word[1] && qb_options[i].letter == word[1];

        for (int c = QB_COMMAND_RUN; is && c < QB_COMMAND_COUNT; c++)
            if (qb_options[i].commands & 1u << c)
                return c == QB_COMMAND_RUN ? "qbatch MANIFEST" : program((enum qb_command)c);
    }
    return NULL;
}

static const char *nearest_option(const char *word, const struct getopt_tables *t)
{
    const char *names[QB_OPTION_COUNT + 1] = {0};
    char bare[64];

    for (size_t i = 0; t->names[i].name; i++)
        names[i] = t->names[i].name;
    snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(word, "="), word);
    return qb_text_nearest(bare, names);
}

/* `word` is as it was typed; a cluster of letters is told by the one that is wrong. */
static int unknown_option(enum qb_command command, const char *word, const struct getopt_tables *t,
                          const char *first, FILE *f)
{
    char letter[3] = {'-', (char)optopt, 0};
    bool is_long = optopt == 0;
    const char *elsewhere = other_command(is_long ? word : letter);
    const char *near = is_long && !elsewhere ? nearest_option(word + 2, t) : NULL;
    const char *meant = command == QB_COMMAND_RUN ? qb_command_nearest(first) : NULL;

    fprintf(f, "%s: unknown option ", program(command));
    qb_text_safe(f, is_long ? word : letter);
    if (meant)
        fprintf(f, "; did you mean the command \"%s\"?", meant);
    else if (near)
        fprintf(f, "; did you mean --%s?", near);
    else if (elsewhere)
        fprintf(f, ", which is one of %s", elsewhere);
    return end_of_complaint(command, f);
}

static int bad_argument(const struct qb_cli *cli, enum qb_option option, const char *what, FILE *f)
{
    const struct qb_option_row *row = &qb_options[option];

    if (row->name)
        fprintf(f, "%s: --%s", program(cli->command), row->name);
    else
        fprintf(f, "%s: -%c", program(cli->command), row->letter);
    if (optarg) {
        fputs(" \"", f);
        qb_text_safe(f, optarg);
        fputs("\"", f);
    }
    fprintf(f, ": %s", what);
    return end_of_complaint(cli->command, f);
}

/* ---- options --------------------------------------------------------------------------------- */

static int take_io(struct qb_cli *cli, FILE *errors)
{
    static const char *const names[] = {
        [QB_IO_AUTO] = "auto", [QB_IO_URING] = "uring", [QB_IO_POSIX] = "posix"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(optarg, names[i]) == 0) {
            cli->io = (enum qb_io_kind)i;
            return 0;
        }
    return bad_argument(cli, QB_OPTION_IO, "auto, uring or posix is expected", errors);
}

/* The same words as in a manifest. */
static int take_verify(struct qb_cli *cli, FILE *errors)
{
    struct qb_settings settings = {0};
    struct qb_why why;

    if (!qb_setting_find("policy", "verify")->set(optarg, &settings, &why))
        return bad_argument(cli, QB_OPTION_VERIFY, "none, metadata or content is expected", errors);
    cli->verify = settings.request.verify;
    return 0;
}

static int take_on_leaks(struct qb_cli *cli, FILE *errors)
{
    struct qb_settings settings = {0};
    struct qb_why why;

    if (!qb_setting_find("policy", "on_leaks")->set(optarg, &settings, &why))
        return bad_argument(cli, QB_OPTION_ON_LEAKS, "keep, free or fail is expected", errors);
    cli->on_leaks = settings.request.on_leaks;
    return 0;
}

static int take_watch(struct qb_cli *cli, FILE *errors)
{
    static const char *const words[] = {
        [QB_WATCH_AUTO] = "auto", [QB_WATCH_JSON] = "json", [QB_WATCH_NONE] = "none", NULL};
    struct qb_why why;
    unsigned word;

    if (!qb_scalar_word(optarg, words, &word, &why))
        return bad_argument(cli, QB_OPTION_WATCH, "auto, json or none is expected", errors);
    cli->watching = (enum qb_watching)word;
    return 0;
}

static int take_jobs(struct qb_cli *cli, FILE *errors)
{
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(optarg, &end, 10);
    if (optarg[0] < '0' || optarg[0] > '9' || *end || errno || n == 0 || n > 1024)
        return bad_argument(cli, QB_OPTION_JOBS, "a number from 1 to 1024 is expected", errors);
    cli->jobs = (unsigned)n;
    return 0;
}

const struct qb_setting_row *qb_cli_setting_of(enum qb_option option)
{
    static const struct {
        enum qb_option option;
        const char *section, *name;
    } settings[] = {
        {QB_OPTION_BACKUP, "policy", "backup"}, {QB_OPTION_DEADLINE, "limits", "deadline"},
        {QB_OPTION_NICE, "limits", "nice"},     {QB_OPTION_IONICE, "limits", "ionice"},
        {QB_OPTION_LOAD, "limits", "load"},     {QB_OPTION_ON_NO_LOCKS, "policy", "on_no_locks"},
    };

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (settings[i].option == option)
            return qb_setting_find(settings[i].section, settings[i].name);
    return NULL;
}

static int check_setting(const struct qb_cli *cli, enum qb_option option, FILE *errors)
{
    const struct qb_setting_row *row = qb_cli_setting_of(option);
    struct qb_settings scratch = {.policy.backup = QB_BACKUP_NONE};
    struct qb_why why;
    char text[300];

    if (!row || row->set(optarg, &scratch, &why))
        return 0;
    snprintf(text, sizeof(text), "%s; %s is expected", why.text, row->values);
    return bad_argument(cli, option, text, errors);
}

static int check_text(const struct qb_cli *cli, enum qb_option option, const char *what,
                      FILE *errors)
{
    return optarg && !optarg[0] ? bad_argument(cli, option, what, errors) : 0;
}

static int check_graph_format(const struct qb_cli *cli, FILE *errors)
{
    static const char *const names[] = {"tree", "dot", "json"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(optarg, names[i]) == 0)
            return 0;
    return bad_argument(cli, QB_OPTION_GRAPH_FORMAT, "tree, dot or json is expected", errors);
}

static int take(struct qb_cli *cli, enum qb_option option, FILE *errors)
{
    cli->given |= UINT64_C(1) << option;
    cli->texts[option] = optarg;
    switch (option) {
    case QB_OPTION_IO:
        return take_io(cli, errors);
    case QB_OPTION_VERIFY:
        return take_verify(cli, errors);
    case QB_OPTION_ON_LEAKS:
        return take_on_leaks(cli, errors);
    case QB_OPTION_JOBS:
        return take_jobs(cli, errors);
    case QB_OPTION_REPORT:
    case QB_OPTION_SUMMARY:
    case QB_OPTION_JOBLOG:
    case QB_OPTION_JUNIT:
    case QB_OPTION_HTML:
        return check_text(cli, option, "a file name is expected", errors);
    case QB_OPTION_STATE:
    case QB_OPTION_PROMETHEUS:
        return check_text(cli, option, "a folder is expected", errors);
    case QB_OPTION_RESUME:
    case QB_OPTION_RETRY_FAILED:
        return check_text(cli, option, "a run is expected behind =", errors);
    case QB_OPTION_GRAPH_FORMAT:
        return check_graph_format(cli, errors);
    case QB_OPTION_FORMAT:
        return strcmp(optarg, "qcow2") == 0
                   ? 0
                   : bad_argument(cli, option, "only qcow2 images can be amended", errors);
    case QB_OPTION_WATCH:
        return take_watch(cli, errors);
    case QB_OPTION_SET:
        if (qb_vec_push(&cli->sets, optarg))
            return 0;
        return bad_argument(cli, option, "out of memory", errors);
    case QB_OPTION_TAGS:
    case QB_OPTION_SKIP_TAGS:
        return check_text(cli, option, "a tag is expected", errors);
    case QB_OPTION_KEYS:
        if (qb_vec_push(&cli->keys, optarg))
            return 0;
        return bad_argument(cli, option, "out of memory", errors);
    default:
        return check_setting(cli, option, errors);
    }
}

/* None of these takes an argument of its own word. */
static bool names_a_run(enum qb_option option)
{
    return option == QB_OPTION_RESUME || option == QB_OPTION_RETRY_FAILED ||
           option == QB_OPTION_REDO || option == QB_OPTION_NEW_RUN;
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
            return optarg = NULL, bad_argument(cli, option_of(optopt), "takes no argument", errors);
        if (value == '?')
            return unknown_option(cli->command, argv[optind - 1], &tables, first, errors);
        if (value == ':')
            return optarg = NULL,
                   bad_argument(cli, option_of(optopt), "an argument is missing", errors);
        if (take(cli, option_of(value), errors) < 0)
            return -1;
        if (names_a_run(option_of(value)) && !qb_vec_push(&cli->runs, argv[optind - 1]))
            return optarg = NULL, bad_argument(cli, option_of(value), "out of memory", errors);
    }
    cli->argv = argv + 1;
    cli->argc = (size_t)argc - 1;
    cli->operands = argv + optind;
    cli->n_operands = (size_t)(argc - optind);
    return 0;
}

/* ---- operands -------------------------------------------------------------------------------- */

static int complain(const struct qb_cli *cli, const char *what, FILE *errors)
{
    fprintf(errors, "%s: %s", program(cli->command), what);
    return end_of_complaint(cli->command, errors);
}

/* A manifest that is no file but looks like a command, or a command behind options. */
static int check_manifest(const struct qb_cli *cli, FILE *errors)
{
    const char *word = cli->operands[0], *near = qb_command_nearest(word);

    if (near && access(word, F_OK) < 0) {
        fprintf(errors, "qbatch: there is no manifest \"");
        qb_text_safe(errors, word);
        if (strcmp(near, word) == 0)
            fprintf(errors, "\"; the command comes first: qbatch %s [OPTIONS] ...", near);
        else
            fprintf(errors, "\"; did you mean the command \"%s\"?", near);
        return end_of_complaint(cli->command, errors);
    }
    return cli->n_operands == 1
               ? 0
               : complain(cli, "one manifest at a time; for images use qbatch amend", errors);
}

_Static_assert(QB_OPTION_COUNT <= 64, "struct qb_cli.given has a bit for each");

#define TOPOLOGY_GOES_WITH (UINT64_C(1) << QB_OPTION_TOPOLOGY | UINT64_C(1) << QB_OPTION_JOBS)

static int check_state_options(const struct qb_cli *cli, FILE *errors)
{
    bool resume = qb_cli_has(cli, QB_OPTION_RESUME),
         retry = qb_cli_has(cli, QB_OPTION_RETRY_FAILED);

    if (resume && retry)
        return complain(cli, "--resume and --retry-failed exclude each other", errors);
    if (qb_cli_has(cli, QB_OPTION_FORCE_RESUME) && !resume && !retry)
        return complain(cli, "--force-resume goes with --resume or --retry-failed", errors);
    if (qb_cli_has(cli, QB_OPTION_REDO) && !resume)
        return complain(cli, "--redo goes with --resume", errors);
    if (qb_cli_has(cli, QB_OPTION_NEW_RUN) && (resume || retry))
        return complain(cli,
                        "--new-run begins a new run; it does not go with --resume or "
                        "--retry-failed",
                        errors);
    if (qb_cli_has(cli, QB_OPTION_NO_STATE) &&
        (resume || retry || qb_cli_has(cli, QB_OPTION_STATE)))
        return complain(cli, "--no-state does not go with --state, --resume or --retry-failed",
                        errors);
    if ((resume || retry) && qb_cli_has(cli, QB_OPTION_DRY_RUN))
        return complain(cli, "--dry-run does not go with --resume or --retry-failed", errors);
    return 0;
}

static int check_report(const struct qb_cli *cli, FILE *errors)
{
    const char *what = cli->n_operands ? cli->operands[0] : "";

    if (strcmp(what, "merge") != 0 && strcmp(what, "show") != 0)
        return complain(cli, "\"show\" or \"merge\" is expected, and the reports", errors);
    if (cli->n_operands < 2)
        return complain(cli, "a report is missing: a file of --report or --json", errors);
    if (strcmp(what, "merge") == 0 && cli->given)
        return complain(cli, "merge has no options", errors);
    return 0;
}

static int check_operands(const struct qb_cli *cli, FILE *errors)
{
    if (qb_cli_has(cli, QB_OPTION_HELP) || qb_cli_has(cli, QB_OPTION_VERSION))
        return 0;
    if (qb_cli_has(cli, QB_OPTION_DETAILED) && !qb_cli_has(cli, QB_OPTION_DRY_RUN))
        return complain(cli, "--detailed-exitcode goes with --dry-run", errors);
    if (qb_cli_has(cli, QB_OPTION_TOPOLOGY) && cli->given & ~TOPOLOGY_GOES_WITH)
        return complain(cli, "--topology goes with --jobs only", errors);
    if (check_state_options(cli, errors) < 0)
        return -1;
    switch (cli->command) {
    case QB_COMMAND_RUN:
        if (cli->n_operands == 0 && qb_cli_has(cli, QB_OPTION_TOPOLOGY))
            return 0;
        return cli->n_operands ? check_manifest(cli, errors)
                               : complain(cli, "a manifest is missing", errors);
    case QB_COMMAND_GRAPH:
    case QB_COMMAND_LINT:
        return cli->n_operands == 1 ? 0 : complain(cli, "one manifest is expected", errors);
    case QB_COMMAND_AMEND:
        if (cli->keys.n == 0)
            return complain(cli, "nothing to amend: -o KEY=VALUE is missing", errors);
        return 0; /* -o help needs no image */
    case QB_COMMAND_STATUS:
        return cli->n_operands <= 1 ? 0 : complain(cli, "one run at a time", errors);
    case QB_COMMAND_UNDO:
        return cli->n_operands
                   ? 0
                   : complain(cli, "a run is missing (qbatch status lists them)", errors);
    case QB_COMMAND_REPORT:
        return check_report(cli, errors);
    case QB_COMMAND_CHECK:
        return cli->n_operands ? 0 : complain(cli, "an image is missing", errors);
    case QB_COMMAND_SCHEMA:
        return cli->n_operands ? complain(cli, "nothing more is expected", errors) : 0;
    default: /* help, of which completion knows shells */
        if (cli->n_operands == 2 && strcmp(cli->operands[0], "completion") == 0)
            return 0;
        return cli->n_operands <= 1 ? 0 : complain(cli, "one subject is expected", errors);
    }
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
    return check_operands(cli, errors);
}

void qb_cli_free(struct qb_cli *cli)
{
    qb_vec_free(&cli->keys);
    qb_vec_free(&cli->sets);
    qb_vec_free(&cli->runs);
}
