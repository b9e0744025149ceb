/* Whole images: a census and an amend of anything, on the memory back end.
 *
 * The input is either an image byte for byte, or the shape of a small valid one and a list of
 * values to put into it; before either stands a request.  Whatever comes out, these hold:
 *
 *   planning writes nothing; a failed amend leaves the image's bytes as they were; a successful one
 *   leaves an image whose census is clean and that reads as before in every layer; a second run has
 *   nothing to do; the write guard never has to speak.
 *
 * An image may name an external data file.  Whatever the name is, the file is one in memory: no
 * input opens a file of this machine. */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "amend/amend.h"
#include "check/census.h"
#include "data_file.h"
#include "fuzz.h"
#include "guest.h"
#include "mem/mem.h"
#include "image/image.h"
#include "tiny.h"

/* ---- two backing files, always at the same paths --------------------------------------------- */

/* Raw files come in whole sectors.  A few pages hold data, the last of them where the disk ends and
 * VM state begins; the rest are holes. */
static struct backing {
    int fd;
    const char *path;
    uint64_t size, shown;
    uint8_t bytes[160 << 10];
} backings[] = {
    {.fd = 200, .path = "/proc/self/fd/200", .size = 41000, .shown = 41472}, /* ends in the disk */
    {.fd = 201, .path = "/proc/self/fd/201", .size = 153600, .shown = 153600},
};

static void put_page(struct backing *b, unsigned page, int byte)
{
    if ((page + 1) * 4096 > b->size)
        return;
    memset(b->bytes + page * 4096, byte, 4096);
    FUZZ_HOLDS(pwrite(b->fd, b->bytes + page * 4096, 4096, page * 4096) == 4096, "no backing file");
}

static void make_backing(struct backing *b)
{
    int fd = memfd_create("base", 0);

    FUZZ_HOLDS(fd >= 0 && dup2(fd, b->fd) == b->fd && close(fd) == 0 &&
                   ftruncate(b->fd, (off_t)b->size) == 0,
               "no backing file");
    put_page(b, 0, 0xb1);
    put_page(b, 3, 0xb2);
    put_page(b, 19, 0xb3);
    put_page(b, 24, 0xb4);
}

static void make_backings(void)
{
    if (backings[0].bytes[0])
        return;
    make_backing(&backings[0]);
    make_backing(&backings[1]);
}

static const struct backing *find_backing(const char *path)
{
    for (size_t i = 0; i < 2; i++)
        if (strcmp(path, backings[i].path) == 0)
            return &backings[i];
    return NULL;
}

/* ---- the input ------------------------------------------------------------------------------- */

enum patch_kind { PUT_64, PUT_32, PUT_8, PUT_OFFSET, COPY, CUT, GROW, FLIP_BIT, PATCH_KINDS };

/* The image of tiny.c has one bitmap, "b0". */
static const struct qb_bitmap_rename new_name = {"b0", "b"};
static const struct qb_bitmap_add added[] = {{"c", 65536, false}, {"d", 512, true}};
static const char *const b_names[] = {"c", "b0"};
static const struct qb_bitmap_merge merges[] = {{{b_names + 1, 1}, "c"}, {{b_names, 2}, "c"}};

static void take_request(struct fuzz_input *in, struct qb_request *rq, uint8_t *fault)
{
    unsigned keys = (unsigned)fuzz_take(in, 1), how = (unsigned)fuzz_take(in, 1);
    unsigned width = (unsigned)fuzz_take(in, 1);
    static const char *const every_name[] = {"*"}, *const modes[] = {"off", "metadata", "falloc",
                                                                     "full"};

    *rq = (struct qb_request){
        .set = keys & (QB_KEY_COMPAT | QB_KEY_SIZE | QB_KEY_BACKING_FILE | QB_KEY_LAZY_REFCOUNTS |
                       QB_KEY_REFCOUNT_BITS),
        .compat = 2 + (how & 1),
        .zero_clusters = (how >> 1 & 3) % 3,
        .backing_file = how & 8 ? backings[width >> 7].path : NULL,
        .backing_fmt = how & 8 ? "raw" : NULL,
        .drop_bitmaps = how & 16,
        .lazy_refcounts = how & 32,
        .zero_method = how >> 6,
        .allow_shrink = true,
        .verify = QB_VERIFY_CONTENT,
        .memory_limit = 64 << 20,
    };
    if (rq->set & QB_KEY_BACKING_FILE)
        rq->set |= QB_KEY_BACKING_FMT;
    if (keys & 64) {
        rq->set |= QB_KEY_SNAPSHOTS;
        rq->snapshots_delete = (struct qb_name_list){every_name, 1};
    }
    if (keys & 8) {
        rq->set |= QB_KEY_PREALLOCATION;
        rq->preallocation = modes[width >> 3 & 3];
    }
    if (keys & 128) {
        rq->set |= QB_KEY_BITMAPS;
        rq->bitmaps_rename = (struct qb_bitmap_renames){&new_name, how & 1};
        rq->bitmaps_add = (struct qb_bitmap_adds){added, 1 + (how >> 1 & 1)};
        rq->bitmaps_merge = (struct qb_bitmap_merges){merges, how & 7 ? 2 : 0};
        rq->bitmaps_clear = (struct qb_name_list){every_name, how >> 4 & 1};
    }
    rq->refcount_bits = 1ull << (width & 127) % 7;
    rq->size = fuzz_take(in, 2) * QB_SECTOR;
    *fault = (uint8_t)fuzz_take(in, 1);
}

