/* The sections `policy` and `limits` of a manifest: how the run behaves, whatever the images. */
#ifndef QB_MANIFEST_SETTINGS_H
#define QB_MANIFEST_SETTINGS_H

#include <stdio.h>

#include "job/job.h"
#include "util/scalar.h"

struct qb_settings {
    struct qb_policy policy;
    struct qb_limits limits;
    struct qb_request request; /* what every image's request begins as */
};

struct qb_setting_row {
    const char *section, *name;
    bool (*set)(const char *text, struct qb_settings *out, struct qb_why *why);
    const char *values, *standard, *good, *help;
};

extern const struct qb_setting_row qb_setting_rows[];
extern const size_t qb_setting_count;

/* The row of a name; of any section when `section` is NULL. */
const struct qb_setting_row *qb_setting_find(const char *section, const char *name);

/* The two sections as an mdoc list. */
void qb_settings_man(const char *section, FILE *f);

#endif
