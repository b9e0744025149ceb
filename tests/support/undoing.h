/* Images that were amended with keep_undo, and then changed by a guest or by somebody else: the
 * subjects of the tests of an undo. */
#ifndef QB_TESTS_UNDOING_H
#define QB_TESTS_UNDOING_H

#include "amend/amend.h"
#include "undo/undo.h"
#include "images.h"
#include "poke.h"

#define CHANGE_POKES 6

/* Which header's tables a change is made in. */
enum in_image { IN_AMENDED, IN_OLD };

struct change {
    const char *name;
    struct image_shape shape;
    const char *script;
    struct qb_request rq;
    struct poke pokes[CHANGE_POKES]; /* what was done to the amended image */
    const char *sentence;            /* the beginning of the refusal; NULL: it can be undone */
};

/* An amended image, and what an undo has to know of it. */
struct amended {
    const char *path; /* of the file, in the scratch folder */
    struct qb_io *io;
    uint8_t old[512], now[512]; /* the sectors */
    struct qb_proof proof;
    struct qb_undo_facts facts;
};

/* Amends the image; false where that is refused, or there is nothing to do.  The end is
 * amended_end in any case. */
bool amended_try(struct amended *m, const struct image_bytes *image, const struct qb_request *rq);

/* Amends an image, changes it, and takes its length and time as they are then: the proof alone has
 * to see the change. */
void amended_begin(struct amended *m, const struct change *c, enum in_image in);
void amended_end(struct amended *m);

/* Notes the file's length, number and time in the facts, as if the run had left it so. */
void amended_note(struct amended *m);

/* Writes to the file what poke_image writes to an image in memory. */
void amended_poke(struct amended *m, const struct poke *pokes, size_t n, enum in_image in);

/* Asks for the undo of each: refused with its sentence; or carried out, and then every guest sees
 * what it saw before the amend. */
void amended_judge(const struct change *changes, size_t n, enum in_image in);

#endif
