/* A text that is not YAML: the mistake is named at its cause, with what to write. */
#include <stdlib.h>
#include <string.h>

#include "manifest/yaml.h"
#include "unit.h"

#define ENTRY "images:\n  - path: a\n"

static const struct {
    const char *text;
    unsigned line, column;
    const char *words;
} mistakes[] = {
    {"images:\n\t- path: a\n", 2, 1, "use spaces"},
    {ENTRY "\tsize: 1G\n", 3, 1, "use spaces"},
    {"images:\n  - path:a\n    size: 1G\n", 2, 9, "write a blank after the colon"},
    {"version:1\n" ENTRY, 1, 8, "write a blank after the colon"},
    {"# \xe6\x97\xa5\n\nversion:1\n# x\n" ENTRY, 3, 8, "write a blank after the colon"},
    {"images:\n  -path: a\n    size: 1G\n", 2, 3, "write a blank after the dash"},
    {"images:\n  - path a\n    size: 1G\n", 2, 5, "a colon is missing here"},
    {ENTRY "    size=1G\n", 3, 5, "a colon is missing here"},
    {ENTRY "      size: 1G\n", 3, 7, "begin both in one column"},
    {ENTRY "   size: 1G\n", 3, 4, "look at the indent"},
    {ENTRY "  path: b\n", 3, 3, "begins with \"- \""},
    {ENTRY "    size: 1G\n    - path: b\n", 4, 5, "a dash cannot stand between keys"},
    {"policy:\n    on_error: stop\n  sync: fs\n", 3, 3, "indented otherwise than the keys"},
    {"name: a: b\n", 1, 7, "must be in quotes"},
    {"name: \xe6\x97\xa5: x: y\n", 1, 7, "must be in quotes"},
    {"name: 'it's'\n", 1, 11, "written twice"},
    {"name: \"a\n", 1, 7, "the quote that begins here is not closed"},
    {"name: \"\\d\"\n", 1, 8, "write \\\\"},
    {"name: *x.y\n", 1, 7, "a text that begins with *"},
    {"name: &.y\n", 1, 7, "a text that begins with &"},
    {"name: |y\n", 1, 8, "a text that begins with | or >"},
    {"name: [ab].y\n", 1, 11, "nothing may follow ]"},
    {"name: {a,b}.y\n", 1, 12, "nothing may follow }"},
    {"name: %y\n", 1, 7, "put the text in quotes"},
    {"policy: {sync: fs\n" ENTRY, 1, 9, "} is missing"},
    {"policy: {sync: fs on_error: stop}\n", 1, 27, "a comma is missing"},
    {"images: [{path: a},\n", 2, 1, "is missing here"},
    {"images: [{path: a}\n", 1, 9, "] is missing"},
};

static void a_text_that_is_no_yaml_is_explained(void)
{
    for (size_t i = 0; i < UNIT_COUNT(mistakes); i++) {
        struct qb_diags diags;
        struct qb_yaml yaml;
        const struct qb_diag *d;
        bool ok;

        CU_ASSERT_EQUAL(
            qb_diags_init(&diags, "m", strdup(mistakes[i].text), strlen(mistakes[i].text)), 0);
        CU_ASSERT_EQUAL(qb_yaml_parse(&yaml, &diags), -1);
        CU_ASSERT_EQUAL_FATAL(diags.list.n, 1);
        d = &diags.list.items[0];
        ok = d->code == QB_M_SYNTAX && d->at.line == mistakes[i].line &&
             d->at.column == mistakes[i].column && strstr(d->text, mistakes[i].words);
        if (!ok) {
            fprintf(stderr, "---- expected at %u:%u: %s\n%s", mistakes[i].line, mistakes[i].column,
                    mistakes[i].words, mistakes[i].text);
            qb_diags_render(&diags, stderr);
        }
        CU_ASSERT_TRUE(ok);
        qb_yaml_free(&yaml);
        qb_diags_free(&diags);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_text_that_is_no_yaml_is_explained),
    };

    return unit_main("syntax", tests, UNIT_COUNT(tests));
}
