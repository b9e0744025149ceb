#include "io/owners.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/own.h"

enum {
    USER_BUCKETS = 1024,
    FILE_BUCKETS = 4096,
    USERS_MAX = 1 << 16, /* with more of them everything is forgotten */
    FILES_MAX = 1 << 16,
    RECORD_MAX = 1 << 20, /* bytes of a line of the user database */
    GROUPS_MAX = 1 << 16
};

struct user {
    struct user *next;
    uid_t uid;
    bool known; /* by the user database */
    gid_t gid;
    gid_t *groups;
    size_t n_groups;
};

struct seen {
    struct seen *next;
    uid_t uid;
    gid_t gid;
    dev_t dev;
    ino_t ino;
    struct timespec changed; /* the file's ctime */
};

struct qb_owners {
    bool any;
    pthread_mutex_t mutex;
    size_t n_users, n_files;
    struct user *users[USER_BUCKETS];
    struct seen *files[FILE_BUCKETS];
};

struct qb_owners *qb_owners_new(bool anybody)
{
    struct qb_owners *o = calloc(1, sizeof(*o));

    if (o) {
        o->any = anybody;
        pthread_mutex_init(&o->mutex, NULL);
    }
    return o;
}

static void forget_users(struct qb_owners *o)
{
    for (size_t i = 0; i < USER_BUCKETS; i++)
        while (o->users[i]) {
            struct user *u = o->users[i];

            o->users[i] = u->next;
            free(u->groups);
            free(u);
        }
    o->n_users = 0;
}

static void forget_files(struct qb_owners *o)
{
    for (size_t i = 0; i < FILE_BUCKETS; i++)
        while (o->files[i]) {
            struct seen *s = o->files[i];

            o->files[i] = s->next;
            free(s);
        }
    o->n_files = 0;
}

void qb_owners_free(struct qb_owners *o)
{
    if (!o)
        return;
    forget_users(o);
    forget_files(o);
    pthread_mutex_destroy(&o->mutex);
    free(o);
}

bool qb_owners_any(const struct qb_owners *o)
{
    return o && o->any;
}

/* ---- the user database ----------------------------------------------------------------------- */

static int get_groups(const char *name, struct user *u)
{
    int room = 64, n;

    for (;; room = QB_MAX(n, 2 * room)) {
        gid_t *more = room <= GROUPS_MAX ? realloc(u->groups, (size_t)room * sizeof(gid_t)) : NULL;

        if (!more)
            return ENOMEM;
        u->groups = more;
        n = room;
        if (getgrouplist(name, u->gid, u->groups, &n) >= 0)
            break;
    }
    u->n_groups = (size_t)n;
    return 0;
}

/* Whether that is the database's way to say that there is no such user; see getpwuid(3). */
static bool says_none(int errnum)
{
    return errnum == 0 || errnum == ENOENT || errnum == ESRCH || errnum == EBADF || errnum == EPERM;
}

/* Fills *u for its uid: 0 or an errno. */
static int look_up(struct user *u)
{
    QB_AUTO(qb_buf) char *buf = NULL;
    struct passwd entry, *found = NULL;
    int errnum = ERANGE;

    for (size_t room = 4096; errnum == ERANGE && room <= RECORD_MAX; room *= 2) {
        free(buf);
        buf = malloc(room);
        if (!buf)
            return ENOMEM;
        errnum = getpwuid_r(u->uid, &entry, buf, room, &found);
    }
    if (!found)
        return says_none(errnum) ? 0 : errnum;
    u->known = true;
    u->gid = entry.pw_gid;
    return get_groups(entry.pw_name, u);
}

/* ---- users ----------------------------------------------------------------------------------- */

/* A copy of what a user is, for the caller alone. */
static int tell(const struct user *u, gid_t file_gid, struct qb_who *who, gid_t **groups)
{
    *groups = NULL;
    *who = (struct qb_who){.uid = u->uid, .gid = u->known ? u->gid : file_gid};
    if (u->n_groups == 0)
        return 0;
    *groups = malloc(u->n_groups * sizeof(gid_t));
    if (!*groups)
        return ENOMEM;
    memcpy(*groups, u->groups, u->n_groups * sizeof(gid_t));
    who->groups = *groups;
    who->n_groups = u->n_groups;
    return 0;
}

