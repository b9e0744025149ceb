#include "journal/seen.h"

struct qb_seen qb_seen_of_stat(const struct stat *st)
{
    return (struct qb_seen){
        .valid = S_ISREG(st->st_mode),
        .dev = st->st_dev,
        .ino = st->st_ino,
        .length = (uint64_t)st->st_size,
        .mtime_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
    };
}

struct qb_seen qb_seen_of(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 ? qb_seen_of_stat(&st) : (struct qb_seen){0};
}

struct qb_seen qb_seen_at(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? qb_seen_of_stat(&st) : (struct qb_seen){0};
}

bool qb_seen_is_same(const struct qb_seen *a, const struct qb_seen *b)
{
    return a->valid && b->valid && a->ino == b->ino;
}

bool qb_seen_is_unwritten(const struct qb_seen *then, const struct qb_seen *now)
{
    return qb_seen_is_same(then, now) && then->length == now->length &&
           then->mtime_ns == now->mtime_ns;
}

void qb_seen_put(struct qb_journal *j, const struct qb_seen *seen)
{
    if (!seen->valid)
        return;
    qb_journal_number(j, "dev", seen->dev);
    qb_journal_number(j, "ino", seen->ino);
    qb_journal_number(j, "length", seen->length);
    qb_journal_number(j, "mtime_ns", seen->mtime_ns);
}

struct qb_seen qb_seen_read(const struct qb_parsed *record)
{
    return (struct qb_seen){
        .valid = qb_json_get_number(record, "ino", 0) != 0,
        .dev = qb_json_get_number(record, "dev", 0),
        .ino = qb_json_get_number(record, "ino", 0),
        .length = qb_json_get_number(record, "length", 0),
        .mtime_ns = qb_json_get_number(record, "mtime_ns", 0),
    };
}
