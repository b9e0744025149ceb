/* The messages between a confined process and its helper (helper.h): bytes of bounded number, and,
 * to the confined process only, open files. */
#ifndef QB_OPENER_PARCEL_H
#define QB_OPENER_PARCEL_H

#include <stddef.h>

enum { QB_PARCEL_BYTES = 24 << 10, QB_PARCEL_FILES = 64 };

struct qb_parcel {
    int caller;       /* of a request, in the helper: the socket that it came by */
    unsigned channel; /* and its number */
    size_t len;       /* bytes */
    unsigned n_fds;   /* of an answer; a request has none */
    int fds[QB_PARCEL_FILES];
    _Alignas(16) unsigned char bytes[QB_PARCEL_BYTES];
};

/* The words of messages that are no errand's number. */
enum { QB_PARCEL_ANSWER = 0x71626864, QB_PARCEL_STOP = 0x73746f70 };

/* 0, or -1. */
int qb_parcel_request(int fd, unsigned errand, const struct qb_parcel *parcel);
int qb_parcel_answer(int fd, const struct qb_parcel *parcel);

/* A whole message of the shape that these give it: 1; 0: no one is there any more; -1: what
 * came is none, or, with EMFILE, its files found no room. */
int qb_parcel_receive(int fd, unsigned *word, struct qb_parcel *parcel);

/* Closes the files that came with it. */
void qb_parcel_drop(struct qb_parcel *parcel);

#endif
