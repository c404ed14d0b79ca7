#include "smtp/command.h"

#include "base/bug.h"
#include "smtp/xtext.h"

enum argument { ABSENT, NEEDED, ANYTHING, REVERSE_PATH, FORWARD_PATH, CHUNK, MECHANISM };

/* Octets of values (RFC 1870 3, RFC 3030 2, RFC 3461 4.2 and 4.4, RFC 4422 3.1, RFC 4954 5). */
enum { NUMBER_DIGITS = 20, ENVID_MAX = 100, ORCPT_MAX = 500, AUTH_MAX = 500, MECHANISM_MAX = 20 };

static const struct {
    const char *name;
    enum argument argument;
} verbs[SMTP_VERBS] = {
    [SMTP_UNKNOWN] = {"?", ANYTHING},     [SMTP_EHLO] = {"EHLO", NEEDED},
    [SMTP_HELO] = {"HELO", NEEDED},       [SMTP_STARTTLS] = {"STARTTLS", ABSENT}, /* RFC 3207 4 */
    [SMTP_MAIL] = {"MAIL", REVERSE_PATH}, [SMTP_RCPT] = {"RCPT", FORWARD_PATH},
    [SMTP_DATA] = {"DATA", ABSENT},       [SMTP_RSET] = {"RSET", ABSENT},
    [SMTP_NOOP] = {"NOOP", ANYTHING},     [SMTP_QUIT] = {"QUIT", ABSENT},
    [SMTP_VRFY] = {"VRFY", NEEDED},       [SMTP_EXPN] = {"EXPN", NEEDED},
    [SMTP_HELP] = {"HELP", ANYTHING},     [SMTP_BDAT] = {"BDAT", CHUNK},
    [SMTP_AUTH] = {"AUTH", MECHANISM},    [SMTP_XCLIENT] = {"XCLIENT", ANYTHING},
    [SMTP_LHLO] = {"LHLO", NEEDED},       [SMTP_FOREIGN] = {"foreign", ANYTHING},
};

/* Browsers are made to talk to port 25 by web pages; nobody else begins like this. */
static const char *const foreign_verbs[] = {"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS"};

const char *smtp_verb_name(enum smtp_verb verb)
{
    return verb < SMTP_VERBS ? verbs[verb].name : "?";
}

static void refuse(struct smtp_command *c, int code, const char *text)
{
    c->reply_code = code;
    c->reply_text = text;
}

static bool is_beyond_ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return true;
    return false;
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7F)
            return true;
    return false;
}

static struct str skip_blanks(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_from(s, 1);
    return s;
}

static enum smtp_verb verb_of(struct str text)
{
    for (enum smtp_verb verb = SMTP_EHLO; verb < SMTP_FOREIGN; verb++)
        if (str_same_z(text, verbs[verb].name))
            return verb;
    for (size_t i = 0; i < COUNT(foreign_verbs); i++)
        if (str_same_z(text, foreign_verbs[i]))
            return SMTP_FOREIGN;
    return SMTP_UNKNOWN;
}

/* ---- parameters of MAIL and RCPT ---- */

struct parameter {
    struct str keyword, value;
    bool has_value;
    const struct smtp_offer *offer;
};

/* xtext of printable ASCII: what is encoded here is decoded in reports, where it must not become a line of
 * its own (RFC 3461 4.2, 4.4). With `utf8`, characters beyond ASCII stand for themselves (RFC 6533 3). */
static bool is_printable_xtext(struct str s, bool utf8)
{
    while (s.n > 0) {
        size_t n = utf8 ? smtp_utf8_length(s) : 0;

        if (n == 0) {
            n = s.p[0] == '+' ? 3 : 1;
            if (!smtp_is_xtext(str_upto(s, n)))
                return false;
            if (n == 3 && (s.p[1] < '2' || s.p[1] > '7' || str_starts(s, STR("+7F"))))
                return false;
        }
        s = str_from(s, n);
    }
    return true;
}

static bool take_size(const struct parameter *p, struct smtp_command *c)
{
    if (p->value.n == 0 || p->value.n > NUMBER_DIGITS)
        return false;
    for (size_t i = 0; i < p->value.n; i++)
        if (!ascii_is_digit(p->value.p[i]))
            return false;
    c->has_size = true;
    if (!str_to_u64(p->value, UINT64_MAX, &c->size))
        c->size = UINT64_MAX; /* twenty digits go beyond 64 bits; it is too much in any case */
    return true;
}

