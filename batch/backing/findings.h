/* Finds what is noteworthy about a family; the kinds are one table (findings.def), used by the
 * tree, the JSON and the manual page. */
#ifndef QB_BACKING_FINDINGS_H
#define QB_BACKING_FINDINGS_H

#include "backing/tree.h"

enum qb_finding_id {
#define FINDING(ID, name, is_error, help) QB_FINDING_##ID,
#include "backing/findings.def"
#undef FINDING
    QB_FINDING_COUNT
};

struct qb_finding_row {
    const char *name;
    bool is_error;
    const char *help;
};

extern const struct qb_finding_row qb_finding_rows[QB_FINDING_COUNT];

struct qb_family_finding {
    enum qb_finding_id id;
    size_t member;
    char *text; /* one clause about the member */
};

struct qb_findings {
    QB_VEC(struct qb_family_finding) list; /* by member */
    size_t errors;
};

/* -1 when memory is short; free it either way. */
int qb_findings_make(const struct qb_family *family, const struct qb_batch *batch,
                     struct qb_findings *out, struct qb_err *err);
void qb_findings_free(struct qb_findings *findings);

#endif
