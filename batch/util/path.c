#include "util/path.h"

#include <string.h>

size_t qb_path_name_at(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? (size_t)(slash - path) + 1 : 0;
}

const char *qb_path_name(const char *path)
{
    return path + qb_path_name_at(path);
}

char *qb_path_folder(const char *path)
{
    size_t len = qb_path_name_at(path);

    if (len == 0)
        return strdup(".");
    return strndup(path, len == 1 ? 1 : len - 1);
}