static bool take_body(const struct parameter *p, struct smtp_command *c)
{
    static const struct {
        const char *name;
        enum smtp_body body;
    } bodies[] = {
        {"7BIT", SMTP_BODY_7BIT}, {"8BITMIME", SMTP_BODY_8BITMIME}, {"BINARYMIME", SMTP_BODY_BINARYMIME}};

    for (size_t i = 0; i < COUNT(bodies); i++) {
        if (!str_same_z(p->value, bodies[i].name))
            continue;
        c->body = bodies[i].body;
        if ((c->body == SMTP_BODY_8BITMIME && !p->offer->eightbitmime) ||
            (c->body == SMTP_BODY_BINARYMIME && !p->offer->binarymime))
            refuse(c, 555, "5.5.4 This BODY is not offered");
        return true;
    }
    return false;
}

static bool take_smtputf8(const struct parameter *p, struct smtp_command *c)
{
    c->smtputf8 = true;
    return !p->has_value; /* RFC 6531 3.4 */
}

static bool take_requiretls(const struct parameter *p, struct smtp_command *c)
{
    c->requiretls = true;
    return !p->has_value; /* RFC 8689 2 */
}

static bool take_ret(const struct parameter *p, struct smtp_command *c)
{
    c->ret = p->value;
    return str_same_z(p->value, "FULL") || str_same_z(p->value, "HDRS"); /* RFC 3461 4.3 */
}

static bool take_envid(const struct parameter *p, struct smtp_command *c)
{
    c->envid = p->value;
    return p->value.n > 0 && p->value.n <= ENVID_MAX && is_printable_xtext(p->value, false);
}

/* xtext of a mailbox, or <> for "not known" (RFC 4954 5). */
static bool take_auth(const struct parameter *p, struct smtp_command *c)
{
    struct smtp_address address;
    struct buf mailbox;
    bool good;

    c->auth = p->value;
    if (str_eq(p->value, STR("<>")))
        return true;
    buf_init(&mailbox, AUTH_MAX);
    good = p->value.n <= AUTH_MAX && smtp_xtext_decode(&mailbox, p->value) &&
           smtp_mailbox_parse(buf_str(&mailbox), true, &address);
    buf_fini(&mailbox);
    return good;
}

/* NEVER alone, or a list of the others, each once (RFC 3461 4.1). */
static bool take_notify(const struct parameter *p, struct smtp_command *c)
{
    static const char *const words[] = {"SUCCESS", "FAILURE", "DELAY"};
    struct str rest = p->value, word;
    unsigned seen = 0;
    bool more = true;

    c->notify = p->value;
    if (str_same_z(p->value, "NEVER"))
        return true;
    while (more) {
        unsigned bit = 0;

        more = str_cut(rest, ',', &word, &rest);
        for (size_t i = 0; i < COUNT(words); i++)
            if (str_same_z(word, words[i]))
                bit = 1u << i;
        if (bit == 0 || (seen & bit) != 0)
            return false;
        seen |= bit;
    }
    return true;
}

/* The kinds of addresses that are registered are words of letters, digits and hyphens. */
static bool is_address_type(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alnum(s.p[i]) && s.p[i] != '-')
            return false;
    return s.n > 0;
}

static bool take_orcpt(const struct parameter *p, struct smtp_command *c)
{
    struct str type, address;
    bool utf8;

    c->orcpt = p->value;
    if (p->value.n > ORCPT_MAX || !str_cut(p->value, ';', &type, &address) || !is_address_type(type))
        return false;
    utf8 = p->offer->smtputf8 && str_same_z(type, "utf-8"); /* RFC 6533 3 */
    c->smtputf8 = c->smtputf8 || is_beyond_ascii(address);
    return address.n > 0 && is_printable_xtext(address, utf8);
}

static const struct parameter_rule {
    enum smtp_verb verb;
    const char *keyword;
    size_t offered; /* where in struct smtp_offer */
    bool (*take)(const struct parameter *p, struct smtp_command *c);
} parameter_rules[] = {
    {SMTP_MAIL, "SIZE", offsetof(struct smtp_offer, size), take_size},
    {SMTP_MAIL, "BODY", offsetof(struct smtp_offer, eightbitmime), take_body},
    {SMTP_MAIL, "BODY", offsetof(struct smtp_offer, binarymime), take_body}, /* without 8BITMIME */
    {SMTP_MAIL, "SMTPUTF8", offsetof(struct smtp_offer, smtputf8), take_smtputf8},
    {SMTP_MAIL, "REQUIRETLS", offsetof(struct smtp_offer, requiretls), take_requiretls},
    {SMTP_MAIL, "RET", offsetof(struct smtp_offer, dsn), take_ret},
    {SMTP_MAIL, "ENVID", offsetof(struct smtp_offer, dsn), take_envid},
    {SMTP_MAIL, "AUTH", offsetof(struct smtp_offer, auth), take_auth},
    {SMTP_RCPT, "NOTIFY", offsetof(struct smtp_offer, dsn), take_notify},
    {SMTP_RCPT, "ORCPT", offsetof(struct smtp_offer, dsn), take_orcpt},
};

