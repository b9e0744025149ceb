/* What can be read off cli.def and keys.def for a terminal: the usage, --help, a key; and the
 * commands by name. */
#include <ctype.h>
#include <string.h>

#include "cli/cli.h"
#include "util/text.h"

enum {
    OPTION_WIDTH = 26,  /* columns of the option itself */
    COMMAND_WIDTH = 12, /* columns of a command's name */
    LINE_WIDTH = 92,
};

enum qb_command qb_command_find(const char *name)
{
    int i = QB_COMMAND_RUN + 1;

    while (i < QB_COMMAND_COUNT && strcmp(qb_commands[i].name, name) != 0)
        i++;
    return (enum qb_command)i;
}

const char *qb_command_nearest(const char *name)
{
    const char *names[QB_COMMAND_COUNT] = {0};

    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++)
        names[i - 1] = qb_commands[i].name;
    return qb_text_nearest(name, names);
}

static void print_synopsis(FILE *f, const char *before, enum qb_command command)
{
    const struct qb_command_row *row = &qb_commands[command];

    fprintf(f, "%sqbatch%s%s [OPTIONS] %s\n", before, *row->name ? " " : "", row->name,
            row->operands);
}

void qb_help_usage(FILE *f)
{
    for (int i = 0; i < QB_COMMAND_COUNT; i++)
        if (i != QB_COMMAND_HELP)
            print_synopsis(f, i == 0 ? "usage: " : "       ", (enum qb_command)i);
    fputs("Amends qcow2 images in place, many at a time: qbatch --help says how.\n", f);
}

/* Prints text from column `at` on, breaking lines between words. */
void qb_help_wrap(FILE *f, const char *text, size_t at)
{
    size_t column = at;

    while (*text) {
        size_t len = strcspn(text, " ");

        if (column > at && column + 1 + len > LINE_WIDTH) {
            fprintf(f, "\n%*s", (int)at, "");
            column = at;
        } else if (column > at) {
            fputc(' ', f);
            column++;
        }
        fprintf(f, "%.*s", (int)len, text);
        column += len;
        text += len + strspn(text + len, " ");
    }
    fputc('\n', f);
}

static void print_option(FILE *f, const struct qb_option_row *row)
{
    char left[80] = "", letter[8] = "   ";
    const char *argument = row->argument ? row->argument : "";

    if (row->letter)
        snprintf(letter, sizeof(letter), "-%c%s", row->letter, row->name ? "," : "");
    snprintf(left, sizeof(left), "  %s %s%s%s%s", letter, row->name ? "--" : "",
             row->name ? row->name : "", *argument && *argument != '[' && row->name ? " " : "",
             argument);
    fprintf(f, "%-*s", OPTION_WIDTH, left);
    if (strlen(left) >= OPTION_WIDTH)
        fprintf(f, "\n%*s", OPTION_WIDTH, "");
    qb_help_wrap(f, row->help, OPTION_WIDTH);
}

static void print_options(FILE *f, enum qb_command command)
{
    fputs("\nOptions:\n", f);
    for (int i = 0; i < QB_OPTION_COUNT; i++)
        if (qb_options[i].commands & 1u << command)
            print_option(f, &qb_options[i]);
}

static const char first_steps[] =
    "\nTo begin with:\n"
    "  qbatch info *.qcow2                      show what the images are\n"
    "  qbatch amend -n -o compat=1.1 *.qcow2    show what would change; without -n, change it\n"
    "  qbatch lint fleet.yaml                   report the mistakes of a manifest\n"
    "  qbatch --dry-run fleet.yaml              do everything but the writes\n"
    "  qbatch fleet.yaml                        amend the fleet\n";

static void print_commands(FILE *f)
{
    fputs("\nOther commands (qbatch help COMMAND):\n", f);
    for (int i = QB_COMMAND_RUN + 1; i < QB_COMMAND_COUNT; i++) {
        fprintf(f, "  %-*s", COMMAND_WIDTH - 2, qb_commands[i].name);
        qb_help_wrap(f, qb_commands[i].help, COMMAND_WIDTH);
    }
}

#define SHOWN                                                                                      \
    "  0  every image was read\n"                                                                  \
    "  1  some image could not be read\n"                                                          \
    "  2  the command line or the manifest is wrong\n"                                             \
    "  75 interrupted\n"

