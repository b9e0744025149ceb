#include "qcow2/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"

void qb_snapshot_table_free(struct qb_snapshot_table *t)
{
    qb_vec_free(&t->list);
    free(t->bytes);
    t->bytes = NULL;
}

static void decode_extra(const uint8_t *extra, struct qb_snapshot *s, uint64_t header_size)
{
    struct qb_disk_snapshot_extra x;

    s->disk_size = header_size;
    memcpy(&x, extra, QB_MIN(s->extra_len, sizeof(x)));
    if (s->extra_len >= 8)
        s->vm_state_size = be64_get(x.vm_state_size_large);
    if (s->extra_len >= 16) {
        s->has_disk_size = true;
        s->disk_size = be64_get(x.disk_size);
    }
}

/* Decodes one entry at `at`; *next is where the following one may start. */
static int decode_one(const uint8_t *bytes, uint64_t have, uint64_t at, uint64_t header_size,
                      struct qb_snapshot *s, uint64_t *next, struct qb_err *err)
{
    struct qb_disk_snapshot d;

    if (at + sizeof(d) > have)
        return 1;
    memcpy(&d, bytes + at, sizeof(d));
    *s = (struct qb_snapshot){
        .l1_offset = be64_get(d.l1_table_offset),
        .l1_size = be32_get(d.l1_size),
        .vm_state_size = be32_get(d.vm_state_size),
        .extra_len = be32_get(d.extra_data_size),
        .id_len = be16_get(d.id_size),
        .name_len = be16_get(d.name_size),
        .raw = bytes + at,
    };
    if (s->extra_len > QB_MAX_SNAPSHOT_EXTRA)
        return qb_fail(err, QB_E_CORRUPT, at, "a snapshot has %u bytes of extra data",
                       s->extra_len);
    *next = at + sizeof(d) + s->extra_len + s->id_len + s->name_len;
    if (*next > have)
        return 1;
    decode_extra(bytes + at + sizeof(d), s, header_size);
    return 0;
}

int qb_snapshot_decode(const uint8_t *bytes, uint64_t have, uint32_t count, uint64_t header_size,
                       struct qb_snapshot_table *out, struct qb_err *err)
{
    uint64_t at = 0, next = 0;

    out->list.n = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct qb_snapshot s;
        int r;

        at = qb_round_up(next, 8);
        r = decode_one(bytes, have, at, header_size, &s, &next, err);
        if (r)
            return r;
        if (next > QB_MAX_SNAPSHOT_TABLE)
            return qb_fail(err, QB_E_CORRUPT, at, "the snapshot table is longer than 64 MiB");
        if (!qb_vec_push(&out->list, s))
            return qb_fail_memory(err);
    }
    out->len = next;
    return 0;
}

struct qb_snapshot_label qb_snapshot_label(const struct qb_snapshot *s)
{
    const char *names = (const char *)s->raw + sizeof(struct qb_disk_snapshot) + s->extra_len;
    const uint8_t *extra = s->raw + sizeof(struct qb_disk_snapshot);
    struct qb_disk_snapshot d;
    be64 icount = be64_of(UINT64_MAX);

    memcpy(&d, s->raw, sizeof(d));
    if (s->extra_len >= QB_SNAPSHOT_ICOUNT_AT + sizeof(icount))
        memcpy(&icount, extra + QB_SNAPSHOT_ICOUNT_AT, sizeof(icount));
    return (struct qb_snapshot_label){.id = names,
                                      .name = names + s->id_len,
                                      .date_sec = be32_get(d.date_sec),
                                      .date_nsec = be32_get(d.date_nsec),
                                      .vm_clock_nsec = be64_get(d.vm_clock_nsec),
                                      .has_icount = be64_get(icount) != UINT64_MAX,
                                      .icount = be64_get(icount)};
}

static uint32_t extra_wanted(const struct qb_snapshot *s, bool with_extra)
{
    uint32_t least = sizeof(struct qb_disk_snapshot_extra);

    return with_extra ? QB_MAX(s->extra_len, least) : s->extra_len;
}

static void encode_one(const struct qb_snapshot *s, uint32_t extra, uint8_t *at)
{
    const uint8_t *names = s->raw + sizeof(struct qb_disk_snapshot) + s->extra_len;
    struct qb_disk_snapshot d;
    struct qb_disk_snapshot_extra x = {be64_of(s->vm_state_size), be64_of(s->disk_size)};

    memcpy(&d, s->raw, sizeof(d));
    d.l1_table_offset = be64_of(s->l1_offset);
    d.l1_size = be32_of(s->l1_size);
    d.extra_data_size = be32_of(extra);
    memcpy(at, &d, sizeof(d));
    at += sizeof(d);
    if (extra > s->extra_len)
        memcpy(at, &x, sizeof(x));
    else
        memcpy(at, s->raw + sizeof(d), extra);
    memcpy(at + extra, names, (size_t)s->id_len + s->name_len);
}

int qb_snapshot_encode(const struct qb_snapshot_table *t, bool with_extra, uint8_t **out,
                       uint64_t *len, struct qb_err *err)
{
    uint64_t at = 0;
    uint8_t *bytes;

    for (size_t i = 0; i < t->list.n; i++) {
        const struct qb_snapshot *s = &t->list.items[i];

        at = qb_round_up(at, 8) + sizeof(struct qb_disk_snapshot) + extra_wanted(s, with_extra) +
             s->id_len + s->name_len;
    }
    bytes = calloc(1, at ? at : 1);
    if (!bytes)
        return qb_fail_memory(err);
    *out = bytes;
    *len = at;
    at = 0;
    for (size_t i = 0; i < t->list.n; i++) {
        const struct qb_snapshot *s = &t->list.items[i];
        uint32_t extra = extra_wanted(s, with_extra);

        at = qb_round_up(at, 8);
        encode_one(s, extra, bytes + at);
        at += sizeof(struct qb_disk_snapshot) + extra + s->id_len + s->name_len;
    }
    return 0;
}

bool qb_snapshot_same(const struct qb_snapshot *a, const struct qb_snapshot *b)
{
    const size_t from = offsetof(struct qb_disk_snapshot, id_size);
    const size_t end = offsetof(struct qb_disk_snapshot, vm_state_size);
    const size_t fixed = sizeof(struct qb_disk_snapshot);
    size_t names = (size_t)a->id_len + a->name_len;

    return memcmp(a->raw + from, b->raw + from, end - from) == 0 &&
           a->vm_state_size == b->vm_state_size && a->disk_size == b->disk_size &&
           memcmp(a->raw + fixed, b->raw + fixed, QB_MIN(a->extra_len, b->extra_len)) == 0 &&
           memcmp(a->raw + fixed + a->extra_len, b->raw + fixed + b->extra_len, names) == 0;
}
