#include "text/failure.h"

#include <stdio.h>

#include "util/text.h"

char *qb_failure_line(const char *program, const char *path, const struct qb_failure *failure)
{
    char *line = NULL;
    size_t len;
    FILE *f = open_memstream(&line, &len);

    if (!f)
        return NULL;
    fprintf(f, "%s: ", program);
    qb_text_safe(f, path);
    fprintf(f, ": %s: ", qb_code_name(failure->code));
    qb_text_safe(f, failure->text);
    if (failure->offset != QB_NOWHERE)
        fprintf(f, " at 0x%llx", (unsigned long long)failure->offset);
    fputc('\n', f);
    fclose(f);
    return line;
}
