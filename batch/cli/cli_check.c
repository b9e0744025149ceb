#include "cli/cli_check.h"

#include <string.h>
#include <unistd.h>

#include "util/text.h"

const char *qb_cli_program(enum qb_command command)
{
    static const char *const names[] = {
#define COMMAND(ID, name, verb, NAMES, operands, fewest, most, help) "qbatch " name,
#include "cli/cli.def"
#undef COMMAND
    };

    return command == QB_COMMAND_RUN ? "qbatch" : names[command];
}

int qb_cli_end_of_complaint(enum qb_command command, FILE *f)
{
    fprintf(f, " (see %s --help)\n", qb_cli_program(command));
    return -1;
}

static int complain(const struct qb_cli *cli, const char *what, FILE *errors)
{
    fprintf(errors, "%s: %s", qb_cli_program(cli->command), what);
    return qb_cli_end_of_complaint(cli->command, errors);
}

/* ---- options --------------------------------------------------------------------------------- */

_Static_assert(QB_OPTION_COUNT <= 64, "struct qb_cli.given has a bit for each");

#define BIT(ID) (UINT64_C(1) << QB_OPTION_##ID)
#define RESUMES (BIT(RESUME) | BIT(RETRY_FAILED))

/* Where one of `given` is given, so must be one of `needs` (if any), and none of `excludes`. */
static const struct {
    uint64_t given, needs, excludes;
    const char *complaint;
} pairs[] = {
    {BIT(DETAILED), BIT(DRY_RUN), 0, "--detailed-exitcode goes with --dry-run"},
    {BIT(TOPOLOGY), 0, ~(BIT(TOPOLOGY) | BIT(JOBS)), "--topology goes with --jobs only"},
    {BIT(RESUME), 0, BIT(RETRY_FAILED), "--resume and --retry-failed exclude each other"},
    {BIT(FORCE_RESUME), RESUMES, 0, "--force-resume goes with --resume or --retry-failed"},
    {BIT(REDO), BIT(RESUME), 0, "--redo goes with --resume"},
    {BIT(YES), BIT(RESUME), 0,
     "--yes answers what an earlier run has asked: it goes with --resume"},
    {BIT(NEW_RUN), 0, RESUMES,
     "--new-run begins a new run; it does not go with --resume or --retry-failed"},
    {BIT(NO_STATE), 0, RESUMES | BIT(STATE),
     "--no-state does not go with --state, --resume or --retry-failed"},
    {BIT(IGNORE_TIMES), 0, BIT(DISCARD), "--ignore-times does not go with --discard-undo"},
    {RESUMES, 0, BIT(DRY_RUN), "--dry-run does not go with --resume or --retry-failed"},
};

bool qb_cli_resumes_if_any(const struct qb_cli *cli)
{
    const char *run = qb_cli_text(cli, QB_OPTION_RESUME);

    return run && strcmp(run, "if-any") == 0;
}

static int check_options(const struct qb_cli *cli, FILE *errors)
{
    uint64_t given = cli->given;

    if (qb_cli_resumes_if_any(cli) && qb_cli_has(cli, QB_OPTION_DRY_RUN)) /* as if there is none */
        given &= ~BIT(RESUME);
    if (cli->command == QB_COMMAND_APPLY) /* where it is the answer to another question, too */
        given &= ~BIT(YES);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if ((given & pairs[i].given) && ((pairs[i].needs && !(cli->given & pairs[i].needs)) ||
                                         (cli->given & pairs[i].excludes)))
            return complain(cli, pairs[i].complaint, errors);
    return 0;
}

/* ---- operands -------------------------------------------------------------------------------- */

/* A manifest that does not exist but resembles a command, or a command after options. */
static int check_manifest(const struct qb_cli *cli, FILE *errors)
{
    const char *word = cli->n_operands ? cli->operands[0] : NULL;
    const char *near = word ? qb_command_nearest(word) : NULL;

    if (!near || access(word, F_OK) == 0)
        return 0;
    fprintf(errors, "qbatch: there is no manifest \"");
    qb_text_safe(errors, word);
    if (strcmp(near, word) == 0)
        fprintf(errors, "\"; the command comes first: qbatch %s [OPTIONS] ...", near);
    else
        fprintf(errors, "\"; did you mean the command \"%s\"?", near);
    return qb_cli_end_of_complaint(cli->command, errors);
}

