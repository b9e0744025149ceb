#include "fleet/status_images.h"

#include <stdio.h>

#include "record/groups.h"
#include "util/text.h"

enum {
    SHOWN_WHOLE = 50, /* images: so many are listed one by one */
    NAMES_SHOWN = 3,  /* of those that are equal */
};

/* An image that failed is listed also if it was undone later. */
static const char *words_of(const struct qb_trace *t)
{
    if (!qb_trace_is_taken_back(t))
        return qb_status_words[t->status];
    return t->clones.restored ? "restored" : "undone";
}

static void print_undone(const struct qb_trace *t)
{
    if (!t->undone)
        return;
    if (qb_trace_is_taken_back(t))
        printf("  %s", t->undone_at ? t->undone_at : "");
    else
        printf(" (put back%s%s)", t->undone_at ? " " : "", t->undone_at ? t->undone_at : "");
}

static void print_image(const struct qb_trace *t)
{
    printf("%-12s  ", words_of(t));
    qb_text_safe(stdout, t->path);
    if (!qb_trace_is_taken_back(t)) {
        printf("  %s: ", qb_code_name(t->code));
        qb_text_safe(stdout, t->message ? t->message : "");
    }
    print_undone(t);
    fputc('\n', stdout);
}

/* Equal ones are a line: their number, what is said of them, and the first names. */
static void print_group(const struct qb_history *h, const struct qb_group *g)
{
    char n[QB_TEXT_NUMBER];

    if (g->n == 1) {
        print_image(&h->traces.items[g->members.items[0].job]);
        return;
    }
    printf("%-12s  %s images  ", words_of(&h->traces.items[g->members.items[0].job]),
           qb_text_count(g->n, n));
    qb_text_safe(stdout, g->text ? g->text : "for several reasons");
    for (size_t i = 0; i < g->members.n; i++) {
        fputs(i ? ", " : "  (", stdout);
        qb_text_safe(stdout, h->traces.items[g->members.items[i].job].path);
    }
    puts(g->n > g->members.n ? ", ...)" : ")");
}

/* Those that are undone are a kind of their own. */
static bool add_image(struct qb_groups *groups, const struct qb_history *h, size_t i)
{
    const struct qb_trace *t = &h->traces.items[i];
    bool undone = qb_trace_is_taken_back(t);
    char text[500];

    snprintf(text, sizeof(text), "%s: %s", qb_code_name(t->code), t->message ? t->message : "");
    return qb_groups_add(
        groups, (struct qb_grouped){.status = undone ? QB_STATUS_CHANGED : t->status,
                                    .code = undone ? QB_E_UNDONE : t->code,
                                    .text = undone ? t->undone_at ? t->undone_at : "" : text,
                                    .member.job = i});
}

/* A short list is shown whole; of a long one, equal ones are a line. */
void qb_status_images(const struct qb_history *h)
{
    struct qb_groups groups = {.keep = NAMES_SHOWN};
    size_t n = 0;

    for (size_t i = 0; i < h->traces.n; i++)
        n += qb_status_tells(&h->traces.items[i]);
    for (size_t i = 0; i < h->traces.n; i++)
        if (qb_status_tells(&h->traces.items[i]) && (n <= SHOWN_WHOLE || !add_image(&groups, h, i)))
            print_image(&h->traces.items[i]);
    qb_groups_sort(&groups);
    qb_vec_each (g, &groups.list)
        print_group(h, g);
    qb_groups_free(&groups);
}

void qb_status_fact(const char *name, const char *text)
{
    if (!text)
        return;
    printf("%-9s ", name);
    qb_text_safe(stdout, text);
    fputc('\n', stdout);
}
