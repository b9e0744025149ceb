/* Commands of the user's manifest: their words, what they inherit, and how they end. */
#include "host/child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "unit.h"
#include "util/text.h"

/* ---- words ----------------------------------------------------------------------------------- */

struct words_case {
    const char *path, *word, *expected;
};

static void words_are_what_they_say_with_path_and_bytes_put_in(void)
{
    static const struct words_case cases[] = {
        {"/dev/vg/a", "{path}", "/dev/vg/a"},
        {"/dev/vg/a", "-L+{bytes}b", "-L+4096b"},
        {"/dev/vg/a", "{bytes}{path}{bytes}", "4096/dev/vg/a4096"},
        {"/dev/vg/a", "plain", "plain"},
        {"/dev/vg/a", "", ""},
        {"/dev/vg/a", "{pat} {path {byte} {BYTES} {} }{", "{pat} {path {byte} {BYTES} {} }{"},
        {"/dev/vg/a", "{{path}}", "{/dev/vg/a}"},
        {"/dev/{bytes}", "{path}", "/dev/{bytes}"},
        {"{path}", "{path}", "{path}"},
        {"-a", "{path}", "./-a"},
        {"a b;$(c)", "{path}", "a b;$(c)"},
    };

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        const char *items[] = {"{path}", cases[i].word};
        const struct qb_name_list command = {items, 2};
        char **words = qb_child_words(&command, cases[i].path, 4096);

        CU_ASSERT_PTR_NOT_NULL_FATAL(words);
        CU_ASSERT_STRING_EQUAL(words[0], "{path}"); /* no image says which program runs */
        CU_ASSERT_STRING_EQUAL(words[1], cases[i].expected);
        CU_ASSERT_PTR_NULL(words[2]);
        qb_child_words_free(words);
    }
}

static void the_greatest_number_is_put_in_whole(void)
{
    const char *items[] = {"true", "{bytes}"};
    const struct qb_name_list command = {items, 2};
    char **words = qb_child_words(&command, "a", UINT64_MAX);

    CU_ASSERT_STRING_EQUAL(words[1], "18446744073709551615");
    qb_child_words_free(words);
}

/* ---- running --------------------------------------------------------------------------------- */

static struct qb_io *io;

/* In the folder of the test. */
static int shell(const char *script, struct qb_err *err)
{
    char text[400];
    char *words[] = {(char *)"/bin/sh", (char *)"-c", text, NULL};

    snprintf(text, sizeof(text), "cd '%s'; %s", scratch_folder(), script);
    *err = (struct qb_err){.code = QB_E_NONE};
    return qb_child_run(words, io, err);
}

static bool says(const struct qb_err *err, const char *words)
{
    if (strstr(err->text, words))
        return true;
    fprintf(stderr, "\n\"%s\" is not in: ", words);
    qb_text_safe(stderr, err->text);
    return false;
}

