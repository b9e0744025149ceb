/* A run of one image that kept its undo, and what undoing it, or freeing what the undo needs, does
 * at each sync.  For tests that are linked with --wrap=fdatasync and --wrap=ftruncate64. */
#ifndef KEPT_RUN_H
#define KEPT_RUN_H

#include "images.h"
#include "undoing/discard.h"
#include "scratch.h"

enum { SYNCS = 16, SECTOR = 512 };

/* A sync of the image or of the journal, and what the image held then. */
struct sync {
    bool of_image;
    bool noted; /* the journal said that the kept clusters are freed */
    off_t length;
    uint8_t header[SECTOR];
};

/* What was seen, and shall happen, while take_back runs; it clears the latter. */
extern struct sync syncs[SYNCS];
extern unsigned n_syncs, n_image_syncs;
extern unsigned fails_at;   /* which sync of the image, from 1; 0: none */
extern unsigned meddles_at; /* likewise: somebody writes the header then */
extern bool journal_fails, cut_fails;

struct kept {
    struct qb_batch batch;
    struct qb_history history;
    struct qb_journal journal;
    const struct qb_trace *trace;
    char path[200];
    uint8_t old[SECTOR], now[SECTOR];
    off_t length; /* of the amended image */
};

extern enum qb_status last_status; /* of the image */
extern enum qb_code last_code;

void kept_begin(struct kept *k);
void kept_end(struct kept *k);

enum { UNDO, DISCARD, UNDO_DRY };

/* Undoes the run, or frees what it kept, while the syncs are watched. */
void take_back(struct kept *k, int how);

/* What the journal says now. */
void read_again(struct kept *k);

bool header_is(const struct kept *k, const uint8_t *wanted);

#endif
