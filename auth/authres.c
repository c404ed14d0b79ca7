#include "auth/authres.h"
#include "smtp/address.h"

#include <stdio.h>
#include <string.h>

/* RFC 5322 2.1.1 allows 998; an item that would pass LINE_WIDTH begins a new line, and no item is longer than
 * ITEM_MAX. Signatures beyond SIGNATURES_MAX tell nobody anything. FIELD_MAX holds all of it. */
enum { LINE_WIDTH = 160, ITEM_MAX = 800, REASON_MAX = 120, LOCAL_MAX = 256, DOMAIN_MAX = 255 };
enum { SIGNATURES_MAX = 16, FIELD_MAX = 64 * 1024 };

struct field {
    struct buf text;
    struct buf item; /* what is put next: "header.d=example.com" */
    size_t column;
};

/* ---- values: nothing from outside may end the value, the comment or the line ---- */

static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~')
            return false;
    return true;
}

/* RFC 2045 5.1 */
static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || str_has(STR("()<>@,;:\\\"/[]?="), s.p[i]))
            return false;
    return s.n > 0;
}

/* RFC 5322 3.2.3 */
static bool is_dot_atom(struct str s)
{
    char before = '.';

    for (size_t i = 0; i < s.n; before = s.p[i++])
        if (s.p[i] == '.' ? before == '.'
                          : !ascii_is_alnum(s.p[i]) && !str_has(STR("!#$%&'*+-/=?^_`{|}~"), s.p[i]))
            return false;
    return s.n > 0 && before != '.';
}

/* A quoted-string; octets that may not stand in one become "?". */
static void put_quoted(struct buf *out, struct str s)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        bool fits = s.p[i] >= ' ' && s.p[i] <= '~';

        if (s.p[i] == '"' || s.p[i] == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, fits ? s.p[i] : '?');
    }
    buf_add_char(out, '"');
}

/* RFC 8601 2.2: value = token / quoted-string. False when it is neither. */
static bool put_value(struct buf *out, struct str s)
{
    if (s.n == 0 || !is_printable(s))
        return false;
    if (is_token(s))
        buf_add_str(out, s);
    else
        put_quoted(out, s);
    return true;
}

/* A local part as it stood in MAIL FROM, with or without its quotes. False: it cannot be shown. */
static bool put_local(struct buf *out, struct str local)
{
    if (local.n > LOCAL_MAX || !is_printable(local))
        return false;
    if (is_dot_atom(local)) {
        buf_add_str(out, local);
        return true;
    }
    if (local.n < 2 || local.p[0] != '"' || local.p[local.n - 1] != '"') {
        put_quoted(out, local);
        return true;
    }
    buf_add_char(out, '"');
    for (size_t i = 1; i + 1 < local.n; i++) {
        if (local.p[i] == '\\' && i + 2 < local.n)
            i++;
        if (local.p[i] == '"' || local.p[i] == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, local.p[i]);
    }
    buf_add_char(out, '"');
    return true;
}

static bool has_u_label(struct str domain)
{
    for (size_t i = 0; i < domain.n; i++)
        if ((unsigned char)domain.p[i] >= 0x80)
            return true;
    return false;
}

/* local-part "@" domain-name, or only the domain when the rest cannot be shown. U-labels stand as the A-labels that SPF
 * was asked for. */
static bool put_address(struct buf *out, struct str address, const char *checked)
{
    size_t at = address.n;
    struct str domain;

    while (at > 0 && address.p[at - 1] != '@')
        at--;
    domain = str_from(address, at);
    if (has_u_label(domain))
        domain = str_of(checked);
    if (!smtp_is_domain(domain))
        return put_value(out, domain);
    if (at > 0 && put_local(out, str_upto(address, at - 1)))
        buf_add_char(out, '@');
    return buf_add_str(out, domain);
}

/* ---- items and lines ---- */

static void new_line(struct field *f)
{
    buf_add_z(&f->text, "\r\n\t");
    f->column = 8;
}

/* Adds the item, or forgets one that does not fit. */
static void put_item(struct field *f)
{
    if (!f->item.overflow) {
        if (f->column + 1 + f->item.n > LINE_WIDTH) {
            new_line(f);
        } else {
            buf_add_char(&f->text, ' ');
            f->column++;
        }
        buf_add_str(&f->text, buf_str(&f->item));
        f->column += f->item.n;
    }
    buf_clear(&f->item);
}

