#include "wave/rules_apply.h"

#include <sys/stat.h>

#include "job/rules.h"

static struct qb_condition_facts facts_of(const struct qb_info *info, struct qb_amend *amend,
                                          bool with_file)
{
    struct qb_condition_facts facts = {.info = info};
    struct stat st;

    if (with_file && fstat(qb_amend_file(amend)->fd, &st) == 0) {
        facts.has_file = true;
        facts.allocated_bytes = (uint64_t)st.st_blocks * 512;
        facts.mtime_seconds = st.st_mtim.tv_sec;
    }
    return facts;
}

static bool refuse(struct qb_amend *amend, enum qb_status status, enum qb_code code,
                   const char *which, const struct qb_conditions *c, enum qb_condition broken,
                   const char *and_so)
{
    qb_amend_result(amend)->status = status;
    qb_fail(qb_amend_err(amend), code, QB_NOWHERE, "%s{%s: %s} does not hold%s", which,
            qb_condition_key(broken)->name, c->texts[broken], and_so);
    return false;
}

bool qb_meant_begins(const struct qb_job *job, struct qb_io *io, struct qb_amend *amend,
                     struct qb_request *rq, char **name)
{
    const struct qb_rules *rules = job->rules;
    struct qb_result *r = qb_amend_result(amend);
    struct qb_condition_facts facts = facts_of(r->before, amend, true);
    enum qb_condition broken = qb_conditions_broken(&rules->when, &facts);

    r->after = r->before;
    if (broken != QB_CONDITION_COUNT)
        return refuse(amend, QB_STATUS_SKIPPED, QB_E_WHEN, "", &rules->when, broken, "");
    broken = qb_conditions_broken(&rules->expect, &facts);
    if (broken != QB_CONDITION_COUNT)
        return refuse(amend, QB_STATUS_FAILED, QB_E_EXPECTATION, "expect: ", &rules->expect, broken,
                      "; nothing was changed");
    if (rules->moves && qb_moves_apply(rules->moves, io, qb_amend_file(amend), job->path, r->before,
                                       rq, name, qb_amend_err(amend)) < 0) {
        r->status = QB_STATUS_FAILED;
        return false;
    }
    return true;
}

bool qb_meant_ends(const struct qb_job *job, struct qb_amend *amend, bool at_end)
{
    const struct qb_conditions *after = job->rules ? &job->rules->after : NULL;
    struct qb_condition_facts facts;
    enum qb_condition broken;
    struct qb_result *r;

    if (!after || !after->set)
        return true;
    r = qb_amend_result(amend);
    facts = facts_of(r->after, amend, at_end);
    broken = qb_conditions_broken(after, &facts);
    if (broken == QB_CONDITION_COUNT)
        return true;
    return refuse(amend, QB_STATUS_FAILED, QB_E_EXPECTATION, "after: ", after, broken,
                  r->committed ? "; the image was amended" : "; nothing was changed");
}
