/* Orders the images of the batch: an image and a file of its backing chain never run in one wave,
 * and the backing file goes first.
 *
 * Nothing is read in advance: a fleet without backing files costs nothing here.  The first image
 * with one builds the index of the jobs' inodes; a backing file's own header is read when it is
 * reached, without locks, and read again only where its ctime is another one: waves change files,
 * and others may. */
#ifndef QB_BACKING_ORDER_H
#define QB_BACKING_ORDER_H

#include <sys/stat.h>

#include "job/job.h"
#include "backing/ready_queue.h"
#include "host/sched.h"
#include "opener/named.h"

struct qb_graph;

/* Batch, queue and sched must outlive the graph.  NULL when memory is short. */
struct qb_graph *qb_graph_new(const struct qb_batch *batch, const struct qb_queue *queue,
                              struct qb_sched *sched);
void qb_graph_free(struct qb_graph *graph);

struct qb_need {
    bool loop;  /* the image would be, or is, in its own backing chain */
    bool deep;  /* with loop: more than QB_CHAIN_MAX_DEPTH files, in a loop or not */
    size_t job; /* that must be done first, or QB_NO_JOB */
    bool must;  /* see qb_queue_after */
};

/* What `job`, an image of that owner whose header says `info` and which is asked for `rq`, needs.
 * Reads headers through the sched's own qb_io; to be called between the loops.  What cannot be
 * read, or not on behalf of the image's owner, ends a chain: that is for the amend to complain
 * about, if it matters there.  So does a file that is declared to be of another format than qcow2:
 * its first bytes are a guest's.  -1 with *err when memory or open files are short, and the chain
 * may go on. */
int qb_graph_need(struct qb_graph *graph, size_t job, struct qb_naming owner,
                  const struct qb_request *rq, const struct qb_info *info, struct qb_need *need,
                  struct qb_err *err);

/* The path behind a backing name of the image at `of`, malloc'ed; NULL for none and for what is not
 * a local file (backing_name.h).  *as is the format that counts, where `fmt` is the
 * header's. */
char *qb_graph_resolve(const char *of, const char *name, const char *fmt, const char **as);

/* Whether the next call has a use: not in a fleet without backing files. */
bool qb_graph_learns(const struct qb_graph *graph);
/* The job is over, and its image shows `after`; `last`: of its file, after the last write, and
 * under its lock.  So the header need not be read for the images above it. */
void qb_graph_learn(struct qb_graph *graph, size_t job, const struct stat *last,
                    const struct qb_info *after);

/* To be called between waves: files may have changed, and each path is looked up again. */
void qb_graph_look_again(struct qb_graph *graph);

#endif
