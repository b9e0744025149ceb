#include "files/may.h"

#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

static bool is_in_group(const struct qb_who *who, gid_t gid)
{
    if (who->gid == gid)
        return true;
    for (size_t i = 0; i < who->n_groups; i++)
        if (who->groups[i] == gid)
            return true;
    return false;
}

struct entry {
    uint16_t tag, perm;
    uint32_t id;
};

static struct entry entry_at(const struct qb_perms *p, size_t i)
{
    const uint8_t *at = (const uint8_t *)p->acl + sizeof(struct posix_acl_xattr_header) +
                        i * sizeof(struct posix_acl_xattr_entry);
    struct posix_acl_xattr_entry e;

    memcpy(&e, at, sizeof(e));
    return (struct entry){le16toh(e.e_tag), le16toh(e.e_perm), le32toh(e.e_id)};
}

/* Entries in the list; 0 where it is not one. */
static size_t count_entries(const struct qb_perms *p)
{
    struct posix_acl_xattr_header h;
    size_t len = p->acl_len - sizeof(h);

    if (p->acl_len < sizeof(h) || len % sizeof(struct posix_acl_xattr_entry))
        return 0;
    memcpy(&h, p->acl, sizeof(h));
    return le32toh(h.a_version) == POSIX_ACL_XATTR_VERSION
               ? len / sizeof(struct posix_acl_xattr_entry)
               : 0;
}

/* The mask limits named users and all groups. */
static unsigned mask_of(const struct qb_perms *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (entry_at(p, i).tag == ACL_MASK)
            return entry_at(p, i).perm;
    return 7;
}

static bool may_by_groups(const struct qb_who *who, const struct qb_perms *p, size_t n,
                          unsigned wanted)
{
    unsigned mask = mask_of(p, n), others = 0;
    bool found = false;

    for (size_t i = 0; i < n; i++) {
        struct entry e = entry_at(p, i);
        bool counts = (e.tag == ACL_GROUP_OBJ && is_in_group(who, p->gid)) ||
                      (e.tag == ACL_GROUP && is_in_group(who, e.id));

        if (e.tag == ACL_OTHER)
            others = e.perm;
        found |= counts;
        /* The first group with all of the bits decides, and the mask limits it. */
        if (counts && (e.perm & wanted) == wanted)
            return (mask & wanted) == wanted;
    }
    return !found && (others & wanted) == wanted;
}

/* The list does not apply to the file's owner. */
static bool may_by_acl(const struct qb_who *who, const struct qb_perms *p, unsigned wanted)
{
    size_t n = count_entries(p);

    for (size_t i = 0; i < n; i++) {
        struct entry e = entry_at(p, i);

        if (e.tag == ACL_USER && e.id == who->uid)
            return (e.perm & mask_of(p, n) & wanted) == wanted;
    }
    return may_by_groups(who, p, n, wanted);
}

bool qb_may(const struct qb_who *who, const struct qb_perms *p, unsigned wanted)
{
    unsigned bits;

    if (who->uid == 0)
        return true;
    if (who->uid == p->uid)
        bits = p->mode >> 6;
    else if (p->acl && (p->mode & S_IRWXG)) /* without group bits the kernel ignores the list */
        return may_by_acl(who, p, wanted);
    else if (is_in_group(who, p->gid))
        bits = p->mode >> 3;
    else
        bits = p->mode;
    return (bits & wanted) == wanted;
}
