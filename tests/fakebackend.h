/*
 * tests/fakebackend.h - a scripted mail server on the test's own loop, for what real ones seldom do
 *
 * Without rules it takes everything. A rule is "VERB=reply"; "2.VERB=reply" is for the second connection
 * only, "VERB#2=reply" for the second time on a connection, and the first rule that fits holds. Verbs are
 * those of SMTP, CONNECT, RESPONSE (the line behind a 334), BODY (the first octets of a message), DOT (its end). After LHLO it speaks LMTP:
 * each accepted recipient gets a DOT of his own. A reply is text with its CRLFs, and may end with
 *     !close   hang up
 *     !pause   read no more
 * No text at all is silence; "+" in front means: the usual reply follows.
 *
 * Whatever happens stops the loop, so that a test can look.
 */
#ifndef TESTS_FAKEBACKEND_H
#define TESTS_FAKEBACKEND_H

#include "base/ip.h"
#include "base/loop.h"
#include "base/str.h"
#include "tls/tls.h"

struct fakebackend;

struct fakebackend *fakebackend_new(struct loop *loop);
void fakebackend_free(struct fakebackend **fake);
struct endpoint fakebackend_at(const struct fakebackend *fake);
void fakebackend_close_door(struct fakebackend *fake); /* who connects from now on is refused */

/* All borrowed. `rules` ends with NULL. `lines` are those of EHLO in front of its last: "250-DSN\r\n". */
void fakebackend_rules(struct fakebackend *fake, const char *const *rules);
void fakebackend_offer(struct fakebackend *fake, const char *lines);
void fakebackend_offer_after_xclient(struct fakebackend *fake, const char *lines);
void fakebackend_tls(struct fakebackend *fake, struct tls_context *context); /* for STARTTLS */

void fakebackend_hang_up(struct fakebackend *fake); /* on everybody */
void fakebackend_read_on(struct fakebackend *fake); /* after !pause */

unsigned fakebackend_visits(const struct fakebackend *fake); /* connections so far */
unsigned fakebackend_open(const struct fakebackend *fake);   /* connections now */
unsigned fakebackend_taken(const struct fakebackend *fake);  /* messages that were answered 2xx */
/* How often it heard a verb, on all connections. */
unsigned fakebackend_heard(const struct fakebackend *fake, const char *verb);
/* The last message that came whole, without transparency. */
struct str fakebackend_message(const struct fakebackend *fake);
/* Number of the connection, and the line: "1 EHLO mx.test\n1 MAIL FROM:<>\n…" */
struct str fakebackend_commands(const struct fakebackend *fake);

#endif
