/* Describes the machine and the programs of a measurement. */
#ifndef QB_SHOW_ENV_H
#define QB_SHOW_ENV_H

#include "scene/scene.h"

struct bench_env {
    char date[40], cpu[128], kernel[128], device[256], filesystem[64], mount_options[256];
    char qbatch[64], other[64], qemu_img[128]; /* versions; "" when it does not take part */
    long cpus;
    uint64_t memory_bytes;
    double load; /* of the last minute, before the first run */
};

void bench_env_find(const char *folder, const struct bench_tools *tools, struct bench_env *env);

#endif
