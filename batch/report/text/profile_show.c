#include "text/profile_show.h"

#include <stdlib.h>

#include "base/own.h"
#include "util/text.h"

enum { NAMES_SHOWN = 3 /* of a reason */ };

/* ---- one image ------------------------------------------------------------------------------- */

static void print_rule(FILE *f, const struct qb_suit_rule *rule)
{
    fprintf(f, "    %s: %s\n        source: %s\n        mend: %s\n", rule->code, rule->why,
            rule->source, rule->mend ? rule->mend : "no amend does");
}

void qb_profile_print(FILE *f, const struct qb_suited *s)
{
    const char *name = qb_profiles[s->profile].name;

    fprintf(f, "profile %s: %s\n", name,
            s->suits.broken      ? "does not fit"
            : s->suits.undecided ? "not decided"
                                 : "nothing is known against it");
    for (size_t i = 0; i < QB_SUIT_RULES; i++) {
        if (s->suits.broken >> i & 1)
            print_rule(f, &qb_suit_rules[i]);
        if (s->suits.undecided >> i & 1) {
            fprintf(f, "    %s: not decided: ", qb_suit_rules[i].code);
            qb_text_safe(f, s->why_undecided ? s->why_undecided : "");
            fputc('\n', f);
        }
    }
}

static void put_findings(struct qb_json *o, uint16_t broken)
{
    struct qb_json list = qb_json_list();

    for (size_t i = 0; i < QB_SUIT_RULES; i++) {
        struct qb_json one;

        if (!(broken >> i & 1))
            continue;
        one = qb_json_object();
        qb_json_text(&one, "code", qb_suit_rules[i].code);
        qb_json_text(&one, "message", qb_suit_rules[i].why);
        qb_json_text(&one, "source", qb_suit_rules[i].source);
        qb_json_text(&one, "mend", qb_suit_rules[i].mend);
        qb_json_append(&list, one);
    }
    qb_json_child(o, "findings", list);
}

static void put_undecided(struct qb_json *o, uint16_t undecided, const char *why)
{
    struct qb_json list = qb_json_list();

    for (size_t i = 0; i < QB_SUIT_RULES; i++) {
        struct qb_json one;

        if (!(undecided >> i & 1))
            continue;
        one = qb_json_object();
        qb_json_text(&one, "code", qb_suit_rules[i].code);
        qb_json_string(&one, "message", why ? why : "");
        qb_json_append(&list, one);
    }
    qb_json_child(o, "undecided", list);
}

void qb_profile_put(struct qb_json *o, const struct qb_suited *s)
{
    struct qb_json p = qb_json_object();

    qb_json_text(&p, "name", qb_profiles[s->profile].name);
    if (s->suits.undecided && !s->suits.broken)
        qb_json_null(&p, "fits");
    else
        qb_json_bool(&p, "fits", !s->suits.broken);
    put_findings(&p, s->suits.broken);
    put_undecided(&p, s->suits.undecided, s->why_undecided);
    qb_json_child(o, "profile", p);
}

/* ---- many images ----------------------------------------------------------------------------- */

void qb_profile_fleet_start(struct qb_profile_fleet *fleet, enum qb_profile profile,
                            const struct qb_batch *batch)
{
    *fleet =
        (struct qb_profile_fleet){.profile = profile, .batch = batch, .groups.keep = NAMES_SHOWN};
}

void qb_profile_fleet_free(struct qb_profile_fleet *fleet)
{
    qb_groups_free(&fleet->groups);
    free(qb_take(&fleet->broken));
}

/* Undecided rules are groups after all that are broken. */
static void add_to_groups(struct qb_profile_fleet *fleet, size_t job, struct qb_suits suits)
{
    uint32_t all = suits.broken | (uint32_t)suits.undecided << QB_SUIT_RULES;

    for (unsigned i = 0; i < 2 * QB_SUIT_RULES; i++)
        if (all >> i & 1)
            fleet->incomplete |= !qb_groups_add(
                &fleet->groups, (struct qb_grouped){.status = i, .text = "", .member.job = job});
}

void qb_profile_fleet_add(struct qb_profile_fleet *fleet, size_t job, struct qb_suits suits)
{
    add_to_groups(fleet, job, suits);
    fleet->unfit += suits.broken != 0;
    fleet->undecided += !suits.broken && suits.undecided;
    fleet->fit += !suits.broken && !suits.undecided;
    if (!suits.broken)
        return;
    if (!fleet->broken)
        fleet->broken = calloc(fleet->batch->n_jobs, sizeof(*fleet->broken));
    if (fleet->broken)
        fleet->broken[job] = suits.broken;
    else
        fleet->incomplete = true;
}

static void print_group(FILE *f, const struct qb_profile_fleet *fleet, const struct qb_group *g)
{
    const struct qb_suit_rule *rule = &qb_suit_rules[g->status % QB_SUIT_RULES];
    char n[QB_TEXT_NUMBER];

    fprintf(f, "%s image%s  %s: %s  (", qb_text_count(g->n, n), g->n == 1 ? "" : "s", rule->code,
            g->status < QB_SUIT_RULES ? rule->why
                                      : "not decided, as the backing chain cannot be read");
    for (size_t i = 0; i < g->members.n; i++) {
        fputs(i > 0 ? ", " : "", f);
        qb_text_safe(f, fleet->batch->jobs[g->members.items[i].job].path);
    }
    fputs(g->n > g->members.n ? ", ...)\n" : ")\n", f);
    if (g->status < QB_SUIT_RULES)
        fprintf(f, "    source: %s\n    mend: %s\n", rule->source,
                rule->mend ? rule->mend : "no amend does");
}

static void print_count(FILE *f, const char **before, uint64_t count, const char *what)
{
    char n[QB_TEXT_NUMBER];

    if (count)
        fprintf(f, "%s%s %s", *before, qb_text_count(count, n), what);
    *before = count ? ", " : *before;
}

void qb_profile_fleet_print(FILE *f, struct qb_profile_fleet *fleet)
{
    const char *before = ": ";

    qb_groups_sort(&fleet->groups);
    qb_vec_each (g, &fleet->groups.list)
        print_group(f, fleet, g);
    fprintf(f, "profile %s", qb_profiles[fleet->profile].name);
    print_count(f, &before, fleet->unfit, "unfit");
    print_count(f, &before, fleet->undecided, "not decided");
    print_count(f, &before, fleet->fit, "with nothing known against them");
    fputs("\n", f);
}

void qb_profile_fleet_put(struct qb_json *o, const struct qb_profile_fleet *fleet)
{
    QB_AUTO(qb_buf) char *manifest = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&manifest, &len);

    if (f)
        qb_profile_manifest(f, fleet);
    o->whole &= f && fclose(f) == 0;
    qb_json_text(o, "profile", qb_profiles[fleet->profile].name);
    qb_json_number(o, "fit", fleet->fit);
    qb_json_number(o, "unfit", fleet->unfit);
    qb_json_number(o, "undecided", fleet->undecided);
    qb_json_text(o, "manifest", manifest);
}
