/* Has loops compiled for wider vectors as well. */
#ifndef QB_BASE_VECTORS_H
#define QB_BASE_VECTORS_H

#include <stdint.h> /* which says whether this is glibc */

/* Before a static function (others would be visible in the library): it is compiled for any
 * processor and for those with AVX2, and the dynamic linker takes the one that fits.  Not under the
 * sanitizers, which are not ready when it does, nor with clang, whose releases of some years leave
 * out the function that others call. */
#define QB_VECTORS
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__has_attribute) && !defined(__clang__)
#if __has_attribute(target_clones) && !defined(__SANITIZE_ADDRESS__) &&                            \
    !defined(__SANITIZE_THREAD__)
#undef QB_VECTORS
#define QB_VECTORS __attribute__((target_clones("avx2", "default")))
#endif
#endif

#endif