/* -o help needs no image. */
static int check_amend(const struct qb_cli *cli, FILE *errors)
{
    return cli->keys.n ? 0 : complain(cli, "nothing to amend: -o KEY=VALUE is missing", errors);
}

/* The images come from one place. */
static int check_images(const struct qb_cli *cli, FILE *errors)
{
    uint64_t lists = cli->given & (BIT(MANIFEST) | BIT(FROM_FILE) | BIT(FROM_FILE0));

    if (!lists && cli->n_operands == 0)
        return complain(cli, "an image is missing", errors);
    if ((lists && cli->n_operands) || (lists & (lists - 1)))
        return complain(cli, "one of --manifest, --from-file, --from-file0 or images is expected",
                        errors);
    if ((cli->given & BIT(SHARD)) && !lists)
        return complain(cli, "--shard goes with --manifest, --from-file or --from-file0", errors);
    if ((cli->given & (BIT(TAGS) | BIT(SKIP_TAGS))) && !(lists & BIT(MANIFEST)))
        return complain(cli, "--tags and --skip-tags go with --manifest", errors);
    return 0;
}

/* What each of its verbs takes besides -h and -V, and how many words follow. */
static const struct {
    const char *name;
    uint64_t options;
    size_t least, most;
    const char *complaint;
} verbs[] = {
    {"list", BIT(JSON) | BIT(STATE), 0, 1, "one run at a time"},
    {"restore",
     BIT(DRY_RUN) | BIT(ON_NO_LOCKS) | BIT(JSON) | BIT(STATE) | BIT(QUIET) | BIT(DISCARD_WRITES), 1,
     SIZE_MAX, "a run is missing (qbatch backup list shows them)"},
    {"prune",
     BIT(DRY_RUN) | BIT(ON_NO_LOCKS) | BIT(JSON) | BIT(STATE) | BIT(QUIET) | BIT(OLDER_THAN), 0, 1,
     "one run at a time"},
};

static int check_backup(const struct qb_cli *cli, FILE *errors)
{
    const char *verb = cli->n_operands ? cli->operands[0] : "";
    size_t n = sizeof(verbs) / sizeof(verbs[0]), i = 0, words = cli->n_operands - 1;
    bool old = cli->given & BIT(OLDER_THAN);
    char text[80];

    while (i < n && strcmp(verbs[i].name, verb) != 0)
        i++;
    if (i == n)
        return complain(cli, qb_commands[QB_COMMAND_BACKUP].takes.too_few, errors);
    for (int o = 0; o < QB_OPTION_COUNT; o++)
        if (cli->given & ~verbs[i].options & UINT64_C(1) << o) {
            snprintf(text, sizeof(text), "--%s does not go with %s", qb_options[o].name, verb);
            return complain(cli, text, errors);
        }
    if (words < verbs[i].least || words > verbs[i].most)
        return complain(cli, verbs[i].complaint, errors);
    if (strcmp(verb, "prune") == 0 && old == (words == 1))
        return complain(cli, "a run or --older-than is expected", errors);
    return 0;
}

/* What comes after each order of ctl. */
static const struct {
    const char *name;
    size_t least, most;
    const char *complaint;
} orders[] = {
    {"status", 0, 0, "nothing is expected after the order"},
    {"pause", 0, 0, "nothing is expected after the order"},
    {"continue", 0, 0, "nothing is expected after the order"},
    {"stop", 0, 0, "nothing is expected after the order"},
    {"reload", 0, 0, "nothing is expected after the order"},
    {"skip", 1, 1, "skip takes one image"},
    {"limits", 1, SIZE_MAX, "limits takes KEY=VALUE, such as rate=50M"},
};

enum { ORDERS = sizeof(orders) / sizeof(orders[0]) };

static size_t find_order(const struct qb_cli *cli, size_t at)
{
    size_t i = 0;

    while (i < ORDERS && (at >= cli->n_operands || strcmp(cli->operands[at], orders[i].name) != 0))
        i++;
    return i;
}

size_t qb_cli_order(const struct qb_cli *cli)
{
    return find_order(cli, 0) == ORDERS;
}

