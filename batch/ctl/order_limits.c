/* Limits of a run in progress: one by one, or those of its manifest as it is now.  All that is
 * asked for is set, or nothing. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "ctl/orders.h"
#include "job/keys.h"
#include "util/text.h"

enum { CHANGES_MAX = 16, WHY = 400 };

struct change {
    const struct qb_key_row *key;
    char text[QB_KEY_TEXT];
};

struct changes {
    const struct qb_ctl_request *rq;
    struct qb_settings now; /* with those that were asked for */
    struct change items[CHANGES_MAX];
    size_t n;
    char why[WHY]; /* nothing is set; "": it is */
};

__attribute__((format(printf, 2, 3))) static bool no(struct changes *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(c->why, sizeof(c->why), fmt, args);
    va_end(args);
    return false;
}

static void begin(struct changes *c, const struct qb_ctl_request *rq)
{
    *c = (struct changes){.rq = rq};
    c->now.limits = *rq->scene->limits;
}

/* What has changed of a key is a change of the run; *was is as before. */
static bool add(struct changes *c, const struct qb_key_row *key, const struct qb_settings *was)
{
    char text[QB_KEY_TEXT];

    if (!qb_key_differs(key, was, &c->now))
        return true;
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].key == key)
            return no(c, "limits.%s is named twice", key->name);
    if (c->n == CHANGES_MAX)
        return no(c, "too many limits at a time");
    c->items[c->n].key = key;
    snprintf(c->items[c->n].text, sizeof(c->items[c->n].text), "%s",
             qb_key_text(key, &c->now, text));
    c->n++;
    return true;
}

/* ---- what is in force ------------------------------------------------------------------------ */

/* Counts from the beginning of the run, as that of its manifest does. */
static void set_deadline(const struct qb_ctl_scene *scene)
{
    double seconds = scene->limits->deadline_seconds, left = scene->begun + seconds - qb_now();

    if (seconds > 0 && left <= 0)
        scene->end_now();
    else
        scene->deadline(seconds > 0 ? left : 0);
}

/* The rest is set by the run, which reads it between its waves. */
static void put_in_force(const struct changes *c)
{
    const struct qb_ctl_scene *scene = c->rq->scene;
    const struct qb_limits was = *scene->limits;

    *scene->limits = c->now.limits;
    if (was.rate != scene->limits->rate || was.iops != scene->limits->iops)
        qb_pace_set(&scene->hand->pace, (double)scene->limits->rate, (double)scene->limits->iops);
    if (was.deadline_seconds != scene->limits->deadline_seconds)
        set_deadline(scene);
}

static void put_change(FILE *f, const struct changes *c, size_t i)
{
    fprintf(f, "%s%s=%s", i ? ", " : "", c->items[i].key->name, c->items[i].text);
}

/* The changes are in force; `what` comes before them in the answer. */
static char *end(const struct changes *c, const char *what)
{
    QB_AUTO(qb_buf) char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return NULL;
    for (size_t i = 0; i < c->n; i++) {
        struct qb_act act;
        char words[QB_ACT_WHAT];

        snprintf(words, sizeof(words), "limits %s=%s", c->items[i].key->name, c->items[i].text);
        act = qb_ctl_act(c->rq, words);
        act.key = c->items[i].key;
        qb_hand_note(c->rq->scene->hand, &act, false);
    }
    put_in_force(c);
    fputs(what, f);
    for (size_t i = 0; i < c->n; i++)
        put_change(f, c, i);
    fputs(c->n ? "; rate, iops and deadline hold at once, other limits from the next wave on"
               : "the limits are those already",
          f);
    if (fclose(f) != 0)
        return NULL;
    return qb_ctl_accept(c->rq, text);
}

