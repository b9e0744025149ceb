/* Puts an image on a block device: IMAGE.disk is its bytes, and IMAGE a link to the loop device
 * that shows them, exactly as long as the image.  One at a time. */
#ifndef QB_SCENE_DEVICE_H
#define QB_SCENE_DEVICE_H

#include "scene/image.h"

#define BENCH_DISK_SUFFIX ".disk"

/* Makes both anew, on a new device, of which *held is a descriptor; else, and before, -1.  Fails
 * where the process may not set one up. */
int bench_device_write(const struct bench_layout *layout, const char *path, int *held,
                       struct qb_err *err);

/* Removes the link, and the device as soon as nobody else has it open; the bytes stay. */
void bench_device_remove(const char *path, int *held);

#endif
