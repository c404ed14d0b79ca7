#include "auth/dkim_sign.h"

#include "auth/dkim_base64.h"
#include "auth/dkim_body.h"
#include "auth/dkim_fields.h"
#include "base/buf.h"
#include "base/bug.h"
#include "smtp/mailbox.h"

#include <inttypes.h>
#include <string.h>

enum {
    COLUMNS = 78,
    TAB_COLUMNS = 8,
    FIELD_BYTES_MAX = 64 * 1024,
    OWN_TRIED = 4, /* signatures that look like ours already */
};

/* What a reader sees or acts on, and what identifies the message; not what servers add or change on the way.
 */
const char *const dkim_sign_fields[] = {
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-id",
    "content-description",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "resent-message-id",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-subscribe",
    "list-post",
    "list-owner",
    "list-archive",
};
const size_t dkim_sign_fields_count = COUNT(dkim_sign_fields);

/* A signature in the header that claims to be by one of our keys. */
struct claimed {
    struct dkim_field field;
    const struct dkim_body_hash *body;
    bool header_fits;
};

struct job {
    struct dkim_sign_key by;
    size_t claims_count;
    struct claimed claims[OWN_TRIED];
};

struct dkim_signer {
    struct arena *mem;
    const struct dkim_sign_settings *settings;
    const struct header *header;
    int64_t now_unix;
    const char *const *names; /* h= */
    size_t names_count;
    struct dkim_fields *fields;
    struct dkim_bodies *bodies;
    const struct dkim_body_hash *body;
    struct job *jobs;
    size_t count;
};

/* ---- h= ---- */

static bool is_listed(const char *const *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (str_same_z(str_of(list[i]), name))
            return true;
    return false;
}

/* As often as it occurs, once more when nobody is to add one. False: too many. */
static bool add_name(struct dkim_signer *s, const char **names, const char *name)
{
    const struct dkim_sign_settings *settings = s->settings;
    size_t times = header_count(s->header, name);

    if (is_listed(names, s->names_count, name))
        return true;
    times += is_listed(settings->oversign, settings->oversign_count, name);
    if (times > DKIM_NAMES_MAX - s->names_count)
        return false;
    for (; times > 0; times--)
        names[s->names_count++] = str_dup_lower(s->mem, str_of(name));
    return true;
}

static bool choose_names(struct dkim_signer *s)
{
    const struct dkim_sign_settings *settings = s->settings;
    const char **names = ARENA_ARRAY(s->mem, const char *, DKIM_NAMES_MAX);
    const char *const *fields = settings->fields_count > 0 ? settings->fields : dkim_sign_fields;
    size_t count = settings->fields_count > 0 ? settings->fields_count : dkim_sign_fields_count;
    bool fits = add_name(s, names, "from");

    for (size_t i = 0; i < count && fits; i++)
        fits = add_name(s, names, fields[i]);
    for (size_t i = 0; i < settings->oversign_count && fits; i++)
        fits = add_name(s, names, settings->oversign[i]);
    s->names = names;
    return fits;
}

/* ---- writing a field in lines ---- */

struct folding {
    struct buf out;
    size_t column;
    bool fresh; /* nothing stands on this line yet */
};

static void fold(struct folding *f)
{
    buf_add_z(&f->out, "\r\n\t");
    f->column = TAB_COLUMNS;
    f->fresh = true;
}

static void put(struct folding *f, struct str text)
{
    buf_add_str(&f->out, text);
    f->column += text.n;
    f->fresh = false;
}

/* With a blank in front, or on the next line when this one is full. */
static void put_tag(struct folding *f, const char *text)
{
    struct str tag = str_of(text);

    if (!f->fresh && f->column + 1 + tag.n > COLUMNS)
        fold(f);
    if (!f->fresh)
        put(f, STR(" "));
    put(f, tag);
}

/* Goes on with what is before. */
static void put_more(struct folding *f, struct str text)
{
    if (!f->fresh && f->column + text.n > COLUMNS)
        fold(f);
    put(f, text);
}

static void put_base64(struct folding *f, struct str text)
{
    while (text.n > 0) {
        size_t room = f->column < COLUMNS ? COLUMNS - f->column : 0;

        if (room == 0) {
            fold(f);
            continue;
        }
        put(f, str_upto(text, room));
        text = str_from(text, room < text.n ? room : text.n);
    }
}

static void put_names(struct folding *f, struct arena *mem, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *end = i + 1 < count ? ":" : ";";

        if (i == 0)
            put_tag(f, str_fmt(mem, "h=%s%s", names[i], end));
        else
            put_more(f, str_of(str_fmt(mem, "%s%s", names[i], end)));
    }
}

