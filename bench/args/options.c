#include "args/options.h"

#include <stdio.h>
#include <string.h>

#include "args/args.h"

struct option_row {
    const char *name, *letter, *argument;
    bool in_suite;
    const char *help;
};

static const struct option_row rows[] = {
#define OPTION(ID, name, letter, argument, in_suite, help) {name, letter, argument, in_suite, help},
#include "args/options.def"
#undef OPTION
};

void bench_getopt_make(struct bench_getopt *t, bool suite)
{
    size_t n = 0, at = 0;

    memset(t, 0, sizeof(*t));
    t->letters[at++] = ':';
    for (size_t i = 0; i < BENCH_OPTIONS; i++) {
        if (suite && !rows[i].in_suite)
            continue;
        t->list[n++] = (struct option){rows[i].name, rows[i].argument != NULL, NULL,
                                       BENCH_OPT_FIRST + 1 + (int)i};
        if (rows[i].letter[0]) {
            t->letters[at++] = rows[i].letter[0];
            if (rows[i].argument)
                t->letters[at++] = ':';
        }
    }
    for (int p = 0; p < BENCH_PARAM_COUNT; p++)
        t->list[n++] = (struct option){bench_params[p].name, 1, NULL, BENCH_OPT_PARAM + p};
}

int bench_option_of(int c)
{
    for (size_t i = 0; c < BENCH_OPT_FIRST && i < BENCH_OPTIONS; i++) {
        if (rows[i].letter[0] == c && c)
            return BENCH_OPT_FIRST + 1 + (int)i;
    }
    return c;
}

/* ---- help ------------------------------------------------------------------------------------ */

static void help_params(FILE *f)
{
    for (enum bench_param p = 0; p < BENCH_PARAM_COUNT; p++) {
        const struct bench_param_row *row = &bench_params[p];
        char name[64];

        snprintf(name, sizeof(name), "--%s %s", row->name,
                 row->words                     ? row->words
                 : row->kind == BENCH_KIND_SIZE ? "SIZE"
                                                : "N");
        fprintf(f, "  %-36s %s (%s; ", name, row->help, row->preset);
        for (enum bench_case c = 0, some = 0; c < BENCH_CASE_COUNT; c++) {
            if (bench_cases[c].params & 1u << p)
                fprintf(f, "%s%s", some++ ? " " : "", bench_cases[c].name);
        }
        fprintf(f, ")\n");
    }
}

void bench_args_help(FILE *f)
{
    fprintf(f, "usage: qbatch-bench CASE [OPTIONS]\n"
               "       qbatch-bench --suite FILE [OPTIONS]\n"
               "       qbatch-bench --compare OLD.json --with NEW.json\n\n"
               "Measure what an amend costs, beside qemu-img and beside the bare I/O.\n\nCases:\n");
    for (enum bench_case c = 0; c < BENCH_CASE_COUNT; c++)
        fprintf(f, "  %-10s %s\n             (%s)\n", bench_cases[c].name, bench_cases[c].help,
                bench_cases[c].preset[0] ? bench_cases[c].preset : "size=8G");
    fprintf(f, "\nParameters (a list with commas measures each value):\n");
    help_params(f);
    fprintf(f, "\nOptions:\n");
    for (size_t i = 0; i < BENCH_OPTIONS; i++) {
        char name[64];

        snprintf(name, sizeof(name), "%s%s%s--%s %s", rows[i].letter[0] ? "-" : "", rows[i].letter,
                 rows[i].letter[0] ? ", " : "    ", rows[i].name,
                 rows[i].argument ? rows[i].argument : "");
        fprintf(f, "  %-28s %s\n", name, rows[i].help);
    }
    fprintf(f, "\nExit codes: 0 measured; 1 a run failed; 2 the command line is wrong;\n"
               "5 slower than --compare says; 6 pairs do not decide it; 75 interrupted.\n");
}
