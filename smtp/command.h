/*
 * smtp/command.h - one command line, taken apart                  RFC 5321 4.1.1
 *
 * Pure. A line comes without its CRLF; NUL, CR, LF and (without SMTPUTF8) 8-bit octets in it are
 * errors that the parser finds itself. Views point into the line.
 */
#ifndef SMTP_COMMAND_H
#define SMTP_COMMAND_H

#include "smtp/address.h"

enum smtp_verb {
    SMTP_UNKNOWN, SMTP_EHLO, SMTP_HELO, SMTP_STARTTLS, SMTP_MAIL, SMTP_RCPT, SMTP_DATA, SMTP_RSET,
    SMTP_NOOP, SMTP_QUIT, SMTP_VRFY, SMTP_EXPN, SMTP_HELP, SMTP_BDAT, SMTP_AUTH, SMTP_XCLIENT, SMTP_LHLO,
    SMTP_FOREIGN, /* GET, POST, CONNECT, PUT …: another protocol is talking to us */
    SMTP_VERBS
};

enum smtp_body { SMTP_BODY_7BIT, SMTP_BODY_8BITMIME };

struct smtp_command {
    enum smtp_verb verb;
    struct str verb_text;
    struct str argument;         /* trimmed; of EHLO/HELO the name, of the others as written */
    struct smtp_address address; /* MAIL, RCPT */
    uint64_t size;               /* MAIL SIZE=, 0 when absent (RFC 1870) */
    bool has_size;
    enum smtp_body body;         /* MAIL BODY= (RFC 6152) */
    bool smtputf8;               /* MAIL: the parameter SMTPUTF8; RCPT: the path needs it (RFC 6531 3.4) */
    struct str parameters;       /* MAIL, RCPT: as written, for passing on DSN's (RFC 3461) */
    int reply_code;              /* of a malformed line: 500, 501, 504, 552, 553, 555; else 0 */
    const char *reply_text;      /* with its enhanced code, e.g. "5.5.4 Syntax: …" */
};

/* What the server offers, for the parameters of MAIL and RCPT: what is not offered is 555. */
struct smtp_offer {
    bool size, eightbitmime, smtputf8, dsn;
};

/* Always fills the command; a line that is no command has verb SMTP_UNKNOWN or a reply_code. */
void smtp_command_parse(struct str line, const struct smtp_offer *offer, struct smtp_command *command_out);

const char *smtp_verb_name(enum smtp_verb verb); /* "MAIL" */

#endif