static const char *const exit_codes[QB_COMMAND_COUNT] = {
    [QB_COMMAND_RUN] =
        "  0  every image has the requested properties\n"
        "  1  some images failed\n"
        "  2  the command line or the manifest is wrong; nothing was touched\n"
        "  3  none failed, some were skipped because they are in use\n"
        "  4  with --dry-run --detailed-exitcode: there are changes to make; or a rollout "
        "waits\n"
        "     for an answer\n"
        "  5  an image was amended, and is not what it should be: do not use it\n"
        "  75 interrupted; every image is as it was or fully amended; --resume finishes it\n",
    [QB_COMMAND_CHECK] = "  0  no errors were found\n"
                         "  1  some image could not be checked\n"
                         "  2  some image is corrupt (or the command line is wrong)\n"
                         "  3  clusters are leaked, nothing worse\n"
                         "  75 interrupted\n",
    [QB_COMMAND_INFO] = SHOWN,
    [QB_COMMAND_MAP] = SHOWN,
    [QB_COMMAND_LINT] = "  0  the manifest is right\n"
                        "  2  it is not\n",
    [QB_COMMAND_PLAN] = "  0  saved, or shown\n"
                        "  1  saved, and some images are refused; or the plan could not be saved\n"
                        "  2  the command line, the manifest or the plan is wrong\n"
                        "  3  saved, and some images are skipped because they are in use\n"
                        "  75 interrupted; nothing was saved\n",
    [QB_COMMAND_APPLY] =
        "  0  every image is as the plan has it\n"
        "  1  some images failed, by the plan or because they changed since (stale)\n"
        "  2  the plan is not whole, or is not to be trusted, or there is no terminal to agree "
        "to it\n"
        "     and no --yes; nothing was touched\n"
        "  3  none failed, some were skipped because they are in use\n"
        "  4  the answer was not yes; or a rollout waits for an answer\n"
        "  5  an image was amended, and is not what it should be: do not use it\n"
        "  75 interrupted; every image is as it was or fully amended; --resume finishes it\n",
    [QB_COMMAND_REPORT] =
        "  0  shown, or merged\n"
        "  1  something could not be written\n"
        "  2  a report cannot be read or is damaged; nothing was shown\n"
        "merge of shards exits as one run of all images would, and with\n"
        "  1  also where a shard ran twice, or two had one file\n"
        "  4  where the rollout of a shard waits for an answer\n"
        "  75 where a shard is missing, or did not come to its end, or no report has a line\n",
    [QB_COMMAND_STATUS] = "  0  shown\n"
                          "  2  no run is called that, or its journal is damaged\n",
    [QB_COMMAND_BACKUP] =
        "  0  listed; every image that was meant is restored; every file removed\n"
        "  1  some images were not restored, or some files kept\n"
        "  2  no run is called that, or it has no clones, or it has not finished; "
        "nothing was touched\n"
        "  75 interrupted: run it again\n",
    [QB_COMMAND_UNDO] = "  0  every image is as it was before the run\n"
                        "  1  some images could not be put back\n"
                        "  2  no run is called that, or it kept nothing; nothing was touched\n"
                        "  5  what was written does not come back from the disk\n"
                        "  75 interrupted: run it again\n",
};

static void print_exit_codes(FILE *f, enum qb_command command)
{
    const char *text = exit_codes[command == QB_COMMAND_AMEND ? QB_COMMAND_RUN : command];

    if (text)
        fprintf(f, "\nExit codes:\n%s", text);
}

void qb_help_command(FILE *f, enum qb_command command)
{
    const char *help = qb_commands[command].help;

    print_synopsis(f, "usage: ", command);
    fprintf(f, "\n%c%s.\n", toupper((unsigned char)help[0]), help + 1);
    if (command == QB_COMMAND_RUN) {
        fputs(first_steps, f);
        print_commands(f);
    }
    print_options(f, command);
    print_exit_codes(f, command);
    if (command == QB_COMMAND_RUN)
        fputs("\nManual pages: qbatch(1), qbatch-manifest(5), qbatch-fleets(7).\n", f);
}

/* ---- a key ----------------------------------------------------------------------------------- */

/* The text without its marks. */
static void print_text(FILE *f, const char *text)
{
    char plain[4096];
    size_t n = 0;

    for (; *text && n < sizeof(plain) - 1; text++)
        if (*text != '`')
            plain[n++] = *text == '\n' ? ' ' : *text;
    plain[n] = '\0';
    qb_help_wrap(f, plain, 2);
}

void qb_help_key(FILE *f, const struct qb_key_row *key)
{
    static const char *const where[] = {
        [QB_SECTION_amend] =
            "amend key, in an entry of \"images\", in \"defaults\", with -o or --set",
        [QB_SECTION_policy] = "under \"policy\"",
        [QB_SECTION_limits] = "under \"limits\"",
        [QB_SECTION_rollout] = "under \"rollout\"",
        [QB_SECTION_condition] = "condition of \"when\", \"expect\" and \"after\"",
    };
    char values[QB_KEY_VALUES];

    fprintf(f, "%s: %s\n  (%s", key->name, qb_key_values(key, values), where[key->section]);
    fprintf(f, key->standard ? "; default %s)\n  " : ")\n  ", key->standard);
    print_text(f, key->text ? key->text : key->help);
    qb_parts_each(part, key)
        fprintf(f, "    %s: %s: %s%s\n", part->name, qb_key_values(part, values), part->help,
                part->is_required ? "" : " (optional)");
}
