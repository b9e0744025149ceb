#include "secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

enum { SECRET_BYTES = 200 << 10 };

static char folder[64];

const char *secret_at(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

void secret_put(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(secret_at(name), "wb");

    FUZZ_HOLDS(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "%s cannot be written", name);
}

static void remove_folder(void)
{
    static const char *const others[] = {"secret", "link", "fifo", "loop", "m.yaml", NULL};
    char name[16];

    for (unsigned i = 0; i < SECRET_IMAGES; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        unlink(secret_at(name));
    }
    for (const char *const *other = others; *other; other++)
        unlink(secret_at(*other));
    rmdir(folder);
}

static void make_secret(void)
{
    static char bytes[SECRET_BYTES];

    for (size_t i = 0; i + sizeof(SECRET_MARK) <= sizeof(bytes); i += sizeof(SECRET_MARK))
        memcpy(bytes + i, SECRET_MARK, sizeof(SECRET_MARK));
    secret_put("secret", bytes, sizeof(bytes));
    FUZZ_HOLDS(chmod(secret_at("secret"), 0600) == 0, "chmod");
}

void secret_make(void)
{
    if (folder[0])
        return;
    snprintf(folder, sizeof(folder), "%s/qbatch-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_HOLDS(mkdtemp(folder) && chmod(folder, 0755) == 0, "no folder");
    make_secret();
    FUZZ_HOLDS(symlink("secret", secret_at("link")) == 0 &&
                   symlink("loop", secret_at("loop")) == 0 && mkfifo(secret_at("fifo"), 0666) == 0,
               "no links");
    atexit(remove_folder);
}