static bool is_possible(struct changes *c)
{
    const struct qb_ctl_scene *scene = c->rq->scene;
    struct qb_err err;

    if (scene->permits(scene->arg, &c->now.limits, &err) == 0)
        return true;
    return no(c, "%s", err.text);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static const struct qb_key_row *find_key(struct changes *c, const char *name)
{
    const struct qb_key_row *key = qb_setting_find("limits", name);
    const char *names[QB_KEYS_MAX], *near;

    if (key && key->live)
        return key;
    if (key) {
        no(c,
           "limits.%s cannot change while a run is in progress%s: end the run (qbatch ctl stop), "
           "change the manifest, and resume the run with --force-resume",
           name, key->kind == QB_KIND_GROUP ? " as a whole" : "");
        return NULL;
    }
    qb_key_names(QB_SECTION_limits, names);
    near = qb_text_nearest(name, names);
    if (near)
        no(c, "limits have no key \"%.60s\"; did you mean \"%s\"?", name, near);
    else
        no(c, "limits have no key \"%.60s\"", name);
    return NULL;
}

static bool set_one(void *arg, const char *text)
{
    struct changes *c = arg;
    QB_AUTO(qb_buf) char *name = strdup(text);
    char *value = name ? strchr(name, '=') : NULL;
    const struct qb_settings was = c->now;
    const struct qb_key_row *key;
    struct qb_why why;

    if (!value)
        return no(c, "\"%.60s\" is not KEY=VALUE", text);
    *value++ = '\0';
    key = find_key(c, name);
    if (!key)
        return false;
    if (!qb_setting_set(key, value, &c->now, &why))
        return no(c, "limits.%s: %s", name, why.text);
    return add(c, key, &was);
}

char *qb_ctl_limits(const struct qb_ctl_request *rq)
{
    struct changes c;

    begin(&c, rq);
    if (qb_json_list_count(rq->json, "limits") == 0 ||
        !qb_json_each_item(rq->json, "limits", set_one, &c) || !is_possible(&c))
        return qb_ctl_refuse(c.why[0] ? c.why : "no limit is named");
    if (!qb_hand_has_room(rq->scene->hand, c.n))
        return qb_ctl_too_many();
    return end(&c, "");
}

/* ---- reload ---------------------------------------------------------------------------------- */

/* A limit that a run can only begin with has to be the one that it began with. */
static bool compare(struct changes *c)
{
    const struct qb_settings was = {.limits = *c->rq->scene->limits},
                             first = {.limits = c->rq->scene->batch->limits};

    qb_keys_each (key, QB_SECTION_limits) {
        if (key->live && !add(c, key, &was))
            return false;
        if (!key->live && qb_key_differs(key, &first, &c->now))
            return no(c, "limits.%s differs, and cannot change while a run is in progress",
                      key->name);
    }
    return is_possible(c);
}

char *qb_ctl_reload(const struct qb_ctl_request *rq)
{
    struct qb_act act = qb_ctl_act(rq, "reload");
    struct changes c;
    struct qb_err err;

    begin(&c, rq);
    if (rq->scene->reload(rq->scene->arg, &c.now.limits, act.print, &err) < 0)
        return qb_ctl_refuse(err.text);
    if (!compare(&c))
        return qb_ctl_refuse(c.why);
    if (!qb_hand_has_room(rq->scene->hand, c.n + 1))
        return qb_ctl_too_many();
    qb_hand_note(rq->scene->hand, &act, false);
    return end(&c, "the manifest was read again: ");
}

/* ---- status ---------------------------------------------------------------------------------- */

void qb_ctl_put_limits(const struct qb_ctl_scene *scene, struct qb_json *o)
{
    const struct qb_settings now = {.limits = *scene->limits},
                             first = {.limits = scene->batch->limits};
    struct qb_json limits = qb_json_object();

    qb_keys_each (key, QB_SECTION_limits) {
        char text[QB_KEY_TEXT];

        if (qb_key_differs(key, &first, &now))
            qb_json_text(&limits, key->name, qb_key_text(key, &now, text));
    }
    qb_json_child(o, "limits", limits);
}