static int check_ctl(const struct qb_cli *cli, FILE *errors)
{
    size_t at = qb_cli_order(cli), i = find_order(cli, at), more;

    if (i == ORDERS)
        return complain(cli, qb_commands[QB_COMMAND_CTL].takes.too_few, errors);
    more = cli->n_operands - at - 1;
    if (more < orders[i].least || more > orders[i].most)
        return complain(cli, orders[i].complaint, errors);
    if ((cli->given & BIT(NOW)) && strcmp(orders[i].name, "stop") != 0)
        return complain(cli, "--now goes with stop", errors);
    return 0;
}

#define SINKS (BIT(SUMMARY) | BIT(JOBLOG) | BIT(JUNIT) | BIT(HTML) | BIT(PROMETHEUS))

static int check_report(const struct qb_cli *cli, FILE *errors)
{
    const char *what = cli->n_operands ? cli->operands[0] : "";

    if (strcmp(what, "merge") != 0 && strcmp(what, "show") != 0)
        return complain(cli, "\"show\" or \"merge\" is expected, and the reports", errors);
    if (strcmp(what, "merge") == 0 && cli->n_operands > 1 && (cli->given & ~SINKS))
        return complain(cli, "merge has no options but those of files", errors);
    return 0;
}

/* A plan is made of a manifest, or shown. */
static int check_plan(const struct qb_cli *cli, FILE *errors)
{
    bool shows = cli->n_operands == 2 && strcmp(cli->operands[0], "show") == 0;

    if (cli->given & BIT(SAVE))
        return cli->n_operands > 1 ? complain(cli, "--save goes with one manifest", errors) : 0;
    if (!shows)
        return complain(
            cli, "--save FILE and a manifest are expected, or \"show\" and a saved plan", errors);
    if (cli->given & ~(BIT(JSON) | BIT(ALL_ROWS) | BIT(VERBOSE) | BIT(COLOR) | BIT(DIFF)))
        return complain(cli, "show takes --json, --all-rows, --diff, -v and --color only", errors);
    return 0;
}

static int check_schema(const struct qb_cli *cli, FILE *errors)
{
    const char *what = cli->n_operands ? cli->operands[0] : "manifest";

    if (strcmp(what, "manifest") != 0 && strcmp(what, "report") != 0)
        return complain(cli, "\"manifest\" or \"report\" is expected", errors);
    return 0;
}

/* Of the subjects, completion alone has a second word: the shell. */
static int check_help(const struct qb_cli *cli, FILE *errors)
{
    if (cli->n_operands < 2 || strcmp(cli->operands[0], "completion") == 0)
        return 0;
    return complain(cli, qb_commands[QB_COMMAND_HELP].takes.too_many, errors);
}

/* What the numbers in the table do not say. */
static int (*const checks[QB_COMMAND_COUNT])(const struct qb_cli *cli, FILE *errors) = {
    [QB_COMMAND_RUN] = check_manifest,  [QB_COMMAND_AMEND] = check_amend,
    [QB_COMMAND_CHECK] = check_images,  [QB_COMMAND_INFO] = check_images,
    [QB_COMMAND_MAP] = check_images,    [QB_COMMAND_REPORT] = check_report,
    [QB_COMMAND_BACKUP] = check_backup, [QB_COMMAND_SCHEMA] = check_schema,
    [QB_COMMAND_HELP] = check_help,     [QB_COMMAND_PLAN] = check_plan,
    [QB_COMMAND_CTL] = check_ctl,
};

int qb_cli_check(const struct qb_cli *cli, FILE *errors)
{
    const struct qb_command_row *row = &qb_commands[cli->command];

    if (qb_cli_has(cli, QB_OPTION_HELP) || qb_cli_has(cli, QB_OPTION_VERSION))
        return 0;
    if (check_options(cli, errors) < 0)
        return -1;
    if (checks[cli->command] && checks[cli->command](cli, errors) < 0)
        return -1;
    if (qb_cli_has(cli, QB_OPTION_TOPOLOGY) && cli->n_operands == 0)
        return 0;
    if (cli->n_operands < row->takes.least)
        return complain(cli, row->takes.too_few, errors);
    return cli->n_operands > row->takes.most ? complain(cli, row->takes.too_many, errors) : 0;
}
