#include "host/caller.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"
#include "util/path.h"
#include "util/text.h"

#define NOBODY_LOGGED_IN 4294967295u

enum { COMMAND_BYTES_MAX = 4000 /* about: thousands of images are not named again */ };

static char *user_name(uid_t uid)
{
    struct passwd *pw = getpwuid(uid);
    char *text = NULL;

    if (pw && pw->pw_name)
        return strdup(pw->pw_name);
    return asprintf(&text, "%u", (unsigned)uid) < 0 ? NULL : text;
}

/* The user who logged in, which no later change of users alters; false where nobody did. */
static bool login_user(uid_t *uid)
{
    FILE *f = fopen("/proc/self/loginuid", "re");
    unsigned n = NOBODY_LOGGED_IN;
    bool ok = f && fscanf(f, "%u", &n) == 1 && n != NOBODY_LOGGED_IN;

    if (f)
        fclose(f);
    *uid = n;
    return ok;
}

/* "root", and in brackets who became root, by the kernel's account or by sudo's. */
static char *caller(void)
{
    const char *sudo = getenv("SUDO_USER");
    QB_AUTO(qb_buf) char *name = user_name(getuid()), *login = NULL;
    char *text = NULL;
    uid_t uid;

    if (login_user(&uid) && uid != getuid())
        login = user_name(uid);
    if (name && login && strcmp(login, name) != 0)
        return asprintf(&text, "%s (login: %s)", name, login) < 0 ? NULL : text;
    if (name && sudo && *sudo && strcmp(sudo, name) != 0)
        return asprintf(&text, "%s (sudo: %.100s)", name, sudo) < 0 ? NULL : text;
    return qb_take(&name);
}

/* As it was typed: getopt has reordered the words of argv, not those of the kernel. */
static char *command_line(void)
{
    FILE *in = fopen("/proc/self/cmdline", "re"), *out;
    QB_AUTO(qb_buf) char *word = NULL;
    char *text = NULL;
    size_t room = 0, len = 0;
    bool first = true;

    out = in ? open_memstream(&text, &len) : NULL;
    while (out && getdelim(&word, &room, '\0', in) > 0) {
        fputs(first ? "" : " ", out);
        qb_text_shell(out, first ? qb_path_name(word) : word);
        first = false;
        if (ftell(out) > COMMAND_BYTES_MAX)
            break;
    }
    if (in)
        fclose(in);
    if (out && fclose(out) != 0)
        free(qb_take(&text));
    return text;
}

void qb_caller_note(struct qb_origin *o)
{
    char host[256] = "";
    struct timespec at;

    if (gethostname(host, sizeof(host) - 1) == 0 && host[0])
        o->host = strdup(host);
    o->caller = caller();
    o->command = command_line();
    clock_gettime(CLOCK_REALTIME, &at);
    o->started = (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}
