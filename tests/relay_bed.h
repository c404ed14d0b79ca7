/*
 * tests/relay_bed.h - a relay with scripted backends, for the tests of the way to the backend
 *
 * One bed for each test: open_bed() and close_bed() are its set-up and tear-down, make_contexts() and drop_contexts()
 * those of the group. Two fake backends, "first" and "second", of which the settings name the first.
 */
#ifndef TESTS_RELAY_BED_H
#define TESTS_RELAY_BED_H

#include "proxy/relay.h"
#include "tests/fakebackend.h"
#include "tests/fakedns.h"

enum { SHORT_MS = 60, PATIENT_MS = 30000, FAKES = 2, RULES = 6 };

extern struct loop *loop;
extern struct fakebackend *fakes[FAKES];
extern struct backends *backends;
extern struct config config;
extern struct backend_settings fake_settings[FAKES];
extern struct fakedns *names; /* the DNS */
extern struct store *store;
extern struct partials *partials;
extern struct tls_context *server_context, *client_context;
extern char folder[], cert_path[64], key_path[64];

/* One transaction as a session would hold it. */
struct work {
    struct arena *mem;
    struct relay *relay;
    struct spool *spool;
    struct str digest;
    struct str pieces[3];
    unsigned answers, due;
    int code;
    char enhanced[16], text[200], backend[64];
    bool ours, asking;
};

extern struct work work;

int make_contexts(void **state);
int drop_contexts(void **state);
int open_bed(void **state);
int close_bed(void **state);
void reopen_bed(void);     /* afresh, for the next row of a table */
void renew_backends(void); /* after a change of `config`, or of the store */
void open_store(void);     /* with what is in its file */
void close_store(void);

#define ON_BED(test) cmocka_unit_test_setup_teardown(test, open_bed, close_bed)

#define WAIT(condition)                                                                                      \
    while (!(condition))                                                                                     \
    run_until_something_happens()
void run_until_something_happens(void);
void let_pass(void); /* what is under way gets where it goes: a few times round the loop */

/* A session's part; those that return a code wait for the answer. */
void begin_with(struct work *w, const struct relay_ask *ask);
void begin_as(struct work *w, const struct smtp_identity *client);
void begin(struct work *w);
void begin_on(struct work *w, struct link *const *own); /* for a client that has logged in there */
void say_rcpt(struct work *w, const char *recipient);
int rcpt(struct work *w, const char *recipient);
void on_spool_ready(void *arg);
void say_message_of(struct work *w, struct str body, size_t memory);
void say_message(struct work *w);
int message(struct work *w);
void end_work(struct work *w);
int deliver(void); /* a whole transaction; the code of the message, or of the recipient that was refused */

extern const char small_body[];
void expect_message(struct fakebackend *fake); /* it has the message of say_message() */

#endif
