/* Prints the JSON Schema of manifests. */
#ifndef QB_MANIFEST_SCHEMA_H
#define QB_MANIFEST_SCHEMA_H

#include <stdio.h>

/* Prints schema.json.in with the keys of keys.def. */
void qb_schema_print(FILE *f);

/* schema.json.in, embedded in the program when it is built. */
extern const char qb_schema[];
extern const size_t qb_schema_len;

#endif
