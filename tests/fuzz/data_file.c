#include "data_file.h"

#include <string.h>

enum { BYTES = 50000, BYTE = 0xda }; /* it ends in the disk of most */

void data_file_make(struct qb_mem_log *log)
{
    uint8_t bytes[BYTES];

    memset(bytes, BYTE, sizeof(bytes));
    FUZZ_HOLDS(qb_mem_data_file(log, 0, bytes, sizeof(bytes)) == 0, "out of memory");
}

void data_file_check(const struct qb_mem_log *log, uint64_t cluster_size, uint64_t end)
{
    uint64_t size, kept = cluster_size ? QB_MIN(end, BYTES) / cluster_size * cluster_size : 0;
    const uint8_t *bytes = qb_mem_content(log, DATA_FILE_DISK, &size);

    FUZZ_HOLDS(size >= kept, "the data file is too short");
    for (uint64_t i = 0; i < kept; i++)
        FUZZ_HOLDS(bytes[i] == BYTE, "byte 0x%llx of the data file changed", (unsigned long long)i);
}
