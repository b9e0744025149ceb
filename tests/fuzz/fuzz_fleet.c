/* Whole runs: a folder of images that name each other, and files that they should not, and a
 * manifest; on real files, as the program meets them.
 *
 * The images are chains of up to 200 files, loops, and images whose backing or data file is a
 * secret of another user, a link to it, a FIFO, a device, a json: name; then hostile values are put
 * into some of them.  Whatever comes out, these hold:
 *
 *   no image but those that the run says it has changed has another byte than before; no other file
 *   is written at all; no byte of the secret is in any file that the images' owner could read; a
 *   second run finds what the first one has changed as it should be.
 *
 * As root the images belong to another user.  As a user the secret is his own, and he may read it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "fuzz.h"
#include "manifest/manifest.h"
#include "qcow2/disk.h"
#include "run/run.h"
#include "secret.h"
#include "tiny.h"

enum { FILES = SECRET_IMAGES, JOBS = 8, OWNER = 65534 };

/* ---- the images ------------------------------------------------------------------------------ */

struct image {
    char name[16];
    uint8_t *bytes; /* as it was; NULL: there is none of this name */
    size_t size;
    struct timespec mtime;
};

struct fleet {
    struct image images[FILES];
    unsigned n;
    char text[4096]; /* the manifest */
    unsigned changed[JOBS], n_changed;
};

/* What a header names: another image, or what it should not. */
static const char *take_name(struct fuzz_input *in, unsigned next, char out[160])
{
    static const char *const odd[] = {
        "secret",      "link",          "fifo",       "loop",
        ".",           "/dev/zero",     "nobody",     "/proc/self/fd/0",
        "file:secret", "nbd:unix:fifo", "/dev/stdin", "../..",
        "f0",
    };
    unsigned which = (unsigned)fuzz_take(in, 1);

    if (which < 128) {
        snprintf(out, 160, "f%u", which & 64 ? which % 16 : next);
    } else if (which < 160) {
        snprintf(out, 160, "json:{\"driver\":\"%s\",\"filename\":\"%s\"}",
                 which & 1 ? "file" : "raw", which & 2 ? "secret" : secret_at("secret"));
    } else if (which < 176) {
        snprintf(out, 160,
                 "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\","
                 "\"filename\":\"%s\"}}",
                 secret_at(which & 1 ? "secret" : "f1"));
    } else {
        snprintf(out, 160, "%s", odd[which % (sizeof(odd) / sizeof(odd[0]))]);
        if (which & 16)
            snprintf(out, 160, "%s", secret_at(odd[which % 4]));
    }
    return out;
}

