/* Writes the manifest that mends the images of a fleet which do not fit a profile. */
#include <string.h>

#include "text/profile_show.h"
#include "util/character.h"
#include "util/glob.h"
#include "util/text.h"

static bool is_utf8(const char *s)
{
    for (size_t n; *s; s += n)
        if ((n = qb_text_utf8(s)) == 0)
            return false;
    return true;
}

/* A double-quoted scalar: what harms a terminal or is not printable in YAML is escaped. */
static void put_path(FILE *f, const char *path)
{
    bool pattern = qb_glob_is_pattern(path); /* else backslashes are literal */
    uint32_t c;

    fputc('"', f);
    for (size_t n; (n = qb_character(path, &c)) > 0 && c; path += n) {
        if (pattern && strchr("*?[\\", *path))
            fputs("\\\\", f);
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", (int)c);
        else if (qb_character_is_harmful(c) || (c >= 0xfffe && c <= 0xffff))
            fprintf(f, c > 0xffff ? "\\U%08x" : "\\u%04x", c);
        else
            fwrite(path, 1, n, f);
    }
    fputc('"', f);
}

static void put_entry(FILE *f, const char *path, uint16_t broken)
{
    const char *mend;
    size_t at = 0;

    fputs("  - {path: ", f);
    put_path(f, path);
    while ((mend = qb_suit_mend(broken, &at)) != NULL)
        fprintf(f, ", %s", mend);
    fputs("}\n", f);
}

static bool has_mend(uint16_t broken)
{
    size_t at = 0;

    return qb_suit_mend(broken, &at) != NULL;
}

bool qb_profile_manifest(FILE *f, const struct qb_profile_fleet *fleet)
{
    uint64_t n = 0, unnamed = 0;
    char b[QB_TEXT_NUMBER];

    for (size_t i = 0; fleet->broken && i < fleet->batch->n_jobs; i++) {
        const char *path = fleet->batch->jobs[i].path;

        if (!has_mend(fleet->broken[i]))
            continue;
        if (!is_utf8(path)) {
            unnamed++;
            continue;
        }
        if (n++ == 0)
            fprintf(f,
                    "# What mends images for %s; relative paths start at this file's directory.\n"
                    "version: 1\nname: fit-%s\nimages:\n",
                    qb_profiles[fleet->profile].name, qb_profiles[fleet->profile].name);
        put_entry(f, path, fleet->broken[i]);
    }
    if (n && unnamed)
        fprintf(f, "# left out, because their names are not UTF-8: %s\n",
                qb_text_count(unnamed, b));
    return n > 0;
}
