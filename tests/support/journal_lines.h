/* Journals of one run, written record by record. */
#ifndef QB_TEST_JOURNAL_LINES_H
#define QB_TEST_JOURNAL_LINES_H

#include "journal/runs.h"

/* The run that all of these are of. */
extern const struct qb_run_id journal_id;

/* The records after the first, each as its JSON object; NULL ends them. */
#define LINES(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        "{\"is\":\"run\",\"run\":\"x\",\"manifest\":\"/m.yaml\",\"images\":2}", __VA_ARGS__, NULL  \
    }
#define OF_I ",\"path\":\"/i\"}"

/* Record a plan that writes behind byte n; with its sectors, if it can be undone. */
#define PLANNED(n)  "{\"is\":\"planned\",\"appends\":true,\"length\":" #n OF_I
#define KEEPING(n)  "{\"is\":\"planned\",\"appends\":true,\"old_sector\":\"\",\"length\":" #n OF_I
#define PROOF       "{\"is\":\"proof\",\"path\":\"/i\"}"
#define RESUMED     "{\"is\":\"resumed\"}"
#define CHANGED     "{\"is\":\"changed\",\"ino\":7,\"length\":9,\"path\":\"/i\"}"
#define UNCHANGED   "{\"is\":\"unchanged\",\"path\":\"/i\"}"
#define FAILED      "{\"is\":\"failed\",\"code\":\"io\",\"path\":\"/i\"}"
#define NOT_SURE    "{\"is\":\"failed\",\"uncertain\":true,\"code\":\"durability\",\"path\":\"/i\"}"
#define LOCKED      "{\"is\":\"skipped\",\"code\":\"locked\",\"path\":\"/i\"}"
#define NOT_MEANT   "{\"is\":\"skipped\",\"code\":\"when\",\"path\":\"/i\"}"
#define NOT_STARTED "{\"is\":\"skipped\",\"code\":\"cancelled\",\"path\":\"/i\"}"
#define UNDONE      "{\"is\":\"undone\",\"path\":\"/i\"}"
#define END(l, f)   "{\"is\":\"end\",\"left\":" #l ",\"to_finish\":" #f "}"

/* Makes the journal, in the scratch folder. */
void write_journal(const char *const *lines);
void append_line(const char *line);

/* QB_E_NONE, or why the journal cannot be read. */
enum qb_code read_history(const char *const *lines, struct qb_history *h);

#endif