static void put_be(uint8_t *to, uint64_t value, unsigned bytes)
{
    while (bytes--) {
        to[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* An external data file of that name, in place of the extensions that there were. */
static void name_data_file(struct tiny *t, const char *name)
{
    size_t len = strlen(name), header = QB_V3_HEADER_LENGTH;

    if (t->bytes[7] != 3 || header + 8 + len + 16 > TINY_CLUSTER)
        return;
    t->bytes[79] |= 1 << 2;
    put_be(t->bytes + 100, header, 4);
    put_be(t->bytes + 8, 0, 8); /* the name of a backing file would be there */
    memset(t->bytes + header, 0, TINY_CLUSTER - header);
    put_be(t->bytes + header, 0x44415441, 4);
    put_be(t->bytes + header + 4, len, 4);
    memcpy(t->bytes + header + 8, name, len);
}

/* Hostile values anywhere in header, tables and counts. */
static void spoil(struct fuzz_input *in, struct tiny *t)
{
    for (unsigned i = (unsigned)fuzz_take(in, 1) % 4; i > 0 && in->left; i--) {
        uint64_t part = t->parts[fuzz_take(in, 1) % t->n_parts];
        unsigned bytes = 1u << fuzz_take(in, 1) % 4;
        uint64_t where = part + fuzz_take(in, 2) % TINY_CLUSTER;

        if (where + bytes <= t->size)
            put_be(t->bytes + where, fuzz_take(in, bytes), bytes);
    }
}

static void make_image(struct fuzz_input *in, struct fleet *f, unsigned i, bool plain)
{
    static struct tiny t;
    struct image *image = &f->images[i];
    unsigned bits = plain ? 0 : (unsigned)fuzz_take(in, 2);
    struct tiny_shape shape = {.version = 2 + (plain || bits & 1),
                               .refcount_order = 4,
                               .snapshots = (bits >> 1) % 3,
                               .bitmaps = bits >> 3 & bits & 1,
                               .odd_size = bits >> 4 & 1};
    char name[160];

    memset(&t, 0, sizeof(t));
    snprintf(image->name, sizeof(image->name), "f%u", i);
    snprintf(name, sizeof(name), "f%u", i + 1);
    if (!plain)
        take_name(in, i + 1, name);
    shape.backing = bits & 32 ? NULL : name;
    for (unsigned l = 0; l < TINY_L1; l++)
        for (unsigned k = 0; k < TINY_ENTRIES; k++)
            shape.kinds[0][l][k] = (uint8_t)((bits >> 6 ^ l * 5 ^ k * 3) % TINY_KINDS);
    tiny_build(&shape, &t);
    if (bits & 32 && bits & 64)
        name_data_file(&t, name);
    if (bits >> 15)
        spoil(in, &t);
    image->size = t.size;
    image->bytes = malloc(t.size);
    FUZZ_HOLDS(image->bytes, "out of memory");
    memcpy(image->bytes, t.bytes, t.size);
}

static void take_images(struct fuzz_input *in, struct fleet *f)
{
    unsigned how = (unsigned)fuzz_take(in, 1);

    f->n = how & 1 ? 1 + how % JOBS : 1 + how % (FILES - 1);
    for (unsigned i = 0; i < f->n; i++)
        make_image(in, f, i, i >= JOBS);
}

static void write_images(struct fleet *f)
{
    struct stat st;

    for (unsigned i = 0; i < f->n; i++) {
        struct image *image = &f->images[i];

        secret_put(image->name, image->bytes, image->size);
        if (geteuid() == 0)
            FUZZ_HOLDS(chown(secret_at(image->name), OWNER, OWNER) == 0, "chown");
        FUZZ_HOLDS(stat(secret_at(image->name), &st) == 0, "stat");
        image->mtime = st.st_mtim;
    }
}

/* ---- the manifest ---------------------------------------------------------------------------- */

static void take_manifest(struct fuzz_input *in, struct fleet *f)
{
    static const char *const keys[] = {
        "compat: '0.10'",
        "compat: '1.1'",
        "size: 81k",
        "size: 4M",
        "size: 512",
        "lazy_refcounts: on",
        "refcount_bits: 64",
        "refcount_bits: 1",
        "backing_file: ''",
        "backing_file: f1",
        "backing_fmt: raw",
        "backing_fmt: qcow2",
        "backing_file: secret",
        "repair: all",
        "reclaim: {free: on}",
        "reclaim: {compact: on}",
        "snapshots: {delete: ['*']}",
        "bitmaps: {remove: ['*']}",
        "preallocation: metadata",
        "reclaim: {zeros: on}",
        "data_file_raw: on",
        "zero_clusters: defer",
        "backing: {rewrite: [{from: 'f', to: 'f'}]}",
    };
    static const char *const policies[] = {
        "allow_shrink: on",     "drop_bitmaps: on", "on_leaks: free",   "on_leaks: fail",
        "on_lost_tables: free", "verify: content",  "verify: none",     "on_dirty: repair",
        "one_file_system: on",  "on_link: fail",    "max_growth: 100k",
    };
    unsigned policy = (unsigned)fuzz_take(in, 2), jobs = (unsigned)fuzz_take(in, 1) % JOBS + 1;
    size_t used = (size_t)snprintf(f->text, sizeof(f->text), "version: 1\npolicy: {");

    for (unsigned i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
        if (policy >> i & 1 && !(i == 3 && policy & 4) && !(i == 5 && policy & 16))
            used += (size_t)snprintf(f->text + used, sizeof(f->text) - used, "%s, ", policies[i]);
    used += (size_t)snprintf(f->text + used, sizeof(f->text) - used,
                             "on_locked: fail}\nlimits: {jobs: %u}\nimages:\n", 1 + policy % 3);
    for (unsigned i = 0; i < QB_MIN(jobs, f->n); i++) {
        unsigned first = (unsigned)fuzz_take(in, 1) % (sizeof(keys) / sizeof(keys[0]));
        unsigned second = (unsigned)fuzz_take(in, 1) % (sizeof(keys) / sizeof(keys[0]));
        bool both = strncmp(keys[first], keys[second], 6) != 0;

        used += (size_t)snprintf(f->text + used, sizeof(f->text) - used,
                                 "  - {path: f%u, lazy_refcounts: off, %s%s%s}\n", i, keys[first],
                                 both ? ", " : "", both ? keys[second] : "");
    }
    secret_put("m.yaml", f->text, used);
}

/* ---- a run ----------------------------------------------------------------------------------- */

struct told {
    struct fleet *fleet;
    bool again; /* nothing is left to do for an image that was changed */
};

static bool was_changed(const struct fleet *f, unsigned image)
{
    for (unsigned i = 0; i < f->n_changed; i++)
        if (f->changed[i] == image)
            return true;
    return false;
}

static void listen(void *arg, size_t job, const struct qb_outcome *outcome)
{
    struct told *told = arg;
    const struct qb_failure *err = &outcome->result.err;
    unsigned image = (unsigned)job;

    FUZZ_HOLDS(err->code != QB_E_INTERNAL && err->code != QB_E_VERIFY, "f%u: %s", image, err->text);
    /* What a first run has copied or cut may be more to reclaim. */
    if (told->again && was_changed(told->fleet, image) && !strstr(told->fleet->text, "reclaim"))
        FUZZ_HOLDS(outcome->result.status != QB_STATUS_CHANGED, "f%u: a second run finds work",
                   image);
    if (!told->again && outcome->result.committed)
        told->fleet->changed[told->fleet->n_changed++] = image;
}

/* False: the manifest has a mistake. */
static bool run(struct fleet *f, bool again)
{
    struct qb_diags diags;
    struct qb_batch batch;
    struct qb_meter meter = {0};
    struct told told = {f, again};
    struct qb_listener listener = {.arg = &told, .image = listen, .meter = &meter};
    struct qb_run_options options = {.io = QB_IO_POSIX};
    struct qb_err err;
    bool fine = qb_manifest_load(secret_at("m.yaml"), NULL, &batch, &diags) == 0;

    if (fine)
        qb_run(&batch, &options, &listener, &err);
    qb_batch_free(&batch);
    qb_diags_free(&diags);
    return fine;
}

static void check_files(const struct fleet *f)
{
    static uint8_t now[8 << 20];

    for (unsigned i = 0; i < f->n; i++) {
        const struct image *image = &f->images[i];
        FILE *file = fopen(secret_at(image->name), "rb");
        size_t n = file ? fread(now, 1, sizeof(now), file) : 0;

        if (file)
            fclose(file);
        if (!was_changed(f, i))
            FUZZ_HOLDS(n == image->size && memcmp(now, image->bytes, n) == 0,
                       "%s was not changed, and is not as it was", image->name);
        if (geteuid() == 0)
            FUZZ_HOLDS(!memmem(now, n, SECRET_MARK, sizeof(SECRET_MARK)), "%s has the secret",
                       image->name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fleet f;
    struct fuzz_input in = {data, size};
    struct stat before, after;

    secret_make();
    memset(&f, 0, sizeof(f));
    take_images(&in, &f);
    write_images(&f);
    take_manifest(&in, &f);
    FUZZ_HOLDS(stat(secret_at("secret"), &before) == 0, "no secret");
    if (run(&f, false)) {
        check_files(&f);
        run(&f, true);
        FUZZ_HOLDS(stat(secret_at("secret"), &after) == 0 && after.st_size == before.st_size &&
                       memcmp(&after.st_mtim, &before.st_mtim, sizeof(after.st_mtim)) == 0,
                   "the secret was written");
    }
    for (unsigned i = 0; i < f.n; i++) {
        unlink(secret_at(f.images[i].name));
        free(f.images[i].bytes);
    }
    return 0;
}
