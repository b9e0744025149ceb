/* The external data file, in memory, of whichever image of the fuzz targets names one. */
#ifndef QB_TESTS_FUZZ_DATA_FILE_H
#define QB_TESTS_FUZZ_DATA_FILE_H

#include "fuzz.h"
#include "mem/mem.h"

enum { DATA_FILE_DISK = 1 }; /* of the log; the image is disk 0 */

void data_file_make(struct qb_mem_log *log);

/* It still has its whole clusters before byte `end` of the guest's disk. */
void data_file_check(const struct qb_mem_log *log, uint64_t cluster_size, uint64_t end);

#endif
