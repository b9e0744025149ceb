/* Which image has to wait for which, when files of a chain change between waves. */
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "backing/deadly.h"
#include "backing/order.h"
#include "backing/ready_queue.h"
#include "host/sched.h"
#include "host/topo.h"
#include "images.h"
#include "scratch.h"

enum { TOP, OTHER, N_IMAGES }; /* the batch's jobs; "base" is the base of TOP, and none of them */

static struct qb_batch batch;
static struct qb_sched *sched;
static struct qb_queue *queue;
static struct qb_graph *graph;

/* How often a header of a chain was read. */
static unsigned headers_read;

int __real_qb_deadly_open(struct qb_deadly *d, struct qb_io *io, struct qb_file *file,
                          struct qb_image *img, struct qb_err *err);
int __wrap_qb_deadly_open(struct qb_deadly *d, struct qb_io *io, struct qb_file *file,
                          struct qb_image *img, struct qb_err *err);

int __wrap_qb_deadly_open(struct qb_deadly *d, struct qb_io *io, struct qb_file *file,
                          struct qb_image *img, struct qb_err *err)
{
    headers_read++;
    return __real_qb_deadly_open(d, io, file, img, err);
}

/* In the place of what the file held: it stays the same file. */
static void write_image(const char *name, const char *backing)
{
    struct image_shape shape = {.version = 3,
                                .cluster_bits = 9,
                                .refcount_order = 4,
                                .size = 4096,
                                .backing_file = backing,
                                .backing_fmt = backing ? "qcow2" : NULL};
    struct image_bytes image = image_make(&shape, "d");

    make_file(name, image.bytes, image.size);
    image_bytes_free(&image);
}

static void add(const char *name)
{
    struct qb_request rq;

    qb_request_init(&rq);
    rq.set = QB_KEY_LAZY_REFCOUNTS;
    CU_ASSERT_FATAL(qb_batch_add(&batch, in_folder(name), 0, &rq));
}

static void begin(void)
{
    const char *fell_back;
    struct qb_err err;

    headers_read = 0;
    qb_batch_init(&batch);
    write_image("base", NULL);
    write_image("top", "base");
    write_image("other", NULL);
    add("top");
    add("other");
    CU_ASSERT_EQUAL_FATAL(
        qb_sched_open(qb_topo_open(2, &batch), QB_IO_POSIX, false, &sched, &fell_back, &err), 0);
    queue = qb_queue_new(N_IMAGES);
    graph = qb_graph_new(&batch, queue, sched);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_PTR_NOT_NULL_FATAL(graph);
}

static void end(void)
{
    qb_graph_free(graph);
    qb_queue_free(queue);
    qb_sched_close(sched);
    qb_batch_free(&batch);
}

static struct qb_need need_of_top(void)
{
    struct qb_naming owner = {getuid(), getgid(), in_folder("top")};
    struct qb_info info = {
        .has_backing_file = true, .backing_file = "base", .backing_fmt = "qcow2"};
    struct qb_need need;
    struct qb_err err;

    CU_ASSERT_EQUAL_FATAL(
        qb_graph_need(graph, TOP, owner, &batch.jobs[TOP].request, &info, &need, &err), 0);
    return need;
}

/* The clock of the file system's times moves on. */
static void let_time_pass(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
}

/* ---- what is read ---------------------------------------------------------------------------- */

static void a_header_is_read_once_though_waves_end(void)
{
    begin();
    for (unsigned wave = 0; wave < 5; wave++) {
        CU_ASSERT_EQUAL(need_of_top().job, QB_NO_JOB);
        CU_ASSERT_EQUAL(headers_read, 1);
        qb_graph_look_again(graph);
    }
    end();
}

static void a_header_that_was_written_is_read_again_in_the_next_wave(void)
{
    begin();
    CU_ASSERT_EQUAL(need_of_top().job, QB_NO_JOB);
    let_time_pass();
    write_image("base", "other");
    CU_ASSERT_EQUAL(need_of_top().job, QB_NO_JOB); /* in one wave all go by the same chain */
    qb_graph_look_again(graph);
    CU_ASSERT_EQUAL(need_of_top().job, OTHER);
    CU_ASSERT_EQUAL(headers_read, 2);
    end();
}

static void a_file_in_the_place_of_another_is_read(void)
{
    begin();
    CU_ASSERT_EQUAL(need_of_top().job, QB_NO_JOB);
    qb_graph_look_again(graph);
    write_image("new", "other");
    CU_ASSERT_EQUAL_FATAL(rename(in_folder("new"), in_folder("base")), 0);
    CU_ASSERT_EQUAL(need_of_top().job, OTHER);
    end();
}

static void learn_base(const char *backing)
{
    struct qb_info after = {.backing_file = (char *)(uintptr_t)backing, .backing_fmt = "qcow2"};
    struct stat st;

    CU_ASSERT_EQUAL_FATAL(stat(in_folder("base"), &st), 0);
    qb_graph_learn(graph, OTHER, &st, &after);
    qb_graph_look_again(graph);
}

static void a_header_that_the_run_knows_is_not_read(void)
{
    begin();
    CU_ASSERT_FALSE(qb_graph_learns(graph));
    CU_ASSERT_EQUAL(need_of_top().job, QB_NO_JOB);
    CU_ASSERT_TRUE(qb_graph_learns(graph));
    CU_ASSERT_EQUAL(headers_read, 1);
    learn_base("other"); /* otherwise than it is, to see who was believed */
    CU_ASSERT_EQUAL(need_of_top().job, OTHER);
    CU_ASSERT_EQUAL(headers_read, 1);
    end();
}

static void unless_it_was_written_since(void)
{
    begin();
    CU_ASSERT_EQUAL(need_of_top().job, QB_NO_JOB);
    learn_base("other");
    let_time_pass();
    write_image("base", NULL);
    CU_ASSERT_EQUAL(need_of_top().job, QB_NO_JOB);
    CU_ASSERT_EQUAL(headers_read, 2);
    end();
}

/* The name that is followed belongs to what is read again. */
static void a_file_that_names_itself_is_followed_while_it_is_written(void)
{
    begin();
    write_image("base", "base");
    for (unsigned wave = 0; wave < 3; wave++) {
        CU_ASSERT_TRUE(need_of_top().loop);
        qb_graph_look_again(graph);
        let_time_pass();
        write_image("base", "base");
    }
    end();
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_header_is_read_once_though_waves_end),
        UNIT(a_header_that_was_written_is_read_again_in_the_next_wave),
        UNIT(a_file_in_the_place_of_another_is_read),
        UNIT(a_header_that_the_run_knows_is_not_read),
        UNIT(unless_it_was_written_since),
        UNIT(a_file_that_names_itself_is_followed_while_it_is_written),
    };

    return scratch_main("order", tests, UNIT_COUNT(tests));
}
