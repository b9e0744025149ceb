/* The main of a fuzz target where libFuzzer is not linked: runs every file named on the command
 * line, or standing in a folder named there, through the target. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned long inputs;

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long size = -1;

    if (f && fseek(f, 0, SEEK_END) == 0)
        size = ftell(f);
    if (size >= 0)
        bytes = malloc(size ? (size_t)size : 1);
    if (!bytes || fseek(f, 0, SEEK_SET) || fread(bytes, 1, (size_t)size, f) != (size_t)size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        size = -1;
    } else {
        LLVMFuzzerTestOneInput(bytes, (size_t)size);
        inputs++;
    }
    free(bytes);
    if (f)
        fclose(f);
    return size < 0 ? -1 : 0;
}

static int run_folder(const char *path)
{
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort), rc = n < 0 ? -1 : 0;

    for (int i = 0; i < n; i++) {
        char file[4096];

        snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && run_file(file) < 0)
            rc = -1;
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return rc;
}

int main(int argc, char **argv)
{
    int rc = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            rc |= run_folder(argv[i]);
        else
            rc |= run_file(argv[i]);
    }
    printf("%lu inputs\n", inputs);
    return rc || inputs == 0;
}
