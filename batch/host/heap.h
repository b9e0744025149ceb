/* Readies the heap for many images: what one has taken the next one takes again. */
#ifndef QB_HOST_HEAP_H
#define QB_HOST_HEAP_H

/* To be called before there are threads.  Has glibc keep what is free at the end of each thread's
 * heap, some MiB: by itself it returns what is above 128 KiB to the kernel, which the buffers of
 * one image are, and takes it again for the next one, with calls that interrupt all other cores
 * that run this process.  And has it ask for the addresses of a heap at once: it extends that of a
 * thread by single pages, with a call for each. */
void qb_heap_keep(void);

#endif