static bool is_offered(const struct smtp_offer *offer, const struct parameter_rule *rule)
{
    return *(const bool *)((const char *)offer + rule->offered);
}

/* esmtp-keyword ["=" esmtp-value] (RFC 5321 4.1.2). */
static bool split_parameter(struct str word, struct parameter *p)
{
    p->has_value = str_cut(word, '=', &p->keyword, &p->value);
    if (p->keyword.n == 0 || !ascii_is_alnum(p->keyword.p[0]))
        return false;
    for (size_t i = 0; i < p->keyword.n; i++)
        if (!ascii_is_alnum(p->keyword.p[i]) && p->keyword.p[i] != '-')
            return false;
    for (size_t i = 0; i < p->value.n; i++)
        if (p->value.p[i] == '=' || p->value.p[i] == '\t')
            return false;
    return !p->has_value || p->value.n > 0;
}

/* `seen` has a bit for each rule, because a parameter may be given once only (RFC 5321 4.1.1.11). */
static void take_parameter(struct smtp_command *c, struct str word, const struct smtp_offer *offer,
                           unsigned *seen)
{
    struct parameter p = {.offer = offer};

    if (!split_parameter(word, &p)) {
        refuse(c, 501, "5.5.4 Malformed parameter");
        return;
    }
    for (size_t i = 0; i < COUNT(parameter_rules); i++) {
        const struct parameter_rule *rule = &parameter_rules[i];

        if (rule->verb != c->verb || !str_same_z(p.keyword, rule->keyword) || !is_offered(offer, rule))
            continue;
        if ((*seen & (1u << i)) != 0)
            refuse(c, 501, "5.5.4 The same parameter twice");
        else if (!rule->take(&p, c))
            refuse(c, 501, "5.5.4 Malformed parameter value");
        *seen |= 1u << i;
        return;
    }
    refuse(c, 555, "5.5.4 Parameter not recognized or not implemented");
}

static void take_parameters(struct smtp_command *c, struct str rest, const struct smtp_offer *offer)
{
    unsigned seen = 0;

    rest = str_trim(rest);
    while (rest.n > 0 && c->reply_code == 0) {
        struct str word;

        str_cut(rest, ' ', &word, &rest);
        if (word.n > 0)
            take_parameter(c, word, offer, &seen);
    }
}

static void pass(struct buf *out, bool offered, const char *keyword, struct str value)
{
    if (offered && value.n > 0)
        buf_fmt(out, " %s=%.*s", keyword, STR_ARG(value));
}

void smtp_command_pass_on(const struct smtp_command *command, const struct smtp_offer *backend,
                          struct buf *out)
{
    if (command->verb == SMTP_MAIL && command->smtputf8 && backend->smtputf8)
        buf_add_z(out, " SMTPUTF8");
    if (command->requiretls && backend->requiretls)
        buf_add_z(out, " REQUIRETLS");
    pass(out, backend->dsn, "RET", command->ret);
    pass(out, backend->dsn, "ENVID", command->envid);
    pass(out, backend->dsn, "NOTIFY", command->notify);
    pass(out, backend->dsn, "ORCPT", command->orcpt);
}

/* ---- MAIL FROM:<…> and RCPT TO:<…> ---- */

static void take_path_command(struct smtp_command *c, const struct smtp_offer *offer)
{
    bool is_mail = c->verb == SMTP_MAIL;
    struct str prefix = is_mail ? STR("FROM:") : STR("TO:");
    struct str text = c->argument, rest;
    const char *why;

    if (!str_starts_same(text, prefix)) {
        refuse(c, 501, is_mail ? "5.5.4 Syntax: MAIL FROM:<address>" : "5.5.4 Syntax: RCPT TO:<address>");
        return;
    }
    /* "FROM: <…>" is against the syntax, but the field sends it and it has one meaning only. */
    text = skip_blanks(str_from(text, prefix.n));
    if (!smtp_path_parse(text, is_mail ? SMTP_PATH_REVERSE : SMTP_PATH_FORWARD, offer->smtputf8, &c->address,
                         &rest, &why)) {
        if (is_beyond_ascii(text) && !offer->smtputf8)
            refuse(c, 553, "5.6.7 Addresses beyond ASCII are not accepted here"); /* RFC 6531 3.5 */
        else
            refuse(c, 501, why);
        return;
    }
    take_parameters(c, rest, offer);
    if (c->reply_code != 0 || !is_beyond_ascii(str_upto(text, text.n - rest.n)))
        return;
    if (is_mail && !c->smtputf8)
        refuse(c, 553, "5.6.7 An address beyond ASCII needs the parameter SMTPUTF8");
    c->smtputf8 = true;
}

