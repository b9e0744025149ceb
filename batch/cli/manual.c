/* The parts of the manual pages that come from the tables, in mdoc: the options, and the keys of
 * each section of a manifest. */
#include <ctype.h>
#include <string.h>

#include "cli/cli.h"

void qb_help_man(FILE *f)
{
    fputs(".Bl -tag -width Ds\n", f);
    for (int i = 0; i < QB_OPTION_COUNT; i++) {
        const struct qb_option_row *row = &qb_options[i];

        fputs(".It", f);
        if (row->letter)
            fprintf(f, " Fl %c", row->letter);
        if (row->letter && row->name)
            fputs(" ,", f);
        if (row->name)
            fprintf(f, " Fl -%s", row->name);
        if (row->argument && row->argument[0] == '[') /* [=RUN] */
            fprintf(f, " Ns Op = Ns Ar %.*s", (int)strcspn(row->argument + 2, "]"),
                    row->argument + 2);
        else if (row->argument)
            fprintf(f, " Ar %s", row->argument);
        fprintf(f, "\n%c%s.\n", toupper((unsigned char)row->help[0]), row->help + 1);
    }
    fputs(".El\n", f);
}

/* ---- the text of a key ----------------------------------------------------------------------- */

/* Punctuation after or before a word, as arguments of its own, which mdoc sets apart. */
static const char *put_delimiters(FILE *f, const char *s)
{
    while (*s && strchr(".,;:)", *s))
        fprintf(f, " %c", *s++);
    if (*s && *s != ' ' && *s != '\n') { /* `sync`'s */
        fputs(" Ns ", f);
        while (*s && *s != ' ' && *s != '\n')
            fputc(*s++, f);
    }
    fputc('\n', f);
    return s;
}

static void put_escaped(FILE *f, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '\\')
            fputs("\\e", f);
        else if (s[i] == '"')
            fputs("\\(dq", f);
        else if (s[i] == '\'')
            fputs("\\(aq", f);
        else
            fputc(s[i], f);
    }
}

/* A macro line: ".Cm word ,".  Returns what follows the word and its punctuation. */
static const char *put_marked(FILE *f, const char *macro, const char *word, size_t len,
                              const char *after)
{
    bool quoted = memchr(word, ' ', len) || memchr(word, '\'', len);

    fprintf(f, "%s%s", macro, quoted ? " \"" : " ");
    put_escaped(f, word, len);
    if (quoted)
        fputc('"', f);
    return put_delimiters(f, after);
}

/* The length of "name" where "name(8)" begins here, else 0. */
static size_t page_at(const char *s)
{
    size_t n = 0;

    while (isalnum((unsigned char)s[n]) || s[n] == '_' || s[n] == '-')
        n++;
    return n && s[n] == '(' && isdigit((unsigned char)s[n + 1]) && s[n + 2] == ')' ? n : 0;
}

/* A marked word at s: what follows it; NULL where s is plain text. */
static const char *put_mark(FILE *f, const char *s, bool *in_line)
{
    const char *begin = s[0] == '(' ? s + 1 : s;
    size_t page = page_at(begin), len;
    char macro[24];

    if (*begin != '`' && *begin != '[' && !page)
        return NULL;
    if (*in_line)
        fputc('\n', f);
    *in_line = false;
    if (page) {
        char digit = begin[page + 1];

        fprintf(f, ".Xr %s%.*s %c", s[0] == '(' ? "( " : "", (int)page, begin, digit);
        return put_delimiters(f, begin + page + 3);
    }
    len = strcspn(begin + 1, *begin == '`' ? "`" : "]");
    snprintf(macro, sizeof(macro), ".%s%s",
             *begin == '['                 ? "Sx"
             : memchr(begin + 1, ' ', len) ? "Ql"
                                           : "Cm",
             s[0] == '(' ? " (" : "");
    return put_marked(f, macro, begin + 1, len, begin + len + 2);
}

/* A sentence a line, macros on lines of their own. */
static void put_text(FILE *f, const char *s)
{
    bool in_line = false;

    while (*s) {
        const char *after = put_mark(f, s, &in_line);
        size_t len = strcspn(s, " \n");

        if (after) {
            s = after;
        } else {
            if (in_line)
                fputc(' ', f);
            put_escaped(f, s, len);
            in_line = s[len - 1] != '.';
            if (!in_line)
                fputc('\n', f);
            s += len;
        }
        if (*s == '\n') {
            fputs(in_line ? "\n.Pp\n" : ".Pp\n", f);
            in_line = false;
        }
        s += *s != '\0';
    }
    if (in_line)
        fputc('\n', f);
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* "on | off", "SIZE | ''": what is typed and what stands for something. */
static void put_values(FILE *f, const char *values)
{
    char word[64];
    int used;

    for (; sscanf(values, "%63s%n", word, &used) == 1; values += used) {
        if (strcmp(word, "|") == 0) {
            fputs(" |", f);
        } else if (isupper((unsigned char)word[0]) || word[0] == '[') {
            for (char *c = word; *c; c++)
                *c = (char)tolower((unsigned char)*c);
            fprintf(f, " Ar %s", word);
        } else {
            fprintf(f, " Cm %s", strcmp(word, "''") == 0 ? "\\(aq\\(aq" : word);
        }
    }
    fputc('\n', f);
}

static void put_key(FILE *f, const struct qb_key_row *key)
{
    char values[QB_KEY_VALUES];

    fprintf(f, ".It Cm %s :", key->name);
    put_values(f, qb_key_values(key, values));
    if (key->text)
        put_text(f, key->text);
    else
        fprintf(f, "%c%s.\n", toupper((unsigned char)key->help[0]), key->help + 1);
    if (key->standard)
        fprintf(f, "The default is\n.Cm %s .\n", key->standard);
    if (key->since && strcmp(key->since, "0.1") != 0)
        fprintf(f, "Since qbatch %s.\n", key->since);
}

static void put_section(FILE *f, enum qb_section section)
{
    fputs(".Bl -tag -width Ds\n", f);
    for (const struct qb_key_row *key = qb_keys; key < qb_keys + qb_keys_count; key++)
        if (key->section == section)
            put_key(f, key);
    fputs(".El\n", f);
}

void qb_manual_fill(FILE *in, FILE *out)
{
    char line[1024], name[24];

    while (fgets(line, sizeof(line), in)) {
        int section = QB_SECTION_condition + 1;

        if (sscanf(line, ".\\\" @%23[a-z]@", name) == 1)
            for (section = 0; section <= QB_SECTION_condition; section++)
                if (strcmp(name, qb_section_name((enum qb_section)section)) == 0)
                    break;
        if (section <= QB_SECTION_condition)
            put_section(out, (enum qb_section)section);
        else
            fputs(line, out);
    }
}
