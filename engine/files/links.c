#include "files/links.h"

#include <unistd.h>

#include "base/own.h"
#include "files/way.h"

struct looking {
    const struct qb_file *file;
    enum qb_on_link rule;
};

static int look_at(void *arg, const struct qb_way *way, struct qb_err *err)
{
    const struct looking *l = arg;
    uid_t owner = way->st.st_uid;

    if (l->rule == QB_ON_LINK_FAIL)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "\"%.100s\" on its path is a symbolic link, and policy.on_link is fail",
                       way->name);
    if (owner == 0 || owner == geteuid() || owner == l->file->uid)
        return QB_WAY_GO_ON;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "\"%.100s\" on its path is a symbolic link of uid %lu, and the image belongs to "
                   "uid %lu; policy.on_link: follow follows it",
                   way->name, (unsigned long)owner, (unsigned long)l->file->uid);
}

int qb_links_check(const struct qb_file *file, enum qb_on_link rule, struct qb_err *err)
{
    struct looking looking = {file, rule};
    const struct qb_way_rules rules = {.arg = &looking, .link = look_at};
    QB_AUTO(qb_way_close) struct qb_way way = {.dir = -1, .fd = -1};

    if (rule == QB_ON_LINK_FAIL && file->other_names)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the file has another name (a hard link), and policy.on_link is fail");
    if (rule == QB_ON_LINK_FOLLOW || !file->may_have_links)
        return 0;
    if (qb_way_follow(file->path, &rules, &way, err) < 0)
        return -1;
    if (way.st.st_dev != file->dev || way.st.st_ino != file->ino)
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "another file took the image's place");
    return 0;
}
