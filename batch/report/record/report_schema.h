/* Prints the JSON Schema of the lines that reports are made of. */
#ifndef QB_RECORD_REPORT_SCHEMA_H
#define QB_RECORD_REPORT_SCHEMA_H

#include <stdio.h>

/* Prints report_schema.json.in with the error codes of errors.def, the properties of keys.def, and
 * the words for statuses and phases. */
void qb_report_schema_print(FILE *f);

/* report_schema.json.in, embedded in the program when it is built. */
extern const char qb_report_schema[];
extern const size_t qb_report_schema_len;

#endif
