#include "smtp/command.h"

#include "base/bug.h"

enum argument { ABSENT, NEEDED, ANYTHING, REVERSE_PATH, FORWARD_PATH };

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
    [SMTP_HELP] = {"HELP", ANYTHING},     [SMTP_BDAT] = {"BDAT", ANYTHING},
    [SMTP_AUTH] = {"AUTH", ANYTHING},     [SMTP_XCLIENT] = {"XCLIENT", ANYTHING},
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
    for (size_t i = 0; i < COUNT(foreign_verbs); i++)
        if (str_same_z(text, foreign_verbs[i]))
            return SMTP_FOREIGN;
    for (enum smtp_verb verb = SMTP_EHLO; verb < SMTP_FOREIGN; verb++)
        if (str_same_z(text, verbs[verb].name))
            return verb;
    return SMTP_UNKNOWN;
}

/* ---- parameters of MAIL and RCPT ---- */

struct parameter {
    struct str keyword, value;
    bool has_value;
};

/* xtext, which is passed on as it is (RFC 3461 4). */
static bool is_xtext(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '!' || s.p[i] > '~' || s.p[i] == '=')
            return false;
        if (s.p[i] != '+')
            continue;
        for (size_t k = i + 1; k <= i + 2; k++) /* "+" and two hexadecimal digits, upper case only */
            if (k >= s.n || ascii_hex(s.p[k]) < 0 || (s.p[k] >= 'a' && s.p[k] <= 'f'))
                return false;
        i += 2;
    }
    return true;
}

static bool take_size(const struct parameter *p, struct smtp_command *c)
{
    if (p->value.n == 0 || p->value.n > 20) /* RFC 1870 3 */
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
    c->body = str_same_z(p->value, "8BITMIME") ? SMTP_BODY_8BITMIME : SMTP_BODY_7BIT;
    return c->body == SMTP_BODY_8BITMIME || str_same_z(p->value, "7BIT");
}

static bool take_smtputf8(const struct parameter *p, struct smtp_command *c)
{
    c->smtputf8 = true;
    return !p->has_value; /* RFC 6531 3.4 */
}

static bool take_ret(const struct parameter *p, struct smtp_command *c)
{
    (void)c;
    return str_same_z(p->value, "FULL") || str_same_z(p->value, "HDRS"); /* RFC 3461 4.3 */
}

static bool take_envid(const struct parameter *p, struct smtp_command *c)
{
    (void)c;
    return p->value.n > 0 && p->value.n <= 100 && is_xtext(p->value); /* RFC 3461 4.4 */
}

/* NEVER alone, or a list of the others (RFC 3461 4.1). */
static bool take_notify(const struct parameter *p, struct smtp_command *c)
{
    struct str rest = p->value, word;
    bool more = true;

    (void)c;
    if (str_same_z(p->value, "NEVER"))
        return true;
    while (more) {
        more = str_cut(rest, ',', &word, &rest);
        if (!str_same_z(word, "SUCCESS") && !str_same_z(word, "FAILURE") && !str_same_z(word, "DELAY"))
            return false;
    }
    return true;
}

static bool take_orcpt(const struct parameter *p, struct smtp_command *c)
{
    struct str type, address;

    (void)c;
    if (p->value.n > 500 || !str_cut(p->value, ';', &type, &address) || type.n == 0) /* RFC 3461 4.2 */
        return false;
    return is_xtext(type) && address.n > 0 && is_xtext(address);
}

static const struct parameter_rule {
    enum smtp_verb verb;
    const char *keyword;
    size_t offered; /* where in struct smtp_offer */
    bool (*take)(const struct parameter *p, struct smtp_command *c);
} parameter_rules[] = {
    {SMTP_MAIL, "SIZE", offsetof(struct smtp_offer, size), take_size},
    {SMTP_MAIL, "BODY", offsetof(struct smtp_offer, eightbitmime), take_body},
    {SMTP_MAIL, "SMTPUTF8", offsetof(struct smtp_offer, smtputf8), take_smtputf8},
    {SMTP_MAIL, "RET", offsetof(struct smtp_offer, dsn), take_ret},
    {SMTP_MAIL, "ENVID", offsetof(struct smtp_offer, dsn), take_envid},
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
    struct parameter p;

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

    c->parameters = str_trim(rest);
    rest = c->parameters;
    while (rest.n > 0 && c->reply_code == 0) {
        struct str word;

        str_cut(rest, ' ', &word, &rest);
        if (word.n > 0)
            take_parameter(c, word, offer, &seen);
    }
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
        if (is_beyond_ascii(text))
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

static void take_argument(struct smtp_command *c, const struct smtp_offer *offer)
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
    if (has_control(line)) {
        refuse(c, 500, "5.5.2 Control characters are not allowed in a command");
        return;
    }
    c->verb = verb_of(c->verb_text);
    if (c->verb == SMTP_FOREIGN)
        return;
    if (is_beyond_ascii(line) && !may_be_beyond_ascii(c->verb, offer))
        refuse(c, 500, "5.5.2 Octets beyond ASCII are not allowed in a command");
    else if (c->verb == SMTP_UNKNOWN)
        refuse(c, 500, "5.5.2 Command not recognized");
    else
        take_argument(c, offer);
}