static void a_command_has_done_its_work_with_exit_code_0_only(void)
{
    static const char *const silent[] = {"exit 0", "echo much; echo more >&2",
                                         "head -c 1000000 /dev/zero"};
    struct qb_err err;

    for (size_t i = 0; i < UNIT_COUNT(silent); i++) {
        CU_ASSERT_EQUAL(shell(silent[i], &err), 0);
        CU_ASSERT_EQUAL(err.code, QB_E_NONE);
    }
    CU_ASSERT_EQUAL(shell("exit 5", &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_NO_SPACE);
    CU_ASSERT_TRUE(says(&err, "/bin/sh ended with exit code 5"));
    CU_ASSERT_EQUAL(shell("kill -9 $$", &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_NO_SPACE);
    CU_ASSERT_TRUE(says(&err, "was ended by signal 9"));
}

static void a_program_that_is_not_there_is_named(void)
{
    char *words[] = {(char *)"/nowhere/lvextend", NULL};
    struct qb_err err;

    CU_ASSERT_EQUAL(qb_child_run(words, io, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_NO_SPACE);
    CU_ASSERT_TRUE(says(&err, "cannot run /nowhere/lvextend: No such file"));
}

/* The last of it counts, in one line, whatever bytes there are. */
static void what_a_command_wrote_is_told_in_bounds_and_harms_no_terminal(void)
{
    struct qb_err err;

    shell("echo out; echo 'not enough extents' >&2; exit 1", &err);
    CU_ASSERT_TRUE(says(&err, "exit code 1: out not enough extents"));
    CU_ASSERT_EQUAL(err.text[strlen(err.text) - 1], 's');
    shell("printf 'a\\033[31mb\\377c\\000d\\n\\n  e \\n'; exit 1", &err);
    CU_ASSERT_TRUE(says(&err, "1: a\\x1b[31mb\\xffc d e"));
    shell("head -c 1000000 /dev/zero | tr '\\0' x; echo the end; exit 1", &err);
    CU_ASSERT_TRUE(says(&err, "1: ...xxxx"));
    CU_ASSERT_TRUE(says(&err, "xxxxthe end"));
    CU_ASSERT_TRUE(strlen(err.text) < 250);
    shell("exit 1", &err);
    CU_ASSERT_TRUE(strcmp(err.text, "/bin/sh ended with exit code 1") == 0);
}

/* But the one that tells of the command's end. */
static void handle_all(void (*how)(int))
{
    for (int i = 1; i < SIGRTMIN; i++)
        if (i != SIGCHLD)
            signal(i, how);
}

static void a_command_inherits_nothing_of_the_run(void)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    int open_file = fcntl(nothing, F_DUPFD, 57); /* without O_CLOEXEC: as a library may */
    char *look[] = {(char *)"grep", (char *)"-q", (char *)"^SigBlk:.0*$",
                    (char *)"/proc/self/status", NULL}; /* a shell unblocks all by itself */
    sigset_t all, before;
    struct qb_err err;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    handle_all(SIG_IGN);
    CU_ASSERT_EQUAL(shell("cat; exit 0", &err), 0); /* nothing to read */
    CU_ASSERT_EQUAL(shell("! test -e /proc/$$/fd/57", &err), 0);
    CU_ASSERT_EQUAL(shell("test -e /proc/$$/fd/2", &err), 0);
    CU_ASSERT_EQUAL(qb_child_run(look, io, &err), 0);
    /* But for two that are glibc's own. */
    CU_ASSERT_EQUAL(shell("ignored=$(sed -n 's/^SigIgn:.//p' /proc/self/status); "
                          "test $((0x$ignored & 0x7fffffff)) = 0",
                          &err),
                    0);
    handle_all(SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    CU_ASSERT_EQUAL(open_file, 57);
    close(open_file);
    close(nothing);
}

/* It would hold the other end of the output. */
static void what_a_command_leaves_running_is_not_waited_for(void)
{
    struct qb_err err;

    CU_ASSERT_EQUAL(shell("sleep 40 & echo $! > child.pid", &err), 0);
    CU_ASSERT_EQUAL(shell("kill $(cat child.pid) && rm child.pid", &err), 0);
}

/* ---- stopping -------------------------------------------------------------------------------- */

static bool is_there(void *path)
{
    return access(path, F_OK) == 0;
}

/* Stops the command once it has made the file "begun"; it would not end for long. */
static void a_command_that_is_stopped_is_ended_with_all_its_group(void)
{
    static const char *const endless[] = {
        "sleep 40 & echo $! > child.pid; touch begun; wait",
        "trap '' TERM; sleep 40 & echo $! > child.pid; touch begun; wait; touch survived",
        "exec >&- 2>&-; sleep 40 & echo $! > child.pid; touch begun; wait",
    };
    struct qb_err err;

    for (size_t i = 0; i < UNIT_COUNT(endless); i++) {
        char begun[200];

        snprintf(begun, sizeof(begun), "%s", in_folder("begun"));
        CU_ASSERT_FALSE_FATAL(is_there(begun));
        qb_io_set_stop(io, is_there, begun);
        CU_ASSERT_EQUAL(shell(endless[i], &err), -1);
        qb_io_set_stop(io, NULL, NULL);
        CU_ASSERT_EQUAL(err.code, QB_E_CANCELLED);
        CU_ASSERT_EQUAL(access(in_folder("survived"), F_OK), -1);
        /* Gone, or a zombie that nobody has asked for yet; signals take a moment. */
        CU_ASSERT_EQUAL(shell("read pid < child.pid; rm begun child.pid; n=0; "
                              "while grep -q '^State:.[^Z]' /proc/$pid/status 2>/dev/null; "
                              "do [ $((n += 1)) -lt 1000 ] && sleep 0.01 || exit 1; done",
                              &err),
                        0);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(words_are_what_they_say_with_path_and_bytes_put_in),
        UNIT(the_greatest_number_is_put_in_whole),
        UNIT(a_command_has_done_its_work_with_exit_code_0_only),
        UNIT(a_program_that_is_not_there_is_named),
        UNIT(what_a_command_wrote_is_told_in_bounds_and_harms_no_terminal),
        UNIT(a_command_inherits_nothing_of_the_run),
        UNIT(what_a_command_leaves_running_is_not_waited_for),
        UNIT(a_command_that_is_stopped_is_ended_with_all_its_group),
    };
    int failed;

    io = open_kind(QB_IO_POSIX);
    failed = scratch_main("child", tests, UNIT_COUNT(tests));
    qb_io_close(io);
    return failed;
}
