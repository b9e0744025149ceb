#include "backing/shared_backing.h"

#include <string.h>

#include "opener/named.h"
#include "util/path.h"

enum { LOANS = 32 }; /* files at once; a fleet with more backing files gains little */

struct qb_loan {
    char *folder; /* of the images, up to the last slash; NULL: this place is free */
    size_t folder_len;
    char name[QB_MAX_BACKING_NAME + 1], fmt[64]; /* as their headers have them */
    uid_t uid;                                   /* the owner of the image that it was opened for */
    gid_t gid;
    size_t users;
    struct qb_chain chain; /* empty when it could not be opened */
};

struct qb_lender {
    struct qb_loan loans[LOANS];
};

struct qb_lender *qb_lender_new(void)
{
    return calloc(1, sizeof(struct qb_lender));
}

static void give_up(struct qb_loan *loan)
{
    qb_chain_close(&loan->chain);
    free(qb_take(&loan->folder));
}

void qb_lender_free(struct qb_lender *lender)
{
    for (size_t i = 0; lender && i < LOANS; i++)
        give_up(&lender->loans[i]);
    free(lender);
}

static bool is_for(const struct qb_loan *loan, const char *path, const struct qb_info *info)
{
    return loan->folder && loan->folder_len == qb_path_name_at(path) &&
           strncmp(loan->folder, path, loan->folder_len) == 0 &&
           strcmp(loan->name, info->backing_file) == 0 && strcmp(loan->fmt, info->backing_fmt) == 0;
}

static bool fits(const struct qb_info *info)
{
    return strlen(info->backing_file) <= QB_MAX_BACKING_NAME &&
           strlen(info->backing_fmt) < sizeof(((struct qb_loan *)0)->fmt);
}

/* Whether the image's owner may have the file, too. */
static bool is_free_to(const struct qb_loan *loan, struct qb_io *io, const struct qb_file *image)
{
    if (loan->chain.n == 0 || (image->uid == loan->uid && image->gid == loan->gid))
        return true;
    return qb_named_is(io, qb_naming_of(image), qb_chain_file(&loan->chain, 0)->path,
                       qb_chain_file(&loan->chain, 0));
}

static struct qb_loan *open_loan(struct qb_loan *loan, struct qb_io *io,
                                 const struct qb_file *image, const char *path,
                                 const struct qb_info *info)
{
    /* Its owner's word, and no file that the chain could come back to. */
    const struct qb_file nobody = {
        .fd = -1, .uid = image->uid, .gid = image->gid, .path = image->path};
    struct qb_err why;

    loan->folder_len = qb_path_name_at(path);
    loan->folder = strndup(path, loan->folder_len);
    if (!loan->folder)
        return NULL;
    strcpy(loan->name, info->backing_file);
    strcpy(loan->fmt, info->backing_fmt);
    qb_chain_open(io, &(struct qb_chain_top){path, &nobody, loan->name, loan->fmt},
                  QB_CHAIN_NEAREST, &loan->chain, &why);
    loan->uid = image->uid;
    loan->gid = image->gid;
    loan->users = 1;
    return loan;
}

struct qb_loan *qb_lend(struct qb_lender *lender, struct qb_io *io, const struct qb_file *image,
                        const char *path, const struct qb_info *info)
{
    struct qb_loan *place = NULL;

    if (!info->has_backing_file || !fits(info))
        return NULL;
    for (size_t i = 0; i < LOANS; i++) {
        struct qb_loan *loan = &lender->loans[i];

        if (is_for(loan, path, info)) {
            if (!is_free_to(loan, io, image))
                return NULL;
            loan->users++;
            return loan;
        }
        if (!loan->folder && !place)
            place = loan;
    }
    return place ? open_loan(place, io, image, path, info) : NULL;
}

const struct qb_chain *qb_loan_chain(const struct qb_loan *loan)
{
    return loan && loan->chain.n ? &loan->chain : NULL;
}

void qb_loan_end(struct qb_loan *loan)
{
    if (loan && --loan->users == 0)
        give_up(loan);
}
