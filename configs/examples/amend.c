/* One image by the library: amend IMAGE brings it to compatibility level 1.1.  ^C stops it, and
 * then the image is as it was.
 *
 *     cc amend.c $(pkg-config --cflags --libs libqbatch) -o amend */
#include <signal.h>
#include <stdio.h>

#include <qbatch.h>

static struct qb_stop *stop;

static void on_interrupt(int number)
{
    (void)number;
    qb_stop_request(stop);
}

int main(int argc, char **argv)
{
    const struct qb_request request = {.struct_size = sizeof(request),
                                       .set = QB_KEY_COMPAT,
                                       .compat = 3,
                                       .verify = QB_VERIFY_METADATA};
    struct qb_options options = {.struct_size = sizeof(options)};
    const struct qb_result *result;
    int r;

    if (argc != 2) {
        fprintf(stderr, "usage: %s IMAGE\n", argv[0]);
        return 2;
    }
    options.stop = stop = qb_stop_new();
    if (!stop)
        return 1;
    signal(SIGINT, on_interrupt);
    r = qb_amend_image(argv[1], &request, &options, &result);
    if (r < 0)
        fprintf(stderr, "%s: %s: %s\n", argv[1], qb_code_name(result->err.code), result->err.text);
    else
        printf("%s: %s\n", argv[1], result->status == QB_STATUS_CHANGED ? "changed" : "unchanged");
    qb_result_free(result);
    signal(SIGINT, SIG_DFL);
    qb_stop_free(stop);
    return r < 0;
}
