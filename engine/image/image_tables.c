/* Tables whose entries are words: L1 and refcount tables. */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "image/image.h"

enum { ZERO_WORDS = 64 }; /* at once */

/* Where the zeros begin with which the words end, or up to ZERO_WORDS after that. */
static uint64_t before_zeros(const uint64_t *words, uint64_t first, uint64_t end)
{
    while (end - first >= ZERO_WORDS &&
           qb_all_zero(words + end - ZERO_WORDS, ZERO_WORDS * sizeof(*words)))
        end -= ZERO_WORDS;
    return end;
}

/* n big-endian words at `offset`, in this machine's order.  With `held`, *out has no more than the
 * first *held of them: those that follow are zeros. */
static int read_words(struct qb_io *io, struct qb_file *file, uint64_t offset, uint64_t n,
                      const char *what, uint64_t *held, uint64_t **out, struct qb_err *err)
{
    QB_AUTO(qb_buf) uint64_t *words = NULL;
    struct qb_range part;
    uint64_t first, end;

    if (!qb_range_ok(offset, n, 8, file->size))
        return qb_fail(err, QB_E_CORRUPT, offset,
                       "%s of %llu entries ends past the end of the file", what,
                       (unsigned long long)n);
    part = qb_file_data_part(file, offset, n * 8);
    first = (part.first - offset) / 8;
    end = part.first < part.end ? qb_div_up(part.end - offset, 8) : first;
    if (held)
        n = part.first < part.end ? end : 0;
    /* Zeros of holes take no memory, and what is read needs none before it is. */
    words = first == 0 && n > 0 && n == end ? malloc(n * 8) : calloc(n ? n : 1, 8);
    if (!words)
        return qb_fail_memory(err);
    if (first < end &&
        qb_io_read(io, file, offset + 8 * first, words + first, 8 * (end - first), what, err) < 0)
        return -1;
    if (held)
        *held = end = first < end ? before_zeros(words, first, end) : 0;
    for (uint64_t i = first; i < end; i++)
        words[i] = be64_get(((be64 *)words)[i]);
    *out = qb_take(&words);
    return 0;
}

bool qb_image_l1_is_past_end(const struct qb_image *img, uint64_t offset)
{
    const struct qb_file *file = img->file;

    return !file->is_block_device && offset != 0 &&
           offset == qb_round_up(file->size, img->geom.cluster_size);
}

int qb_image_read_l1(struct qb_io *io, const struct qb_image *img, uint64_t offset,
                     uint32_t entries, uint64_t **out, struct qb_err *err)
{
    if (!qb_image_l1_is_past_end(img, offset))
        return read_words(io, img->file, offset, entries, "an L1 table", NULL, out, err);
    *out = calloc(entries ? entries : 1, 8);
    return *out ? 0 : qb_fail_memory(err);
}

#define SCAN_ENTRIES 8192u /* at once */
#define FEW_ENTRIES  512u  /* to ask for holes takes longer than to read so many */

int qb_image_scan_entries(const struct qb_entry_scan *s, struct qb_err *err)
{
    uint64_t most = QB_MIN(s->entries, SCAN_ENTRIES), n;
    QB_AUTO(qb_buf) be64 *window = malloc((most + 1) * sizeof(*window));
    struct qb_file *file = s->img->file;
    int r = 0;

    if (!window)
        return qb_fail_memory(err);
    if (qb_image_l1_is_past_end(s->img, s->offset))
        return 0;
    if (!qb_range_ok(s->offset, s->entries, 8, file->size))
        return qb_fail(err, QB_E_CORRUPT, s->offset,
                       "%s of %u entries ends past the end of the file", s->what, s->entries);
    for (uint64_t i = 0; r == 0 && i < s->entries; i += n) {
        uint64_t at = s->offset + 8 * i;

        n = s->entries <= FEW_ENTRIES
                ? 0
                : qb_min((qb_file_next_data(file, at) - at) / 8, s->entries - i);
        if (n)
            continue; /* a hole */
        n = QB_MIN(most, s->entries - i);
        if (qb_io_read(s->io, file, at, window, 8 * n, s->what, err) < 0)
            return -1;
        for (uint64_t k = 0; r == 0 && k < n; k++)
            if (be64_get(window[k]))
                r = s->fn(s->arg, (uint32_t)(i + k), be64_get(window[k]), err);
    }
    return r;
}

int qb_image_read_reftable(struct qb_io *io, const struct qb_image *img, uint64_t **out, size_t *n,
                           struct qb_err *err)
{
    uint64_t *kept, all = (uint64_t)img->header.reftable_clusters * img->geom.cluster_size / 8;
    uint64_t held;

    if (read_words(io, img->file, img->header.reftable_offset, all, "the refcount table", &held,
                   out, err) < 0)
        return -1;
    *n = held;
    while (*n && (*out)[*n - 1] == 0)
        --*n;
    kept = realloc(*out, (*n ? *n : 1) * 8);
    *out = kept ? kept : *out;
    return 0;
}
