/*
 * smtp/command.h - one command line, taken apart                  RFC 5321 4.1.1
 *
 * Pure. A line comes without its CRLF; NUL, CR, LF and (without SMTPUTF8) 8-bit octets in it are
 * errors that the parser finds itself. Views point into the line.
 *
 * The parser sees one line only. What depends on others is the caller's: a recipient that needs SMTPUTF8
 * in a transaction without it (553 5.6.7), DATA after BODY=BINARYMIME (503), and that behind a BDAT with
 * a reply_code stands a chunk of unknown size, so that nothing after it can be read.
 */
#ifndef SMTP_COMMAND_H
#define SMTP_COMMAND_H

#include "base/buf.h"
#include "smtp/address.h"

enum smtp_verb {
    SMTP_UNKNOWN,
    SMTP_EHLO,
    SMTP_HELO,
    SMTP_STARTTLS,
    SMTP_MAIL,
    SMTP_RCPT,
    SMTP_DATA,
    SMTP_RSET,
    SMTP_NOOP,
    SMTP_QUIT,
    SMTP_VRFY,
    SMTP_EXPN,
    SMTP_HELP,
    SMTP_BDAT,
    SMTP_AUTH,
    SMTP_XCLIENT,
    SMTP_LHLO,
    SMTP_FOREIGN, /* GET, POST, CONNECT, PUT …: another protocol is talking to us */
    SMTP_VERBS
};

enum smtp_body { SMTP_BODY_7BIT, SMTP_BODY_8BITMIME, SMTP_BODY_BINARYMIME };

struct smtp_command {
    enum smtp_verb verb;
    struct str verb_text;
    struct str argument;         /* trimmed; of EHLO/HELO the name, of the others as written */
    struct smtp_address address; /* MAIL, RCPT */
    /* Parameters of MAIL; texts as written, empty when absent. */
    uint64_t size; /* SIZE=, 0 when absent (RFC 1870) */
    bool has_size;
    enum smtp_body body;   /* BODY= (RFC 6152, RFC 3030 3) */
    bool smtputf8;         /* MAIL: the parameter; RCPT: its path or ORCPT needs it (RFC 6531 3.4) */
    bool requiretls;       /* RFC 8689 2 */
    struct str ret, envid; /* RFC 3461 4.3, 4.4 */
    struct str auth;       /* "<>" or a mailbox, both as xtext (RFC 4954 5) */
    /* Parameters of RCPT (RFC 3461 4.1, 4.2). */
    struct str notify, orcpt;
    /* BDAT (RFC 3030 2). */
    uint64_t chunk_bytes;
    bool last;
    /* AUTH (RFC 4954 4). The initial response stays base64; "=" is the empty one, absent is no text. */
    struct str mechanism, initial_response;
    int reply_code;         /* of a malformed line: 500, 501, 553, 555; else 0 */
    const char *reply_text; /* with its enhanced code, e.g. "5.5.4 Syntax: …" */
};

/* What is offered in EHLO, by us or by a backend. A parameter of MAIL or RCPT that is not offered is 555. */
struct smtp_offer {
    bool size, eightbitmime, smtputf8, dsn, chunking, binarymime, requiretls, auth;
};

enum {
    SMTP_AUTH_LINE = 12288,    /* octets of AUTH or a response to a challenge, with CRLF (RFC 4954 4) */
    SMTP_PARAMETERS_MAX = 536, /* octets that smtp_command_pass_on() writes at the most */
};

/* Always fills the command; a line that is no command has verb SMTP_UNKNOWN or a reply_code. */
void smtp_command_parse(struct str line, const struct smtp_offer *offer, struct smtp_command *command_out);

/* Writes the parameters that the next hop must hear of (SMTPUTF8, REQUIRETLS and those of DSN) as far as it
 * offers them, values as written, each with a space in front. SIZE and BODY are the sender's own matter, and
 * AUTH is for those that trust us. */
void smtp_command_pass_on(const struct smtp_command *command, const struct smtp_offer *backend,
                          struct buf *out);

/* A whole base64 text, padding included and not empty (RFC 4648 4): what an AUTH dialogue is made of. */
bool smtp_is_base64(struct str text);
bool smtp_is_mechanism(struct str text); /* a name of SASL's, in either case (RFC 4422 3.1) */

const char *smtp_verb_name(enum smtp_verb verb); /* "MAIL" */

#endif
