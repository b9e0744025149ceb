#include "opener/owners.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/index.h"
#include "base/num.h"
#include "base/own.h"
#include "base/vec.h"
#include "files/places.h"

enum {
    USERS_MAX = 1 << 16, /* with more entries the cache is emptied */
    FILES_MAX = 1 << 16,
    RECORD_MAX = 1 << 20, /* bytes of a line of the user database */
    GROUPS_MAX = 1 << 16
};

struct user {
    uid_t uid;
    bool known; /* by the user database */
    gid_t gid;
    gid_t *groups;
    size_t n_groups;
};

struct seen {
    uid_t uid;
    gid_t gid;
    dev_t dev;
    ino_t ino;
    struct timespec changed; /* the file's ctime */
};

struct qb_owners {
    bool any;
    struct qb_roots *roots;   /* NULL: anywhere */
    struct qb_places *places; /* NULL: not noted */
    pthread_mutex_t mutex;
    QB_VEC(struct user) users;
    QB_VEC(struct seen) files;
    struct qb_index users_by_uid, files_by_key; /* see key_of */
};

struct qb_owners *qb_owners_new(const struct qb_named_rules *rules, struct qb_err *err)
{
    struct qb_owners *o = calloc(1, sizeof(*o));
    int bad = 0;

    if (!o) {
        qb_fail_memory(err);
        return NULL;
    }
    pthread_mutex_init(&o->mutex, NULL);
    o->any = rules->anybody;
    if (rules->n_roots) {
        o->roots = qb_roots_open(rules->roots, rules->n_roots, rules->one_file_system, err);
        bad = o->roots ? 0 : -1;
    }
    if (bad == 0 && rules->notes_places) {
        o->places = qb_places_new();
        bad = o->places ? 0 : qb_fail_memory(err);
    }
    if (bad == 0)
        return o;
    qb_owners_free(o);
    return NULL;
}

static void forget_users(struct qb_owners *o)
{
    qb_vec_each (u, &o->users)
        free(u->groups);
    qb_vec_free(&o->users);
    qb_index_free(&o->users_by_uid);
}

static void forget_files(struct qb_owners *o)
{
    qb_vec_free(&o->files);
    qb_index_free(&o->files_by_key);
}

void qb_owners_free(struct qb_owners *o)
{
    if (!o)
        return;
    forget_users(o);
    forget_files(o);
    qb_roots_close(o->roots);
    qb_places_free(o->places);
    pthread_mutex_destroy(&o->mutex);
    free(o);
}

bool qb_owners_any(const struct qb_owners *o)
{
    return o && o->any;
}

void qb_owners_note(const struct qb_owners *o, int fd, const struct stat *st, const char *path)
{
    if (o && o->places)
        qb_places_add(o->places, fd, st, path);
}

char *qb_owners_places(const struct qb_owners *o)
{
    return o->places ? qb_places_text(o->places) : NULL;
}

const struct qb_roots *qb_owners_roots(const struct qb_owners *o)
{
    return o ? o->roots : NULL;
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

/* Whether the error means that the database has no such user; see getpwuid(3). */
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

/* Copies a user for the caller. */
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

/* The user, looked up if he is not cached; the mutex is held, so that each is looked up once. */
static int find_user(struct qb_owners *o, uid_t uid, struct user **out)
{
    struct qb_probe p = qb_index_probe(&o->users_by_uid, uid);
    struct user fresh = {.uid = uid};
    int errnum;

    while (qb_index_next(&o->users_by_uid, &p))
        if (o->users.items[p.item].uid == uid) {
            *out = &o->users.items[p.item];
            return 0;
        }
    if (o->users.n >= USERS_MAX)
        forget_users(o);
    errnum = look_up(&fresh);
    if (!errnum && !(qb_index_room(&o->users_by_uid, 1) && qb_vec_push(&o->users, fresh)))
        errnum = ENOMEM;
    if (errnum) {
        free(fresh.groups);
        return errnum;
    }
    *out = &o->users.items[o->users.n - 1];
    qb_index_add(&o->users_by_uid, uid, o->users.n - 1);
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
    if (uid == 0) { /* root's groups do not matter */
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

static uint64_t key_of(uid_t uid, const struct stat *st)
{
    return qb_key_of_file(st->st_dev, st->st_ino) ^ (uint64_t)uid << 20;
}

static bool is_it(const struct seen *s, uid_t uid, gid_t gid, const struct stat *st)
{
    return s->ino == st->st_ino && s->dev == st->st_dev && s->uid == uid && s->gid == gid &&
           s->changed.tv_sec == st->st_ctim.tv_sec && s->changed.tv_nsec == st->st_ctim.tv_nsec;
}

bool qb_owners_knows(struct qb_owners *o, uid_t uid, gid_t gid, const struct stat *st)
{
    struct qb_probe p;
    bool known = false;

    if (!o)
        return false;
    pthread_mutex_lock(&o->mutex);
    p = qb_index_probe(&o->files_by_key, key_of(uid, st));
    while (!known && qb_index_next(&o->files_by_key, &p))
        known = is_it(&o->files.items[p.item], uid, gid, st);
    pthread_mutex_unlock(&o->mutex);
    return known;
}

void qb_owners_learn(struct qb_owners *o, uid_t uid, gid_t gid, const struct stat *st)
{
    struct seen seen = {uid, gid, st->st_dev, st->st_ino, st->st_ctim};

    if (!o)
        return;
    pthread_mutex_lock(&o->mutex);
    if (o->files.n >= FILES_MAX)
        forget_files(o);
    if (qb_index_room(&o->files_by_key, 1) && qb_vec_push(&o->files, seen))
        qb_index_add(&o->files_by_key, key_of(uid, st), o->files.n - 1);
    pthread_mutex_unlock(&o->mutex); /* without memory: looked up again the next time */
}