/* dkim-quoted-printable (RFC 6376 2.11). */
static const char *quoted_encode(struct arena *mem, struct str text)
{
    char *out = arena_alloc(mem, 3 * text.n + 1), *p = out;

    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = (uint8_t)text.p[i];

        if (c > ' ' && c < 0x7f && c != ';' && c != '=') {
            *p++ = (char)c;
        } else {
            *p++ = '=';
            *p++ = "0123456789ABCDEF"[c >> 4];
            *p++ = "0123456789ABCDEF"[c & 15];
        }
    }
    return out;
}

/* An address at the domain or below it; another would make the signature worthless (RFC 6376 3.5, i=). */
static bool is_within(struct str identity, struct str domain)
{
    size_t at = identity.n;
    struct str host;

    while (at > 0 && identity.p[at - 1] != '@')
        at--;
    host = str_from(identity, at);
    return at > 0 && str_ends_same(host, domain) &&
           (host.n == domain.n || (host.n > domain.n + 1 && host.p[host.n - domain.n - 1] == '.'));
}

static const char *canon_name(enum dkim_canon canon)
{
    return canon == DKIM_RELAXED ? "relaxed" : "simple";
}

static void put_identity(struct folding *f, struct arena *mem, const struct dkim_sign_key *by)
{
    struct str identity = str_of(by->identity);

    if (is_within(identity, str_of(by->domain)))
        put_tag(f, str_fmt(mem, "i=%s;", quoted_encode(mem, identity)));
}

static void put_times(const struct dkim_signer *s, struct folding *f)
{
    if (s->settings->with_time || s->settings->valid_s > 0)
        put_tag(f, str_fmt(s->mem, "t=%" PRId64 ";", s->now_unix));
    if (s->settings->valid_s > 0)
        put_tag(f, str_fmt(s->mem, "x=%" PRId64 ";", s->now_unix + s->settings->valid_s));
}

/* Everything up to "b=". */
static void put_front(const struct dkim_signer *s, const struct dkim_sign_key *by, struct folding *f)
{
    const struct dkim_sign_settings *settings = s->settings;

    put(f, STR("DKIM-Signature:"));
    put_tag(f, "v=1;");
    put_tag(f, dkim_private_is_ed25519(by->key) ? "a=ed25519-sha256;" : "a=rsa-sha256;");
    put_tag(
        f, str_fmt(s->mem, "c=%s/%s;", canon_name(settings->header_canon), canon_name(settings->body_canon)));
    put_tag(f, str_fmt(s->mem, "d=%s;", by->domain));
    put_tag(f, str_fmt(s->mem, "s=%s;", by->selector));
    put_identity(f, s->mem, by);
    put_times(s, f);
    fold(f);
    put_names(f, s->mem, s->names, s->names_count);
    fold(f);
    put_tag(f, str_fmt(s->mem, "bh=%s;", dkim_base64_encode(s->mem, s->body->digest, DKIM_HASH_BYTES)));
    fold(f);
    put_tag(f, "b=");
}

/* ---- one signature ---- */

static struct str names_text(struct dkim_signer *s)
{
    struct buf out;
    struct str text;

    buf_init(&out, FIELD_BYTES_MAX);
    for (size_t i = 0; i < s->names_count; i++)
        buf_fmt(&out, "%s%s", i > 0 ? ":" : "", s->names[i]);
    text = str_copy(s->mem, buf_str(&out));
    buf_fini(&out);
    return text;
}

/* b= stands last, so what is hashed is the field as it is before b= has a value. */
static void hash_header(struct dkim_signer *s, struct str front, uint8_t digest_out[DKIM_HASH_BYTES])
{
    static const size_t name_bytes = sizeof("DKIM-Signature:") - 1;
    struct header_field field = {front, str_upto(front, name_bytes - 1), str_from(front, name_bytes)};
    struct dkim_own own = {&field, str_from(front, front.n)};
    struct dkim_hash *hash = dkim_hash_new();

    dkim_fields_hash(s->fields, s->settings->header_canon, names_text(s), &own, hash, digest_out);
    dkim_hash_drop(&hash);
}

static void sign(struct dkim_signer *s, const struct dkim_sign_key *by, struct buf *fields)
{
    uint8_t digest[DKIM_HASH_BYTES], signature[DKIM_SIGNATURE_MAX];
    struct folding f = {.column = 0};
    size_t n;

    buf_init(&f.out, FIELD_BYTES_MAX);
    put_front(s, by, &f);
    hash_header(s, buf_str(&f.out), digest);
    n = dkim_private_sign(by->key, digest, signature);
    put_base64(&f, str_of(dkim_base64_encode(s->mem, signature, n)));
    buf_add_z(&f.out, "\r\n");
    if (f.out.overflow)
        bug("a signature of more than %d octets", FIELD_BYTES_MAX);
    buf_add_str(fields, buf_str(&f.out));
    buf_fini(&f.out);
}

/* ---- has this key signed already? ---- */

static bool is_by(const struct dkim_field *field, const struct dkim_sign_key *by)
{
    return str_same_z(str_of(field->domain), by->domain) &&
           str_same_z(str_of(field->selector), by->selector) &&
           (field->algorithm == DKIM_ED25519_SHA256) == dkim_private_is_ed25519(by->key);
}

