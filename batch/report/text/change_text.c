/* Formats the changes of an image for people: "size: 1 GiB -> 2 GiB". */
#include "text/change_text.h"

#include <string.h>

#include "util/text.h"

static void print_value(FILE *f, struct qb_value v)
{
    char buf[QB_TEXT_NUMBER];

    switch (v.kind) {
    case QB_VALUE_TEXT:
        qb_text_safe(f, v.text);
        break;
    case QB_VALUE_NUMBER:
        fprintf(f, "%llu", (unsigned long long)v.number);
        break;
    case QB_VALUE_BYTES:
        fputs(qb_text_size(v.number, buf), f);
        break;
    case QB_VALUE_BOOL:
        fputs(v.number ? "on" : "off", f);
        break;
    default:
        fputs("none", f);
    }
}

/* Two sizes that are equal when rounded are shown in bytes. */
static void print_change(FILE *f, const struct qb_change *c)
{
    char from[QB_TEXT_NUMBER], to[QB_TEXT_NUMBER];

    fprintf(f, "%s: ", c->key);
    if (c->from.kind == QB_VALUE_BYTES &&
        strcmp(qb_text_size(c->from.number, from), qb_text_size(c->to.number, to)) == 0) {
        fprintf(f, "%llu -> %llu bytes", (unsigned long long)c->from.number,
                (unsigned long long)c->to.number);
        return;
    }
    print_value(f, c->from);
    fputs(" -> ", f);
    print_value(f, c->to);
}

void qb_changes_print(FILE *f, const struct qb_result *r)
{
    struct qb_change list[QB_CHANGES_MAX];
    size_t n = qb_report_changes(r, list);

    for (size_t i = 0; i < n; i++) {
        fputs(i > 0 ? ", " : "", f);
        print_change(f, &list[i]);
    }
}

/* What was and what is, a line each. */
void qb_changes_diff(FILE *f, const struct qb_result *r, bool color, int indent)
{
    static const char *const signs[] = {"- ", "+ "}, *const tints[] = {"\033[31m", "\033[32m"};
    struct qb_change list[QB_CHANGES_MAX];
    size_t n = qb_report_changes(r, list);

    for (size_t i = 0; i < 2 * n; i++) {
        const struct qb_change *c = &list[i / 2];

        fprintf(f, "%*s%s%s%s: ", indent, "", color ? tints[i % 2] : "", signs[i % 2], c->key);
        print_value(f, i % 2 ? c->to : c->from);
        if (c->from.kind == QB_VALUE_BYTES)
            fprintf(f, " (%llu bytes)", (unsigned long long)(i % 2 ? c->to : c->from).number);
        fprintf(f, "%s\n", color ? "\033[0m" : "");
    }
}

const char *qb_table_changes(const struct qb_result *r, char *out, size_t size)
{
    FILE *f = fmemopen(out, size, "w");

    out[0] = '\0';
    if (f) {
        qb_changes_print(f, r);
        fclose(f);
    }
    out[size - 1] = '\0';
    return out;
}
