/* One image by the library: amend IMAGE brings it to compatibility level 1.1.
 *
 *     cc amend.c $(pkg-config --cflags --libs libqbatch) -o amend */
#include <stdio.h>

#include <qbatch.h>

int main(int argc, char **argv)
{
    const struct qb_request request = {
        .set = QB_KEY_COMPAT, .compat = 3, .verify = QB_VERIFY_METADATA};
    struct qb_result result;

    if (argc != 2) {
        fprintf(stderr, "usage: %s IMAGE\n", argv[0]);
        return 2;
    }
    if (qb_amend_image(argv[1], &request, QB_IO_AUTO, false, &result) < 0) {
        fprintf(stderr, "%s: %s: %s\n", argv[1], qb_code_name(result.err.code), result.err.text);
        return 1;
    }
    printf("%s: %s\n", argv[1], result.status == QB_STATUS_CHANGED ? "changed" : "unchanged");
    return 0;
}