static void begin_result(struct field *f, const char *method, const char *result)
{
    buf_add_char(&f->text, ';');
    new_line(f);
    buf_fmt(&f->text, "%s=%s", method, result);
    f->column += strlen(method) + 1 + strlen(result);
}

static void put_property(struct field *f, const char *name, struct str value)
{
    buf_fmt(&f->item, "%s=", name);
    if (put_value(&f->item, value))
        put_item(f);
    buf_clear(&f->item);
}

static void put_reason(struct field *f, const char *reason)
{
    if (reason == NULL || *reason == '\0')
        return;
    buf_add_z(&f->item, "reason=");
    put_quoted(&f->item, str_upto(str_of(reason), REASON_MAX));
    put_item(f);
}

/* ---- the results ---- */

/* A null sender has no domain of its own: what was checked is the HELO name (RFC 7208 2.4). */
static void put_spf(struct field *f, const struct authres *a)
{
    begin_result(f, "spf", spf_result_name(a->spf->result));
    if (a->spf->result != SPF_PASS)
        put_reason(f, a->spf->reason);
    if (a->spf->scope == SPF_HELO || a->mail_from == NULL || *a->mail_from == '\0') {
        put_property(f, "smtp.helo", str_of(a->helo != NULL ? a->helo : a->spf->domain));
        return;
    }
    buf_add_z(&f->item, "smtp.mailfrom=");
    if (put_address(&f->item, str_of(a->mail_from), a->spf->domain))
        put_item(f);
    buf_clear(&f->item);
}

static void put_signature(struct field *f, const struct dkim_signature *s)
{
    begin_result(f, "dkim", dkim_result_name(s->result));
    if (s->result != DKIM_PASS)
        put_reason(f, s->reason);
    put_property(f, "header.d", str_of(s->domain));
    put_property(f, "header.s", str_of(s->selector));
    put_property(f, "header.a", str_of(s->algorithm));
    put_property(f, "header.b", s->b_prefix); /* RFC 6008 */
}

static void put_dkim(struct field *f, const struct dkim_answer *dkim)
{
    if (dkim->count == 0)
        begin_result(f, "dkim", dkim_result_name(DKIM_NONE));
    for (size_t i = 0; i < dkim->count && i < SIGNATURES_MAX; i++)
        put_signature(f, &dkim->signatures[i]);
}

/* RFC 8617 10.2; from 0 on the message is unchanged. */
static void put_arc(struct field *f, const struct arc_answer *arc)
{
    char number[16];

    begin_result(f, "arc", arc_result_name(arc->result));
    if (arc->result == ARC_PASS) {
        snprintf(number, sizeof(number), "%u", arc->oldest_pass);
        put_property(f, "header.oldest-pass", str_of(number));
    } else {
        put_reason(f, arc->reason);
    }
}

static void put_dmarc(struct field *f, const struct authres *a)
{
    begin_result(f, "dmarc", dmarc_result_name(a->dmarc->result));
    if (a->discovery != NULL && a->discovery->record != NULL) {
        buf_fmt(&f->item, "(p=%s dis=%s)", dmarc_policy_name(a->dmarc->policy),
                dmarc_policy_name(a->applied));
        put_item(f);
    }
    put_property(f, "header.from", str_of(a->from_domain));
}

static void put_iprev(struct field *f, const struct authres *a)
{
    begin_result(f, "iprev", a->iprev);
    put_property(f, "policy.iprev", str_of(a->client_ip));
}

void authres_write(struct buf *out, const struct authres *a)
{
    struct str id = str_upto(str_of(a->authserv_id), DOMAIN_MAX);
    struct field f = {0};

    buf_init(&f.text, FIELD_MAX);
    buf_init(&f.item, ITEM_MAX);
    buf_add_z(&f.text, "Authentication-Results: ");
    if (!put_value(&f.text, id))
        put_quoted(&f.text, id);
    if (a->spf != NULL)
        put_spf(&f, a);
    if (a->dkim != NULL)
        put_dkim(&f, a->dkim);
    if (a->arc != NULL && a->arc->result != ARC_NONE)
        put_arc(&f, a->arc);
    if (a->dmarc != NULL)
        put_dmarc(&f, a);
    if (a->iprev != NULL)
        put_iprev(&f, a);
    if (a->spf == NULL && a->dkim == NULL && a->dmarc == NULL && a->iprev == NULL)
        buf_add_z(&f.text, "; none");
    buf_add_z(&f.text, "\r\n");
    buf_add_str(out, buf_str(&f.text)); /* whole or not at all */
    buf_fini(&f.item);
    buf_fini(&f.text);
}
