/* Readies the heap for many images: what one has taken the next one takes again. */
#ifndef QB_HOST_HEAP_H
#define QB_HOST_HEAP_H

/* Has glibc keep up to 2 MiB that are free at the end of each thread's heap.  By itself it returns
 * what is above 128 KiB to the kernel, which the buffers of one image are, and takes it again for
 * the next one: two calls an image, each of which interrupts all other cores that run this process.
 */
void qb_heap_keep(void);

/* To be called by the thread.  glibc extends a heap by single pages, with a system call for each:
 * about one an image, until the first waves are through.  What was part of it once needs none. */
void qb_heap_stretch(void);

#endif
