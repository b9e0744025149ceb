/* What the tables of recipes (amends.c, amends_data.c) are written with. */
#ifndef QB_TESTS_RECIPES_H
#define QB_TESTS_RECIPES_H

#define KIB 1024u

#define V3(bits, order, bytes, ...)                                                                \
    {                                                                                              \
        .version = 3, .cluster_bits = bits, .refcount_order = order, .size = bytes, __VA_ARGS__    \
    }
#define V2(bits, bytes, ...)                                                                       \
    {                                                                                              \
        .version = 2, .cluster_bits = bits, .refcount_order = 4, .size = bytes, __VA_ARGS__        \
    }
#define BACKED(name) .backing_file = name, .backing_fmt = "raw"

#endif