/* ---- BDAT and AUTH ---- */

/* chunk-size [SP "LAST"] (RFC 3030 2). */
static void take_chunk(struct smtp_command *c)
{
    struct str size, end;

    str_cut(c->argument, ' ', &size, &end);
    while (end.n > 0 && end.p[0] == ' ')
        end = str_from(end, 1);
    c->last = str_same(end, STR("LAST"));
    if (size.n > NUMBER_DIGITS || !str_to_u64(size, UINT64_MAX, &c->chunk_bytes) || (end.n > 0 && !c->last))
        refuse(c, 501, "5.5.4 Syntax: BDAT size [LAST]");
}

bool smtp_is_base64(struct str text)
{
    size_t padding = 0;

    while (padding < 2 && padding < text.n && text.p[text.n - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < text.n - padding; i++)
        if (!ascii_is_alnum(text.p[i]) && text.p[i] != '+' && text.p[i] != '/')
            return false;
    return text.n > 0 && text.n % 4 == 0;
}

bool smtp_is_mechanism(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!ascii_is_alnum(text.p[i]) && text.p[i] != '-' && text.p[i] != '_')
            return false;
    return text.n > 0 && text.n <= MECHANISM_MAX;
}

/* mechanism [SP initial-response] (RFC 4954 4). */
static void take_mechanism(struct smtp_command *c, struct str line)
{
    bool more = str_cut(c->argument, ' ', &c->mechanism, &c->initial_response);

    if (line.n + 2 > SMTP_AUTH_LINE)
        refuse(c, 500, "5.5.6 Authentication exchange line is too long");
    else if (!smtp_is_mechanism(c->mechanism))
        refuse(c, 501, "5.5.4 Syntax: AUTH mechanism [initial-response]");
    else if (more && !str_eq(c->initial_response, STR("=")) && !smtp_is_base64(c->initial_response))
        refuse(c, 501, "5.5.2 The initial response is not base64");
}

/* ---- */

static void take_argument(struct smtp_command *c, struct str line, const struct smtp_offer *offer)
{
    switch (verbs[c->verb].argument) {
    case ABSENT:
        if (c->argument.n > 0)
            refuse(c, 501, "5.5.4 This command has no argument");
        break;
    case NEEDED:
        if (c->argument.n == 0)
            refuse(c, 501, "5.5.4 This command needs an argument");
        else if (str_has(c->argument, '\t'))
            refuse(c, 501, "5.5.4 Malformed argument");
        break;
    case REVERSE_PATH:
    case FORWARD_PATH:
        take_path_command(c, offer);
        break;
    case CHUNK:
        take_chunk(c);
        break;
    case MECHANISM:
        take_mechanism(c, line);
        break;
    case ANYTHING:
        break;
    }
}

/* Paths judge their own octets; VRFY and EXPN may be asked beyond ASCII as well (RFC 6531 3.7.4.2). */
static bool may_be_beyond_ascii(enum smtp_verb verb, const struct smtp_offer *offer)
{
    return verb == SMTP_MAIL || verb == SMTP_RCPT ||
           (offer->smtputf8 && (verb == SMTP_VRFY || verb == SMTP_EXPN));
}

void smtp_command_parse(struct str line, const struct smtp_offer *offer, struct smtp_command *command_out)
{
    struct smtp_command *c = command_out;
    size_t end = 0;

    *c = (struct smtp_command){0};
    if (str_starts(line, STR("\x16\x03"))) { /* a TLS handshake record (RFC 8446 5.1) */
        c->verb = SMTP_FOREIGN;
        return;
    }
    while (end < line.n && line.p[end] != ' ' && line.p[end] != '\t')
        end++;
    c->verb_text = str_upto(line, end);
    c->argument = str_trim(str_from(line, end));
    c->verb = verb_of(c->verb_text);
    if (has_control(line)) {
        if (c->verb != SMTP_BDAT) /* the caller must know that a chunk follows */
            c->verb = SMTP_UNKNOWN;
        refuse(c, 500, "5.5.2 Control characters are not allowed in a command");
        return;
    }
    if (c->verb == SMTP_FOREIGN)
        return;
    if (is_beyond_ascii(line) && !may_be_beyond_ascii(c->verb, offer))
        refuse(c, 500, "5.5.2 Octets beyond ASCII are not allowed in a command");
    else if (c->verb == SMTP_UNKNOWN)
        refuse(c, 500, "5.5.2 Command not recognized");
    else
        take_argument(c, line, offer);
}