/* The user, looked up when he is new; the lock is held, so that each is looked up once. */
static int find_user(struct qb_owners *o, uid_t uid, struct user **out)
{
    struct user **bucket = &o->users[uid % USER_BUCKETS], *u;
    int errnum;

    for (u = *bucket; u; u = u->next)
        if (u->uid == uid) {
            *out = u;
            return 0;
        }
    if (o->n_users >= USERS_MAX)
        forget_users(o);
    u = calloc(1, sizeof(*u));
    if (!u)
        return ENOMEM;
    u->uid = uid;
    errnum = look_up(u);
    if (errnum) {
        free(u->groups);
        free(u);
        return errnum;
    }
    u->next = *bucket;
    *bucket = *out = u;
    o->n_users++;
    return 0;
}

static int who_without_memory(uid_t uid, gid_t gid, struct qb_who *who, gid_t **groups)
{
    struct user u = {.uid = uid};
    int errnum = look_up(&u);

    if (!errnum)
        errnum = tell(&u, gid, who, groups);
    free(u.groups);
    return errnum;
}

int qb_owners_who(struct qb_owners *o, uid_t uid, gid_t gid, struct qb_who *who, gid_t **groups,
                  struct qb_err *err)
{
    struct user *u = NULL;
    int errnum;

    *groups = NULL;
    if (uid == 0) { /* whatever groups root is in */
        *who = (struct qb_who){0};
        return 0;
    }
    if (o) {
        pthread_mutex_lock(&o->mutex);
        errnum = find_user(o, uid, &u);
        if (!errnum)
            errnum = tell(u, gid, who, groups);
        pthread_mutex_unlock(&o->mutex);
    } else {
        errnum = who_without_memory(uid, gid, who, groups);
    }
    return errnum ? qb_fail_sys(err, errnum, QB_NOWHERE, "cannot look up the user %lu",
                                (unsigned long)uid)
                  : 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

static struct seen **bucket_of(struct qb_owners *o, uid_t uid, const struct stat *st)
{
    uint64_t h = ((uint64_t)st->st_ino ^ (uint64_t)st->st_dev << 40 ^ (uint64_t)uid << 20) *
                 UINT64_C(0x9e3779b97f4a7c15);

    return &o->files[(h >> 32) % FILE_BUCKETS];
}

static bool is_it(const struct seen *s, uid_t uid, gid_t gid, const struct stat *st)
{
    return s->ino == st->st_ino && s->dev == st->st_dev && s->uid == uid && s->gid == gid &&
           s->changed.tv_sec == st->st_ctim.tv_sec && s->changed.tv_nsec == st->st_ctim.tv_nsec;
}

bool qb_owners_knows(struct qb_owners *o, uid_t uid, gid_t gid, const struct stat *st)
{
    bool known = false;

    if (!o)
        return false;
    pthread_mutex_lock(&o->mutex);
    for (struct seen *s = *bucket_of(o, uid, st); s && !known; s = s->next)
        known = is_it(s, uid, gid, st);
    pthread_mutex_unlock(&o->mutex);
    return known;
}

void qb_owners_learn(struct qb_owners *o, uid_t uid, gid_t gid, const struct stat *st)
{
    struct seen *s = o ? malloc(sizeof(*s)) : NULL;
    struct seen **bucket;

    if (!s)
        return; /* found out again the next time */
    pthread_mutex_lock(&o->mutex);
    if (o->n_files >= FILES_MAX)
        forget_files(o);
    bucket = bucket_of(o, uid, st);
    *s = (struct seen){*bucket, uid, gid, st->st_dev, st->st_ino, st->st_ctim};
    *bucket = s;
    o->n_files++;
    pthread_mutex_unlock(&o->mutex);
}
