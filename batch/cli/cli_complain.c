/* What is said of options that are unknown, or whose argument is wrong. */
#include <getopt.h>
#include <string.h>

#include "cli/cli_check.h"
#include "util/text.h"

/* Where else an option is known: "--shrink" of the command RUN belongs to amend. */
static const char *other_command(const char *word)
{
    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        bool is = word[1] == '-' ? qb_options[i].name && strcmp(word + 2, qb_options[i].name) == 0
                                 : word[1] && qb_options[i].letter == word[1];

        for (int c = QB_COMMAND_RUN; is && c < QB_COMMAND_COUNT; c++)
            if (qb_options[i].commands & 1u << c)
                return c == QB_COMMAND_RUN ? "qbatch MANIFEST" : qb_cli_program((enum qb_command)c);
    }
    return NULL;
}

static const char *nearest_option(const char *word, const struct option *options)
{
    const char *names[QB_OPTION_COUNT + 1] = {0};
    char bare[64];

    for (size_t i = 0; options[i].name; i++)
        names[i] = options[i].name;
    snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(word, "="), word);
    return qb_text_nearest(bare, names);
}

/* `word` is as it was typed; a cluster of letters is told by the one that is wrong. */
int qb_cli_unknown_option(enum qb_command command, const char *word, const struct option *names,
                          const char *first, FILE *f)
{
    char letter[3] = {'-', (char)optopt, 0};
    bool is_long = optopt == 0;
    const char *elsewhere = other_command(is_long ? word : letter);
    const char *near = is_long && !elsewhere ? nearest_option(word + 2, names) : NULL;
    const char *meant = command == QB_COMMAND_RUN ? qb_command_nearest(first) : NULL;

    fprintf(f, "%s: unknown option ", qb_cli_program(command));
    qb_text_safe(f, is_long ? word : letter);
    if (meant)
        fprintf(f, "; did you mean the command \"%s\"?", meant);
    else if (near)
        fprintf(f, "; did you mean --%s?", near);
    else if (elsewhere)
        fprintf(f, ", which is one of %s", elsewhere);
    return qb_cli_end_of_complaint(command, f);
}

int qb_cli_bad_argument(const struct qb_cli *cli, enum qb_option option, const char *what, FILE *f)
{
    const struct qb_option_row *row = &qb_options[option];

    if (row->name)
        fprintf(f, "%s: --%s", qb_cli_program(cli->command), row->name);
    else
        fprintf(f, "%s: -%c", qb_cli_program(cli->command), row->letter);
    if (optarg) {
        fputs(" \"", f);
        qb_text_safe(f, optarg);
        fputs("\"", f);
    }
    fprintf(f, ": %s", what);
    return qb_cli_end_of_complaint(cli->command, f);
}
