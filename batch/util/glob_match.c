/* Matches patterns with given paths, without reading the disk. */
#include "util/glob.h"

#include <fnmatch.h>
#include <limits.h>
#include <string.h>

/* The component that begins at or after s, without slashes and "."; its length in *len, 0 at the
 * end. */
static const char *component(const char *s, size_t *len)
{
    for (;;) {
        s += strspn(s, "/");
        *len = strcspn(s, "/");
        if (*len != 1 || s[0] != '.')
            return s;
        s++;
    }
}

static bool part_matches(const char *pattern, size_t pattern_len, const char *name, size_t name_len)
{
    char p[PATH_MAX], n[NAME_MAX + 1];

    if (pattern_len >= sizeof(p) || name_len >= sizeof(n))
        return false;
    memcpy(p, pattern, pattern_len);
    memcpy(n, name, name_len);
    p[pattern_len] = n[name_len] = '\0';
    return fnmatch(p, n, 0) == 0;
}

/* A mismatch goes back to the last `**` and lets it take one folder more; an earlier `**` never
 * needs to take more than it did. */
bool qb_glob_match(const char *pattern, const char *path)
{
    const char *stars = NULL, *retry = NULL;
    size_t p_len, n_len;

    if ((pattern[0] == '/') != (path[0] == '/'))
        return false;
    for (;;) {
        pattern = component(pattern, &p_len);
        path = component(path, &n_len);
        if (p_len == 2 && strncmp(pattern, "**", 2) == 0) {
            stars = pattern += 2;
            retry = path;
            if (component(stars, &p_len)[0] == '\0')
                return n_len > 0;
            continue;
        }
        if (p_len == 0 && n_len == 0)
            return true;
        if (p_len > 0 && n_len > 0 && part_matches(pattern, p_len, path, n_len)) {
            pattern += p_len;
            path += n_len;
            continue;
        }
        if (!stars)
            return false;
        pattern = stars;
        retry = component(retry, &n_len);
        if (n_len == 0)
            return false;
        path = retry += n_len;
    }
}
