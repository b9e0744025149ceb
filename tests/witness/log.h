/* The log of a recording: what programs asked of the file system, in one sequence over all files.
 *
 * An operation has two records: one from before it is carried out, with all that it asks for, and a
 * LOG_END from after it.  So a reader knows which operations were under way at the same time, and a
 * sync covers exactly those that ended before it began. */
#ifndef WITNESS_LOG_H
#define WITNESS_LOG_H

#include <stdint.h>

enum log_kind {
    LOG_END = 0, /* of the operation whose record is number `begun` */
    LOG_OPEN,    /* flags: of open(2); the name follows */
    LOG_WRITE,   /* [offset, offset + length); the bytes follow */
    LOG_SIZE,    /* length: the new size */
    LOG_SPACE,   /* flags: the mode of fallocate(2) */
    LOG_SYNC,    /* flags: 1 for fdatasync(2) */
    LOG_RENAME,  /* the old name, a zero byte and the new name follow */
    LOG_UNLINK,  /* the name follows */
};

/* In the machine's byte order; `bytes` bytes follow each record.  The reader knows this layout as
 * "=QQQQQiiiIII". */
struct log_record {
    uint64_t number; /* its place in the sequence */
    uint64_t begun;
    uint64_t inode, offset, length;
    int32_t kind, flags;
    int32_t result; /* of LOG_END: what the operation gave, or a negative errno */
    uint32_t bytes;
    uint32_t thread;    /* who asked */
    uint32_t from_ring; /* 1: a worker of io_uring */
};

/* Begins the log in a new file; 0 or an errno. */
int log_create(const char *path);

/* Appends a record, and its `bytes` bytes from `data`; returns its number.  Any thread may call it.
 * A log that cannot be written ends the program: half a log would be a false witness. */
uint64_t log_append(struct log_record record, const void *data);

#endif
