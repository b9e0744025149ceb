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
/* Those with an external data file: apart, so that rows of all others stay what they are. */
extern const struct recipe data_recipes[];
extern const size_t n_data_recipes;
/* And what only these are asked for. */
extern const struct wish data_wishes[];
extern const size_t n_data_wishes;
extern const struct wish wishes[];
extern const size_t n_wishes;

/* The name of a data file in memory: no file is there. */
#define DATA_NAME "/nowhere/data.raw"

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

/* Of an even larger variety: clusters of up to 2 MiB; or else `small`, for hundreds at once.  Where
 * it may be damaged, the request mends what is wrong. */
struct subject subject_any(uint64_t seed, bool small, bool may_be_damaged);

/* Of images with an external data file. */
struct subject subject_with_data(uint64_t seed, bool small, bool may_be_damaged);
/* The same, amended in the room inside it: a file, or a block device that ends somewhere past the
 * image.  What is free has old bytes. */
void subject_into_room(struct subject *s, uint64_t seed);
/* A raw disk, of any length and with holes, or on a block device, that becomes an image. */
struct subject subject_raw(uint64_t seed, bool small);
/* That disk: the subject's bytes, without what lies past its end.  Owned by the subject. */
struct image_bytes subject_raw_disk(const struct subject *s);
void subject_free(struct subject *s);

/* The names of the first two bitmaps of an image. */
#define FIRST  "bitmap  1"
#define SECOND "bitmap  2"

/* For amends*.c: names of snapshots, the size that a rule asks for, and that of an image's disk. */
extern const struct qb_name_list amends_every_name, amends_even_names;
uint64_t amends_new_size(const struct image_shape *shape, uint64_t size, enum size_rule rule);
uint64_t amends_size_in(const struct image_bytes *image);

/* Preallocation is not asked where the disk would be too large to be in memory again and again. */
void amends_fill_small_only(struct qb_request *rq, uint64_t size);

enum run_option {
    RUN_WHOLE,
    RUN_WITHOUT_FIRST_BARRIER, /* what the tests must find bad, ... */
    RUN_WITHOUT_DATA_BARRIER,  /* ... this too: the data file's part of it is left out */
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
/* What is opened may be a raw disk, if this is asked for it. */
struct qb_amend *run_open_for(struct qb_io *io, struct qb_mem_log *log, unsigned disk,
                              const struct qb_request *rq);
int run_barrier(struct qb_io *io, struct qb_amend *a);

/* A new machine with this one disk. */
struct qb_mem_log *run_machine(const struct image_bytes *image);

/* What disk `disk` holds now, owned by the log: valid until the next change. */
struct image_bytes run_content(const struct qb_mem_log *log, unsigned disk);

/* What the engine's own census says: corruptions and leaks; false when it cannot be taken. */
bool run_census(const struct image_bytes *image, uint64_t *corruptions, uint64_t *leaks, char *why,
                size_t room);

#endif
