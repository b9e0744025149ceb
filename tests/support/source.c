#include "source.h"

#include <stdio.h>
#include <stdlib.h>

char *source_text(const char *name)
{
    char path[1024], piece[4096], *text = NULL;
    size_t len = 0, n;
    FILE *f, *copy;

    snprintf(path, sizeof(path), "%s/%s", QB_SOURCE, name);
    f = fopen(path, "r");
    if (!f)
        return NULL;
    copy = open_memstream(&text, &len);
    if (!copy)
        abort();
    while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
        fwrite(piece, 1, n, copy);
    fclose(copy);
    fclose(f);
    return text;
}
