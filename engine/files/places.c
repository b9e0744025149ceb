#include "files/places.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "base/vec.h"
#include "files/way.h"

enum { PLACES_MAX = 200 };

struct qb_places {
    pthread_mutex_t mutex;
    QB_VEC(char *) list; /* distinct */
    bool too_many;
};

struct qb_places *qb_places_new(void)
{
    struct qb_places *p = calloc(1, sizeof(*p));

    if (p)
        pthread_mutex_init(&p->mutex, NULL);
    return p;
}

void qb_places_free(struct qb_places *p)
{
    if (!p)
        return;
    qb_vec_each (place, &p->list)
        free(*place);
    qb_vec_free(&p->list);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

/* Where a regular file really is, or how a block device was named; NULL: not known. */
static char *place_of(int fd, const struct stat *st, const char *path)
{
    char link[QB_FD_PATH], real[PATH_MAX];
    ssize_t len;
    char *slash;

    if (S_ISBLK(st->st_mode))
        return path[0] == '/' ? strdup(path) : NULL;
    qb_fd_path(fd, link);
    len = readlink(link, real, sizeof(real) - 1);
    if (len <= 0 || real[0] != '/')
        return NULL;
    real[len] = '\0';
    slash = strrchr(real, '/');
    slash[slash == real] = '\0';
    return strdup(real);
}

void qb_places_add(struct qb_places *p, int fd, const struct stat *st, const char *path)
{
    QB_AUTO(qb_buf) char *place = place_of(fd, st, path);
    bool known = !place;

    pthread_mutex_lock(&p->mutex);
    for (size_t i = p->list.n; !known && i-- > 0;) /* most often the last one */
        known = strcmp(p->list.items[i], place) == 0;
    if (!known && p->list.n == PLACES_MAX)
        p->too_many = true;
    else if (!known && qb_vec_push(&p->list, place))
        place = NULL;
    pthread_mutex_unlock(&p->mutex);
}

/* ---- shown ----------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_beneath(const char *path, const char *folder)
{
    size_t len = strlen(folder);

    if (strcmp(folder, "/") == 0)
        return true;
    return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static bool is_covered(const struct qb_places *p, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (is_beneath(p->list.items[i], p->list.items[k]))
            return true;
    return false;
}

/* Plain, or in double quotes: YAML knows the escapes that bytes below a blank need. */
static void put(FILE *f, const char *path)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+";

    if (path[strspn(path, plain)] == '\0') {
        fputs(path, f);
        return;
    }
    fputc('"', f);
    for (const unsigned char *c = (const unsigned char *)path; *c; c++) {
        if (*c < ' ' || *c == 0x7f)
            fprintf(f, "\\x%02x", *c);
        else
            fprintf(f, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
    }
    fputc('"', f);
}

char *qb_place_text(int fd, const struct stat *st, const char *path)
{
    QB_AUTO(qb_buf) char *place = place_of(fd, st, path);
    char *text = NULL;
    size_t len = 0;
    FILE *f = place ? open_memstream(&text, &len) : NULL;

    if (!f)
        return NULL;
    put(f, place);
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}

static char *list_text(const struct qb_places *p)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return NULL;
    for (size_t i = 0; i < p->list.n; i++) {
        if (is_covered(p, i))
            continue;
        fputs(i ? ", " : "[", f);
        put(f, p->list.items[i]);
    }
    fputc(']', f);
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}

char *qb_places_text(struct qb_places *p)
{
    char *text = NULL;

    pthread_mutex_lock(&p->mutex);
    if (p->list.n && !p->too_many) {
        qsort(p->list.items, p->list.n, sizeof(p->list.items[0]), by_text);
        text = list_text(p);
    }
    pthread_mutex_unlock(&p->mutex);
    return text;
}