static bool is_in_force(const struct dkim_signer *s, const struct dkim_field *field)
{
    return field->algorithm != DKIM_RSA_SHA1 && field->signed_unix <= s->now_unix &&
           field->expires_unix > s->now_unix && !field->has_length;
}

/* Our own private key tells what its public half would: the DNS need not be asked. Making that half costs as
 * much as signing, and it is rarely needed. */
static bool fits_header(struct dkim_signer *s, const struct job *job, const struct dkim_field *field,
                        const struct header_field *written)
{
    struct dkim_key *own_key = dkim_key_new(str_of(dkim_private_record(s->mem, job->by.key)));
    struct dkim_hash *hash = dkim_hash_new();
    struct dkim_own own = {written, field->b_whole};
    uint8_t digest[DKIM_HASH_BYTES];
    bool fits;

    dkim_fields_hash(s->fields, field->header_canon, field->names, &own, hash, digest);
    fits = dkim_key_verify(own_key, digest, field->signature, field->signature_bytes);
    dkim_hash_drop(&hash);
    dkim_key_free(&own_key);
    return fits;
}

static void look_at_claim(struct dkim_signer *s, struct job *job, const struct header_field *written)
{
    struct claimed *claim = &job->claims[job->claims_count];

    if (dkim_field_parse(s->mem, written->value, &claim->field) != NULL || !is_by(&claim->field, &job->by) ||
        !is_in_force(s, &claim->field))
        return;
    claim->header_fits = fits_header(s, job, &claim->field, written);
    claim->body = dkim_bodies_want(s->bodies, claim->field.body_canon, false, 0);
    job->claims_count++;
}

static void look_for_claims(struct dkim_signer *s, struct job *job)
{
    for (size_t i = 0; i < s->header->count && job->claims_count < OWN_TRIED; i++)
        if (str_same_z(s->header->fields[i].name, "DKIM-Signature"))
            look_at_claim(s, job, &s->header->fields[i]);
}

static bool has_signed(const struct job *job)
{
    for (size_t i = 0; i < job->claims_count; i++) {
        const struct claimed *claim = &job->claims[i];

        if (claim->header_fits && memcmp(claim->body->digest, claim->field.body_hash, DKIM_HASH_BYTES) == 0)
            return true;
    }
    return false;
}

/* ---- the course of a message ---- */

static const char *from_fault(struct arena *mem, const struct header *header)
{
    const struct header_field *from = header_find(header, "From");
    struct mailbox_list list;
    const char *why;

    if (from == NULL)
        return "there is no From field";
    if (header_count(header, "From") > 1)
        return "there is more than one From field";
    if (mailbox_list_parse(mem, from->value, &list, &why) != MAILBOX_FOUND)
        return "the From field holds no valid address";
    return NULL;
}

struct dkim_signer *dkim_sign_start(struct arena *mem, const struct dkim_sign_settings *settings,
                                    const struct header *header, const struct dkim_sign_key *keys,
                                    size_t count, int64_t now_unix, const char **why_out)
{
    struct dkim_signer *s = ARENA_NEW(mem, struct dkim_signer);

    *why_out = from_fault(mem, header);
    s->mem = mem;
    s->settings = settings;
    s->header = header;
    s->now_unix = now_unix;
    if (*why_out == NULL && !choose_names(s))
        *why_out = "there are more than 256 fields to sign";
    if (*why_out != NULL)
        return NULL;
    s->fields = dkim_fields_new(mem, header);
    s->bodies = dkim_bodies_new(mem, 2); /* one a canonicalization */
    s->body = dkim_bodies_want(s->bodies, settings->body_canon, false, 0);
    s->jobs = ARENA_ARRAY(mem, struct job, count);
    s->count = count;
    for (size_t i = 0; i < count; i++) {
        s->jobs[i].by = keys[i];
        if (!settings->even_when_signed)
            look_for_claims(s, &s->jobs[i]);
    }
    return s;
}

void dkim_sign_body(struct dkim_signer *s, struct str piece)
{
    dkim_bodies_add(s->bodies, piece);
}

struct str dkim_sign_end(struct dkim_signer **signer)
{
    struct dkim_signer *s = *signer;
    struct buf fields;
    struct str text;

    dkim_bodies_end(s->bodies);
    buf_init(&fields, FIELD_BYTES_MAX * (s->count + 1));
    for (size_t i = 0; i < s->count; i++)
        if (!has_signed(&s->jobs[i]))
            sign(s, &s->jobs[i].by, &fields);
    text = str_copy(s->mem, buf_str(&fields));
    buf_fini(&fields);
    *signer = NULL;
    return text;
}

void dkim_sign_cancel(struct dkim_signer **signer)
{
    if (*signer != NULL)
        dkim_bodies_drop((*signer)->bodies);
    *signer = NULL;
}
