/* The subjects of the crash and fault tests: images, wishes what shall become of them, and a run of
 * one on the other on the memory back end, phase by phase as engine/amend/single.c does it. */
#ifndef QB_TESTS_AMENDS_H
#define QB_TESTS_AMENDS_H

#include "base/result.h"
#include "amend/amend.h"
#include "images.h"
#include "mem/mem.h"
#include "reading.h"

struct recipe {
    const char *name;
    struct image_shape shape; /* backing_file: "@short", "@long" or "@image", see amends.c */
    const char *script;
    bool heavy; /* large clusters: only wishes that say so, and few states */
};

enum size_rule {
    SIZE_STAYS,
    SIZE_SECTOR_MORE,  /* the next multiple of 512 */
    SIZE_MORE,         /* two clusters more, and a sector */
    SIZE_SPANS_MORE,   /* many L1 entries more: the L1 table moves where clusters are small */
    SIZE_HALF,         /* cut within a cluster where clusters are larger than sectors */
    SIZE_HALF_ALIGNED, /* cut between two clusters */
    SIZE_NOTHING,
};

struct wish {
    const char *name;
    struct qb_request rq; /* backing_file: also "@other", which does not exist, and "@name" */
    enum size_rule size;
    bool heavy_too;
};

extern const struct recipe recipes[];
extern const size_t n_recipes;
extern const struct wish wishes[];
extern const size_t n_wishes;

/* Real backing files in a folder of their own, made and announced to reading.h. */
void amends_begin(void);
void amends_end(void);
const char *amends_folder(void); /* where they are: a different one in each run */

/* The path that a name such as "@short" stands for; other names stay what they are. */
const char *amends_name(const char *name);

/* A subject, ready to be amended. */
struct subject {
    char name[80];
    bool heavy;
    struct image_bytes image; /* owned */
    struct qb_request rq;
};

struct subject subject_of(const struct recipe *r, const struct wish *w);
struct subject subject_random(uint64_t seed);

/* Of an even larger variety: clusters of up to 2 MiB; or else `small`, for hundreds at once. */
struct subject subject_any(uint64_t seed, bool small);
void subject_free(struct subject *s);

enum run_option {
    RUN_WHOLE,
    RUN_WITHOUT_FIRST_BARRIER, /* what the tests must find bad */
};

struct run {
    int rc;
    bool appends;
    struct qb_result result;
};

/* One amend of disk `disk`, from opening to closing. */
struct run run_amend(struct qb_mem_log *log, unsigned disk, const struct qb_request *rq,
                     enum run_option how);
void run_free(struct run *r); /* what its result owns */

/* The same, in parts, for waves. */
struct qb_io *run_io(struct qb_mem_log *log);
struct qb_amend *run_open(struct qb_io *io, struct qb_mem_log *log, unsigned disk);
int run_barrier(struct qb_io *io, struct qb_amend *a);

/* A new machine with this one disk. */
struct qb_mem_log *run_machine(const uint8_t *bytes, uint64_t size, bool reserved);

/* What the engine's own census says: corruptions and leaks; false when it cannot be taken. */
bool run_census(const uint8_t *bytes, uint64_t size, uint64_t *corruptions, uint64_t *leaks,
                char *why, size_t room);

#endif
