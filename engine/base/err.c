#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *hint;
    bool retryable;
} codes[] = {
    [QB_E_NONE] = {"none", "", false},
#define ERR(CASE, name, retryable, hint) [QB_E_##CASE] = {#name, hint, retryable},
#include "base/errors.def"
#undef ERR
};

const char *qb_code_name(enum qb_code code)
{
    return codes[code].name;
}

const char *qb_code_hint(enum qb_code code)
{
    return codes[code].hint;
}

bool qb_code_retryable(enum qb_code code)
{
    return codes[code].retryable;
}

struct qb_err qb_err_of(const struct qb_failure *f)
{
    struct qb_err err = {.code = f->code, .sys_errno = f->sys_errno, .offset = f->offset};

    snprintf(err.text, sizeof(err.text), "%s", f->text ? f->text : "");
    return err;
}

static void fill(struct qb_err *err, enum qb_code code, uint64_t offset, const char *fmt,
                 va_list ap)
{
    memset(err, 0, sizeof(*err));
    err->code = code;
    err->offset = offset;
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
}

int qb_fail(struct qb_err *err, enum qb_code code, uint64_t offset, const char *fmt, ...)
{
    va_list ap;

    if (err) {
        va_start(ap, fmt);
        fill(err, code, offset, fmt, ap);
        va_end(ap);
    }
    return -1;
}

static enum qb_code code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
        return QB_E_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
    case ETXTBSY:
        return QB_E_PERMISSION;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return QB_E_NO_SPACE;
    case ENOMEM:
        return QB_E_MEMORY;
    case EMFILE:
    case ENFILE:
        return QB_E_LIMIT;
    case ECANCELED:
        return QB_E_CANCELLED;
    default:
        return QB_E_IO;
    }
}

int qb_fail_sys(struct qb_err *err, int errnum, uint64_t offset, const char *fmt, ...)
{
    va_list ap;
    size_t used;
    char words[80];

    if (!err)
        return -1;
    va_start(ap, fmt);
    fill(err, code_of_errno(errnum), offset, fmt, ap);
    va_end(ap);
    err->sys_errno = errnum;
    used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s",
             strerror_r(errnum, words, sizeof(words)));
    return -1;
}

int qb_fail_memory(struct qb_err *err)
{
    return qb_fail(err, QB_E_MEMORY, QB_NOWHERE, "out of memory");
}
