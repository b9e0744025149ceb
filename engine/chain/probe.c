#include "chain/probe.h"

#include <string.h>

#include "base/num.h"
#include "opener/named.h"
#include "qcow2/disk.h"
#include "image/image.h"

struct magic {
    const char *format;
    unsigned at;
    const char *bytes;
    unsigned len;
};

#define MAGIC(format, at, bytes)                                                                   \
    {                                                                                              \
        format, at, bytes, sizeof(bytes) - 1                                                       \
    }
static const struct magic others[] = {
    MAGIC("qed", 0, "QED\0"),
    MAGIC("vmdk", 0, "KDMV"),
    MAGIC("vmdk", 0, "COWD"),
    MAGIC("vmdk", 0, "# Disk DescriptorFile"),
    MAGIC("vhdx", 0, "vhdxfile"),
    MAGIC("vpc", 0, "conectix"),
    MAGIC("vdi", 64, "\x7f\x10\xda\xbe"),
    MAGIC("luks", 0, "LUKS\xba\xbe"),
    MAGIC("parallels", 0, "WithoutFreeSpace"),
    MAGIC("parallels", 0, "WithouFreSpacExt"),
    MAGIC("bochs", 0, "Bochs Virtual HD Image"),
    MAGIC("cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"),
    MAGIC("dmg", 0, "koly"),
};

static bool takes(const uint8_t **at, const uint8_t *end, const char *text)
{
    size_t n = strlen(text);

    if ((size_t)(end - *at) < n || memcmp(*at, text, n) != 0)
        return false;
    *at += n;
    return true;
}

/* A descriptor of VMDK, as QEMU knows it: comments and blank lines, and then the version. */
static bool is_vmdk_text(const uint8_t *at)
{
    const uint8_t *end = at + QB_SECTOR, *line;

    while (at < end) {
        if (*at == '#') {
            line = memchr(at, '\n', (size_t)(end - at));
            at = line ? line + 1 : end;
        } else if (*at == ' ') {
            while (at < end && *at == ' ')
                at++;
            takes(&at, end, "\r");
            if (!takes(&at, end, "\n"))
                return false;
        } else {
            return takes(&at, end, "version=") && at < end && *at >= '1' && *at++ <= '3' &&
                   (takes(&at, end, "\n") || takes(&at, end, "\r\n"));
        }
    }
    return false;
}

const char *qb_probe_magic(const uint8_t head[QB_SECTOR])
{
    static const char qcow2[] = {'Q', 'F', 'I', (char)0xfb};

    if (memcmp(head, qcow2, sizeof(qcow2)) == 0)
        return "qcow2";
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (memcmp(head + others[i].at, others[i].bytes, others[i].len) == 0)
            return others[i].format;
    if (is_vmdk_text(head))
        return "vmdk";
    return "raw";
}

static int is_qcow2(struct qb_io *io, struct qb_file *file, struct qb_err *err)
{
    struct qb_err why;
    struct qb_image img;

    if (qb_image_open(io, file, &img, &why) < 0)
        return qb_fail(err, QB_E_REFUSED, why.offset,
                       "%.200s begins like a qcow2 image and is none that can be read: %.200s",
                       file->path, why.text);
    qb_image_close(&img);
    return 0;
}

static int look(struct qb_io *io, struct qb_file *file, const char **fmt, struct qb_err *err)
{
    uint8_t head[QB_SECTOR] = {0};

    if (qb_io_read(io, file, 0, head, QB_MIN(file->size, (uint64_t)QB_SECTOR), "its beginning",
                   err) < 0)
        return -1;
    *fmt = qb_probe_magic(head);
    if (strcmp(*fmt, "qcow2") == 0)
        return is_qcow2(io, file, err);
    if (strcmp(*fmt, "raw") == 0)
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "%.200s looks like format %s; say what it is by backing_fmt", file->path, *fmt);
}

int qb_probe_format(struct qb_io *io, const struct qb_file *image, const char *path,
                    const char **fmt, struct qb_err *err)
{
    struct qb_naming by = qb_naming_of(image);
    struct qb_file file;
    struct qb_err why;
    int r;

    if (qb_named_open(io, by, by, path, &file, &why) < 0) {
        if (qb_named_refused(why.code))
            return qb_fail(err, why.code, QB_NOWHERE,
                           "the backing file %.150s is not opened: %.230s", path, why.text);
        if (err)
            *err = why;
        return -1;
    }
    r = look(io, &file, fmt, err);
    qb_file_close(&file);
    return r;
}