static void take_shape(struct fuzz_input *in, struct tiny_shape *s)
{
    unsigned bits = (unsigned)fuzz_take(in, 2);
    unsigned shares = (unsigned)fuzz_take(in, 1);

    *s = (struct tiny_shape){
        .version = 2 + (bits & 1),
        .refcount_order = (bits >> 1 & 7) % 7,
        .snapshots = (bits >> 4 & 3) % 3,
        .dirty = (bits & 1) && bits >> 6 & 1,
        .odd_size = bits >> 7 & 1,
        .bitmaps = bits >> 8 & 1,
        .unknown_ext = bits >> 9 & 1,
        .short_header = bits >> 10 & 1,
        .no_extra = bits >> 11 & 1,
        .backing = bits >> 12 & 1 ? backings[bits >> 13 & 1].path : NULL,
    };
    for (unsigned i = 0; i < 2 * TINY_L1; i++)
        s->shares[1 + i / TINY_L1][i % TINY_L1] = shares >> i & 1;
    for (unsigned layer = 0; layer <= s->snapshots; layer++)
        for (unsigned i = 0; i < TINY_L1; i++) {
            uint64_t kinds = fuzz_take(in, 3);

            for (unsigned k = 0; k < TINY_ENTRIES; k++)
                s->kinds[layer][i][k] = (uint8_t)(kinds >> (3 * k) & 7);
        }
}

