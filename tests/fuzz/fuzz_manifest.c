/* Manifests: any text becomes a batch or mistakes, each of them inside the text.  Text that could
 * name a folder elsewhere is only parsed, so that no pattern walks the machine. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "manifest/manifest.h"
#include "manifest/yaml.h"
#include "fuzz.h"

static char folder[] = "/tmp/qbatch-fuzz-XXXXXX";
static char manifest[sizeof(folder) + 16];

static void remove_folder(void)
{
    char path[sizeof(folder) + 16];

    unlink(manifest);
    for (char name = 'a'; name <= 'c'; name++) {
        snprintf(path, sizeof(path), "%s/%c.qcow2", folder, name);
        unlink(path);
    }
    rmdir(folder);
}

static void put(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");

    FUZZ_HOLDS(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "%s cannot be written", path);
}

/* A folder with three images and the manifest. */
static void make_folder(void)
{
    char path[sizeof(folder) + 16];

    if (manifest[0])
        return;
    FUZZ_HOLDS(mkdtemp(folder), "no folder");
    snprintf(manifest, sizeof(manifest), "%s/m.yaml", folder);
    for (char name = 'a'; name <= 'c'; name++) {
        snprintf(path, sizeof(path), "%s/%c.qcow2", folder, name);
        put(path, "", 0);
    }
    atexit(remove_folder);
}

static void render(const struct qb_diags *diags)
{
    static FILE *sink;

    if (!sink)
        sink = fopen("/dev/null", "w");
    if (sink)
        qb_diags_render(diags, sink);
}

static void parse(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct qb_diags diags;
    struct qb_yaml yaml;

    FUZZ_HOLDS(text, "out of memory");
    memcpy(text, data, size);
    text[size] = '\0';
    if (qb_diags_init(&diags, "m.yaml", text, size) == 0) {
        int rc = qb_yaml_parse(&yaml, &diags);

        FUZZ_HOLDS(rc == 0 || qb_diags_count(&diags), "refused without a mistake");
        qb_yaml_free(&yaml);
    }
    render(&diags);
    qb_diags_free(&diags);
}

static void load(const uint8_t *data, size_t size)
{
    struct qb_diags diags;
    struct qb_batch batch;

    make_folder();
    put(manifest, data, size);
    if (qb_manifest_load(manifest, NULL, &batch, &diags) < 0)
        FUZZ_HOLDS(qb_diags_count(&diags), "refused without a mistake");
    else
        FUZZ_HOLDS(qb_diags_count(&diags) == 0, "accepted with mistakes");
    render(&diags);
    qb_batch_free(&batch);
    qb_diags_free(&diags);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    parse(data, size);
    if (!memchr(data, '/', size) && !memchr(data, '\\', size) && !memmem(data, size, "..", 2))
        load(data, size);
    return 0;
}
