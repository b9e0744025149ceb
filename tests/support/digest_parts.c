#include "digest_parts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

/* Of a line of the plan's description: its numbers. */
void digest_line(void *arg, const char *line)
{
    for (const char *at = line; *at; at++) {
        uint64_t number;
        bool begins = isdigit((unsigned char)*at) && (at == line || !isalnum(at[-1]));
        char *end;

        if (begins) {
            number = strtoull(at, &end, 0);
            qb_hasher_add(arg, &number, sizeof(number));
            at = end - 1;
        }
    }
    qb_hasher_add(arg, "\n", 1);
}

static void add_data_file(struct qb_hasher *h, const struct qb_mem_log *log)
{
    unsigned disk = qb_mem_data_of(log, 0);
    const unsigned char *bytes;
    uint64_t size;

    if (disk == QB_MEM_EVERY_DISK)
        return;
    bytes = qb_mem_content(log, disk, &size);
    qb_hasher_add(h, &size, sizeof(size));
    qb_hasher_add(h, bytes, size);
}

/* The disk's bytes.  The folder of the backing files has another name in each run. */
void digest_disk(struct qb_hasher *h, const struct qb_mem_log *log)
{
    const char *folder = amends_folder();
    size_t len = strlen(folder), head;
    const unsigned char *bytes, *found;
    unsigned char *copy;
    uint64_t size;

    bytes = qb_mem_content(log, 0, &size);
    qb_hasher_add(h, &size, sizeof(size));
    head = (size_t)QB_MIN(size, 64u << 10); /* names lie in the header's cluster */
    copy = malloc(head + 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, head);
    while ((found = memmem(copy, head, folder, len)))
        memset(copy + (found - copy), 'X', len);
    qb_hasher_add(h, copy, head);
    qb_hasher_add(h, bytes + head, size - head);
    free(copy);
    add_data_file(h, log);
}
