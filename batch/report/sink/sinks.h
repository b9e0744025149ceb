/* Writes the report files of a run, or of a check, one kind for each row of sinks.def.
 *
 * All kinds are called alike: opened before anything is touched, then each image in the order of
 * the manifest, then the end.  A kind writes into its file; opening, naming and closing it is the
 * same for all. */
#ifndef QB_SINK_SINKS_H
#define QB_SINK_SINKS_H

#include "record/telling.h"
#include "util/atomic_file.h"

/* What a file has about one image of a check. */
struct qb_sink_text {
    char *text; /* owned; NULL: nothing */
    size_t len;
};

struct qb_sink {
    const struct qb_sink_kind *kind; /* NULL: not requested */
    struct qb_outfile file;
    FILE *body;  /* a spill (atomic_file.h), for kinds that need one */
    void *state; /* the kind's own; freed with free() */
};

struct qb_sink_kind {
    const char *what, *begins; /* see struct qb_outfile_rules */
    bool streams;              /* readable while it grows */
    bool wants_body;
    size_t state_size;                    /* zeroed; 0: none */
    void (*opened)(struct qb_sink *sink); /* before anything else */
    /* The path of the file for the option's argument, malloc'ed; NULL: the argument is the path. */
    char *(*place)(const char *argument, const struct qb_batch *batch, bool of_check);
    /* What the file, or its body, has about an image, by any worker: malloc'ed, of *len bytes; NULL
     * when memory is short.  May be NULL. */
    char *(*compose)(const struct qb_telling *t, size_t job, const struct qb_outcome *outcome,
                     size_t *len);
    /* Takes the image; `text` is what was composed, for a kind that composes.  NULL: that is
     * written as it is. */
    void (*image)(struct qb_sink *sink, const struct qb_telling *t, size_t job,
                  const struct qb_outcome *outcome, const struct qb_sink_text *text);
    void (*end)(struct qb_sink *sink, const struct qb_telling *t);
    void (*abort)(struct qb_sink *sink, const char *why); /* the run could not start */
    void (*drop)(struct qb_sink *sink);                   /* frees what the state points to */
    /* Of a check: what the file, or its body, has about an image, by any worker; -1 when memory is
     * short.  A kind without checked_end cannot be written of a check. */
    int (*checked)(FILE *f, const struct qb_batch *batch, const struct qb_checked *checked);
    /* Takes that text in the order of the images; NULL: it is written as it is. */
    void (*checked_take)(struct qb_sink *sink, size_t job, const struct qb_sink_text *text);
    void (*checked_end)(struct qb_sink *sink, const struct qb_check_telling *t);
};
/* All functions except `end`, and one of `compose` and `image`, may be NULL; a failed write sets
 * the error of the FILE. */

enum {
#define SINK(name, OPTION) QB_SINK_##name,
#include "sink/sinks.def"
#undef SINK
    QB_SINK_COUNT
};

struct qb_sinks {
    struct qb_sink of[QB_SINK_COUNT];
};

/* Those that were requested. */
#define qb_sinks_each(s, sinks)                                                                    \
    for (struct qb_sink *s = (sinks)->of; s < (sinks)->of + QB_SINK_COUNT; s++)                    \
        if (s->kind)

/* Opens the sinks that have an argument, the file's name as given; NULL: not requested. -1 after
 * one line on standard error. */
int qb_sinks_open(struct qb_sinks *sinks, const char *const arguments[QB_SINK_COUNT],
                  const struct qb_batch *batch, bool of_check);

/* Offers the errands that a confined process has of the files; whether it will have any. */
bool qb_sinks_offer(struct qb_sinks *sinks, struct qb_errands *errands, struct qb_helper *helper);

/* Composes what the files have about an image, in any worker, into composed->texts[i] of each sink
 * i.  What cannot be made stays NULL, and is tried again when it is written. */
void qb_sinks_compose(const struct qb_sinks *sinks, const struct qb_telling *t, size_t job,
                      const struct qb_outcome *outcome, struct qb_composed *composed);
bool qb_sinks_want_composed(const struct qb_sinks *sinks); /* whether some file has any of that */

void qb_sinks_image(struct qb_sinks *sinks, const struct qb_telling *t, size_t job,
                    const struct qb_outcome *outcome);
void qb_sinks_flush(struct qb_sinks *sinks); /* those that stream */

/* Writes the ends and names the files; -1 when one of them is incomplete, after one line on
 * standard error. */
int qb_sinks_end(struct qb_sinks *sinks, const struct qb_telling *t);

/* ---- the same files of a check (sinks_check.c), whose answers are made by workers, as texts -----
 */

/* Whether some file lists findings. */
bool qb_sinks_want_checked(const struct qb_sinks *sinks);

/* What each file has about the image: false when memory is short for one of them. */
bool qb_sinks_checked_texts(const struct qb_sinks *sinks, const struct qb_batch *batch,
                            const struct qb_checked *checked,
                            struct qb_sink_text texts[QB_SINK_COUNT]);

/* Writes the texts about the next image; `lost`: there was no memory for one of them. */
void qb_sinks_checked(struct qb_sinks *sinks, size_t job,
                      const struct qb_sink_text texts[QB_SINK_COUNT], bool lost);
int qb_sinks_checked_end(struct qb_sinks *sinks, const struct qb_check_telling *t);

/* The run could not start. */
void qb_sinks_abort(struct qb_sinks *sinks, const char *why);

/* Ends the stream of a text that was composed: returns the text, or NULL when memory was short. */
char *qb_sink_text_end(FILE *f, char **text);

/* Names a file whose end was written, and drops the sink; as qb_sinks_end. */
int qb_sink_commit(struct qb_sink *sink);

#endif