static void put_number(struct tiny *t, uint64_t at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes && at + i < t->size; i++)
        t->bytes[at + i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static void patch(struct fuzz_input *in, struct tiny *t)
{
    uint64_t part = t->parts[fuzz_take(in, 1) % t->n_parts];
    uint64_t index = fuzz_take(in, 1), value;
    enum patch_kind kind = fuzz_take(in, 1) % PATCH_KINDS;

    value = fuzz_take(in, 8);
    switch (kind) {
    case PUT_64:
        put_number(t, part + 8 * (index % 64), value, 8);
        break;
    case PUT_32:
        put_number(t, part + 4 * (index % 128), value, 4);
        break;
    case PUT_8:
        put_number(t, part + index + (value & 256), value, 1);
        break;
    case PUT_OFFSET: /* a cluster of the file, with the flags of an entry */
        put_number(t, part + 8 * (index % 64),
                   (value & 0xffff) % (t->size / TINY_CLUSTER + 2) * TINY_CLUSTER |
                       (value & QB_ENTRY_COPIED) | (value >> 16 & 1),
                   8);
        break;
    case COPY:
        if (part + TINY_CLUSTER <= t->size)
            memmove(t->bytes + part, t->bytes + t->parts[value % t->n_parts], TINY_CLUSTER);
        break;
    case CUT:
        t->size = value % (t->size + 1);
        break;
    case GROW:
        value = QB_MIN(value % 4096, TINY_ROOM - t->size);
        memset(t->bytes + t->size, (int)index, value);
        t->size += value;
        break;
    case FLIP_BIT:
        if (part + index < t->size)
            t->bytes[part + index] ^= (uint8_t)(1u << value % 8);
        break;
    default:
        break;
    }
}

/* False when there is nothing to try. */
static bool take_image(struct fuzz_input *in, struct tiny *t, bool *pristine)
{
    struct tiny_shape shape;

    *pristine = false;
    if (fuzz_take(in, 1) & 1) {
        t->size = QB_MIN(in->left, TINY_ROOM);
        memcpy(t->bytes, in->data, t->size);
        return t->size != 0;
    }
    take_shape(in, &shape);
    tiny_build(&shape, t);
    *pristine = in->left == 0;
    for (unsigned i = 0; i < 32 && in->left && t->size; i++)
        patch(in, t);
    return t->size != 0;
}

/* ---- what is looked at before and after ------------------------------------------------------ */

#define LAYERS_READ 4u

struct view {
    bool counted; /* the census could be taken */
    uint64_t corruptions, leaks, end;
    struct qb_info info;
    char backing_file[1024], backing_fmt[64]; /* the info's own are gone with the image */
    uint64_t unknown_exts;                    /* a hash of the extensions that every amend keeps */
    unsigned layers;
    uint64_t size;
    bool readable[LAYERS_READ];
    uint8_t content[LAYERS_READ][GUEST_MAX];
};

struct trial {
    struct qb_mem_log *log;
    struct qb_io *io;
    struct qb_request rq;
    struct tiny image;
    bool pristine; /* as it was built, no hostile byte in it */
};

static uint64_t hash_exts(const qb_ext_list *exts)
{
    uint64_t h = 0;

    for (size_t i = 0; i < exts->n; i++) {
        const struct qb_ext *e = &exts->items[i];

        if (e->type == QB_EXT_BACKING_FORMAT || e->type == QB_EXT_FEATURE_NAMES ||
            e->type == QB_EXT_BITMAPS)
            continue;
        h = (h ^ e->type) * 1099511628211u;
        for (uint32_t k = 0; k < e->len; k++)
            h = (h ^ e->data[k]) * 1099511628211u;
    }
    return h;
}

static void count(struct trial *t, struct view *v)
{
    struct qb_file file;
    struct qb_image img;
    struct qb_census c;
    struct qb_err err;

    FUZZ_HOLDS(qb_mem_reopen(t->log, 0, &file) == 0, "out of memory");
    if (qb_image_open(t->io, &file, &img, &err) == 0) {
        qb_image_info(&img, &v->info);
        snprintf(v->backing_file, sizeof(v->backing_file), "%s", v->info.backing_file);
        snprintf(v->backing_fmt, sizeof(v->backing_fmt), "%s", v->info.backing_fmt);
        v->unknown_exts = hash_exts(&img.exts);
        if (qb_image_read_snapshots(t->io, &img, &err) == 0) {
            v->counted = qb_census_take(t->io, &img, 64 << 20, NULL, NULL, &c, &err) == 0;
            v->corruptions = qb_census_corruptions(&c);
            v->leaks = c.n_leaks;
            v->end = c.end;
            FUZZ_HOLDS(!v->counted || !v->corruptions == !c.first.code,
                       "%llu corruptions, but the first is \"%s\"",
                       (unsigned long long)v->corruptions, c.first.text);
            qb_census_free(&c);
        }
        qb_image_close(&img);
    }
    qb_file_close(&file);
}

/* The backing file's content counts as the target has it: a new name is metadata only. */
static void look(struct trial *t, const char *backing_name, struct view *v)
{
    uint64_t size;
    const uint8_t *bytes = qb_mem_content(t->log, 0, &size);
    const struct backing *b = find_backing(backing_name);
    struct guest_image img = {bytes, size, b ? b->bytes : NULL, b ? b->shown : 0};

    memset(v, 0, offsetof(struct view, content));
    count(t, v);
    v->layers = guest_layers(&img);
    v->size = guest_size(&img);
    for (unsigned i = 0; i < QB_MIN(v->layers, LAYERS_READ); i++)
        v->readable[i] = guest_read(&img, i, v->content[i]);
}

/* Says where two contents differ. */
static void check_same(const uint8_t *old, const uint8_t *now, uint64_t n, unsigned layer)
{
    uint64_t at = 0;

    if (memcmp(old, now, n) == 0)
        return;
    while (old[at] == now[at])
        at++;
    fuzz_broken("guest byte 0x%llx of layer %u changed from %02x to %02x", (unsigned long long)at,
                layer, old[at], now[at]);
}

static void check_content(const struct view *old, const struct view *now)
{
    uint64_t same = QB_MIN(QB_MIN(old->size, now->size), GUEST_MAX);
    uint64_t end = QB_MIN(now->size, GUEST_MAX);

    FUZZ_HOLDS(now->layers == old->layers, "%u layers became %u", old->layers, now->layers);
    for (unsigned i = 0; i < QB_MIN(old->layers, LAYERS_READ); i++) {
        if (!old->readable[i])
            continue;
        FUZZ_HOLDS(now->readable[i], "layer %u can no longer be read", i);
        check_same(old->content[i], now->content[i], i ? GUEST_MAX : same, i);
        if (i == 0 && same < end)
            FUZZ_HOLDS(qb_all_zero(now->content[0] + same, end - same),
                       "the disk grew, and what is new does not read zero");
    }
}

/* Preallocation is not asked where the disk would not fit into memory. */
static void ask_what_fits(struct trial *t)
{
    const struct guest_image img = {t->image.bytes, t->image.size, NULL, 0};
    uint64_t size = guest_size(&img);

    if (t->rq.set & QB_KEY_SIZE)
        size = t->rq.size;
    if (size > 4 * GUEST_MAX)
        t->rq.set &= ~(unsigned)QB_KEY_PREALLOCATION;
}

/* ---- one trial ------------------------------------------------------------------------------- */

static void check_untouched(struct trial *t, const char *when, uint64_t upto)
{
    uint64_t size;
    const uint8_t *bytes = qb_mem_content(t->log, 0, &size);

    FUZZ_HOLDS(size == t->image.size, "%s: the length changed from %llu to %llu", when,
               (unsigned long long)t->image.size, (unsigned long long)size);
    FUZZ_HOLDS(memcmp(bytes, t->image.bytes, QB_MIN(upto, size)) == 0, "%s: the bytes changed",
               when);
}

static int barrier(struct trial *t, struct qb_amend *a)
{
    struct qb_file *file = qb_amend_file(a);
    int errnum = 0;

    qb_io_barrier(t->io, &file, 1, QB_SYNC_FILE, &errnum);
    return errnum;
}

static int carry_out(struct trial *t, struct qb_amend *a)
{
    int lost;

    if (qb_amend_remember(a, t->io) < 0 || qb_amend_append(a, t->io) < 0)
        return -1;
    lost = qb_amend_appends(a) ? barrier(t, a) : 0;
    if (lost) {
        qb_amend_append_lost(a, t->io, lost);
        return -1;
    }
    if (qb_amend_flip(a, t->io) < 0 || qb_amend_flipped(a, barrier(t, a)) < 0)
        return -1;
    if (qb_amend_verify(a, t->io) < 0)
        return -1;
    qb_amend_settle(a, t->io);
    return 0;
}

/* Opens and plans; *a is to be closed. */
static int prepare(struct trial *t, struct qb_amend **a)
{
    struct qb_file file;

    *a = qb_amend_new("mem:0");
    FUZZ_HOLDS(*a && qb_mem_reopen(t->log, 0, &file) == 0, "out of memory");
    if (qb_amend_open(*a, t->io, (struct qb_claim){.writable = true}, &file) < 0)
        return -1;
    if (qb_amend_result(*a)->before->external_data_file) {
        FUZZ_HOLDS(qb_mem_reopen(t->log, DATA_FILE_DISK, &file) == 0, "out of memory");
        qb_amend_set_data_file(*a, &file);
    }
    return qb_amend_plan(*a, t->io, &t->rq);
}

static void check_second_run(struct trial *t)
{
    struct qb_amend *a;

    if (prepare(t, &a) < 0)
        fuzz_broken("the amended image is refused: %s", qb_amend_result(a)->err.text);
    FUZZ_HOLDS(qb_amend_result(a)->status == QB_STATUS_UNCHANGED, "a second run finds work");
    qb_amend_close(a);
}

static uint64_t kept_leaks(const struct qb_result *r)
{
    return r->leaks.freed ? 0 : r->leaks.clusters;
}

static void check_changed(struct trial *t, const struct qb_result *r, const struct view *old,
                          const struct view *now)
{
    FUZZ_HOLDS(now->info.virtual_size == r->after->virtual_size &&
                   now->info.version == r->after->version &&
                   now->info.refcount_bits == r->after->refcount_bits &&
                   now->info.lazy_refcounts == r->after->lazy_refcounts && !now->info.dirty,
               "the image is not what was planned");
    FUZZ_HOLDS(now->unknown_exts == old->unknown_exts, "an unknown extension is not as it was");
    if (old->counted && !old->corruptions)
        FUZZ_HOLDS(now->counted && !now->corruptions && now->leaks <= old->leaks, "new damage");
    if (r->clusters.valid)
        FUZZ_HOLDS(now->counted && !now->corruptions && now->leaks == kept_leaks(r),
                   "%llu errors, %llu leaks", (unsigned long long)now->corruptions,
                   (unsigned long long)now->leaks);
    check_content(old, now);
    data_file_check(t->log, old->info.cluster_size, QB_MIN(old->size, now->size));
    check_second_run(t);
}

/* The old image, in front of its END.  Behind sector 0 of the header cluster a new name may stand
 * where nothing was. */
static void check_old(struct trial *t, const struct view *old, const struct view *now)
{
    uint64_t size, cs = old->info.cluster_size, end = t->image.size;
    const uint8_t *bytes = qb_mem_content(t->log, 0, &size);

    if (old->counted)
        end = QB_MIN(old->end, end);
    data_file_check(t->log, old->info.cluster_size, QB_MIN(old->size, now->size));
    FUZZ_HOLDS(size >= end, "the file is too short");
    FUZZ_HOLDS(end <= cs || memcmp(bytes + cs, t->image.bytes + cs, end - cs) == 0,
               "the sector is old, other bytes are not");
    FUZZ_HOLDS(strcmp(old->backing_file, now->backing_file) == 0 &&
                   strcmp(old->backing_fmt, now->backing_fmt) == 0 &&
                   old->unknown_exts == now->unknown_exts,
               "the sector is old, what it leads to is not");
}

/* A fault may leave the new image where it came after the flip, else the old one. */
static void check_fault(struct trial *t, const struct qb_result *r, const struct view *old)
{
    static struct view now; /* large: not on the stack */
    uint64_t size;
    const uint8_t *bytes = qb_mem_content(t->log, 0, &size);
    bool is_old = memcmp(bytes, t->image.bytes, QB_SECTOR) == 0;

    look(t, "", &now);
    if (is_old)
        check_old(t, old, &now);
    else
        FUZZ_HOLDS(!r->clusters.valid ||
                       (now.counted && !now.corruptions && now.leaks == kept_leaks(r)),
                   "the image is damaged after a fault");
}

static void amend(struct trial *t, uint8_t fault)
{
    const struct qb_mem_event *events;
    static struct view old, now;
    struct qb_amend *a;
    struct qb_result *r;
    int rc = prepare(t, &a);

    r = qb_amend_result(a);
    FUZZ_HOLDS(qb_mem_events(t->log, &events) == 0, "planning wrote");
    look(t, rc == 0 ? r->after->backing_file : "", &old);
    FUZZ_HOLDS(!t->pristine || (old.counted && !old.corruptions && !old.leaks),
               "the tiny image is not valid");
    if (rc == 0 && r->status == QB_STATUS_WOULD_CHANGE) {
        if (fault)
            qb_mem_fail(t->log, fault - 1u, fault & 1 ? ENOSPC : EIO, false);
        rc = carry_out(t, a);
        qb_mem_fail(t->log, 0, 0, false);
    }
    r = qb_amend_result(a);
    FUZZ_HOLDS(rc == 0 || r->err.code != QB_E_NONE, "failed without a reason");
    /* What a fault keeps verification from reading is QB_E_VERIFY; check_fault looks for itself. */
    FUZZ_HOLDS(r->err.code != QB_E_INTERNAL && (fault || r->err.code != QB_E_VERIFY), "%s",
               r->err.text);
    if (rc == 0 && r->status == QB_STATUS_CHANGED) {
        if (t->rq.set & QB_KEY_SNAPSHOTS)
            old.layers = QB_MIN(old.layers, 1u); /* all of them are deleted */
        look(t, r->after->backing_file, &now);
        check_changed(t, r, &old, &now);
    } else if (fault && qb_mem_events(t->log, &events)) {
        check_fault(t, r, &old);
    } else {
        check_untouched(t, rc == 0 ? "nothing to do" : r->err.text, UINT64_MAX);
    }
    qb_amend_close(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct trial t = {.log = qb_mem_log_new()};
    struct qb_file file;
    uint8_t fault;

    make_backings();
    take_request(&in, &t.rq, &fault);
    if (take_image(&in, &t.image, &t.pristine)) {
        FUZZ_HOLDS(t.log && qb_mem_file(t.log, t.image.bytes, t.image.size, &file) == 0, "memory");
        qb_file_close(&file);
        data_file_make(t.log);
        ask_what_fits(&t);
        t.io = qb_io_open_mem(t.log);
        amend(&t, fault);
        qb_io_close(t.io);
    }
    qb_mem_log_free(t.log);
    return 0;
}
