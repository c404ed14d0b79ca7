#include "proxy/session_in.h"

#include "auth/authres.h"

/*
 * The header section gathers in one buffer, because parsers want it whole; the body goes to the spool and,
 * while it passes, through DKIM's hashes. An octet of the body is copied once on its way through this
 * process: from the read buffer into the spool. The header is complete before the body, so keys and policy
 * are asked for while the body still comes.
 */

/* The verdict waits for the disk, so that a message which could not be kept never gets as far as the backend.
 * */
static void look_at_spool(struct session *s)
{
    if (!spool_settles(s->tx->intake->spool)) {
        session_wait_for(s, WAIT_SPOOL);
        return;
    }
    s->facts.message.spool_failed = spool_failed(s->tx->intake->spool);
    session_got(s, WAIT_SPOOL);
}

static void on_spool_ready(void *arg)
{
    struct session *s = arg;

    if (s->tx->relay != NULL)
        relay_spool_ready(s->tx->relay);
    if (s->paused && !spool_is_busy(s->tx->intake->spool)) {
        s->paused = false;
        conn_resume(s->conn);
    }
    if (s->waits & WAIT_SPOOL)
        look_at_spool(s);
}

void intake_begin(struct session *s)
{
    const struct limit_settings *limits = &s->service->config->limits;
    struct intake *intake = ARENA_NEW(s->tx->mem, struct intake);

    /* One octet more than allowed tells "too big" from "just fits"; the empty line comes on top. */
    buf_init(&intake->head, limits->header_bytes + 3);
    intake->spool =
        spool_new(s->service->loop, limits->spool_memory_bytes, limits->spool_dir, on_spool_ready, s);
    if (relay_wants_digest(s->tx->relay))
        intake->octets = dkim_hash_new();
    intake->span_bytes = UINT64_MAX;
    s->tx->intake = intake;
}

void intake_free(struct session *s)
{
    struct intake *intake = s->tx->intake;

    if (intake == NULL)
        return;
    dkim_verify_cancel(&intake->dkim);
    arc_verify_cancel(&intake->arc);
    dkim_sign_cancel(&intake->signer);
    dkim_hash_drop(&intake->octets);
    spool_free(&intake->spool);
    buf_fini(&intake->head);
    s->tx->intake = NULL;
    if (s->paused && s->conn != NULL)
        conn_resume(s->conn);
    s->paused = false;
}

/* ---- the header section ---- */

/* Each server on the way adds a Received field; one of ours in them more than once or twice is a loop. A backend on this machine
 * often has our name, so it takes more than that. */
static void count_received(struct session *s)
{
    const struct header *header = &s->tx->intake->header;
    const char *by_us = str_fmt(s->tx->mem, "by %s (smtpguard) ", s->service->config->hostname);
    struct str text;

    for (size_t i = 0; i < header->count; i++) {
        if (!str_same_z(header->fields[i].name, "received"))
            continue;
        s->facts.message.received++;
        text = header_unfold(s->tx->mem, header->fields[i].value);
        for (size_t at = 0; at + 3 < text.n; at++)
            if (str_starts_same(str_from(text, at), str_of(by_us))) {
                s->facts.message.received_by_us++;
                break;
            }
    }
}

static void on_policy_found(const struct dmarc_discovery *discovery, void *arg)
{
    struct session *s = arg;

    s->tx->dmarc = NULL;
    s->facts.message.discovery = discovery;
    session_got(s, WAIT_DMARC);
}

static bool has_arc(const struct header *header)
{
    return header_find(header, "arc-seal") != NULL || header_find(header, "arc-message-signature") != NULL ||
           header_find(header, "arc-authentication-results") != NULL;
}

static void start_authentication(struct session *s)
{
    const struct config *config = s->service->config;
    const struct message_facts *f = &s->facts.message;
    struct intake *intake = s->tx->intake;

    check_from_domain(s);
    if (config->dkim.mode != MODE_OFF)
        intake->dkim = dkim_verify_start(s->tx->mem, s->service->dns, s->service->keys, &config->dkim,
                                         &intake->header, f->from_domain, clock_unix(s->service->clock));
    if (config->arc.verify.mode != MODE_OFF && has_arc(&intake->header))
        intake->arc = arc_verify_start(s->tx->mem, s->service->dns, s->service->keys, &config->arc.verify,
                                       &intake->header, clock_unix(s->service->clock));
    if (config->dmarc.mode != MODE_OFF && f->from_domain != NULL) {
        s->tx->dmarc = dmarc_start(s->tx->mem, s->service->dns, f->from_domain, on_policy_found, s);
        session_wait_for(s, WAIT_DMARC);
    }
}

/* Mail of our own clients goes unchecked, and signed. */
static void start_signing(struct session *s)
{
    const struct session_facts *client = &s->facts.session;
    struct intake *intake = s->tx->intake;
    const char *why = NULL;

    if (s->service->keyring == NULL ||
        (!client->authenticated &&
         !dkim_keyring_is_internal(s->service->keyring, &client->client,
                                   client->rdns == RDNS_VERIFIED ? client->rdns_name : NULL)))
        return;
    intake->signer = signing_start(s->tx->mem, s->service->keyring, &s->service->config->signing,
                                   &intake->header, clock_unix(s->service->clock), &why);
    s->tx->unsigned_why = why;
}

/* A CR, LF or NUL by itself. Without BINARYMIME such a message is refused as a whole; with it only the header section must
 * still be lines (RFC 3030 3). */
static bool has_stray(struct str section)
{
    for (size_t i = 0; i < section.n; i++) {
        bool is_end = section.p[i] == '\r' && i + 1 < section.n && section.p[i + 1] == '\n';

        if (!is_end && (section.p[i] == '\r' || section.p[i] == '\n' || section.p[i] == '\0'))
            return true;
        i += is_end;
    }
    return false;
}

enum { LIST_NAME_MAX = 255 }; /* RFC 2919 4 */

/* List-Id: any words <name> (RFC 2919 3). */
static const char *list_of(struct arena *mem, const struct header *header)
{
    const struct header_field *field = header_find(header, "list-id");
    struct str before, name, after;

    if (field == NULL || !str_cut(header_unfold(mem, field->value), '<', &before, &after) ||
        !str_cut(after, '>', &name, &after) || name.n == 0 || name.n > LIST_NAME_MAX)
        return NULL;
    return str_dup_lower(mem, str_trim(name));
}

static void header_is_complete(struct session *s, size_t section_bytes)
{
    struct intake *intake = s->tx->intake;
    struct message_facts *f = &s->facts.message;

    intake->header_done = true;
    intake->section = str_make(intake->head.p, section_bytes);
    if (s->tx->binary && has_stray(intake->section)) {
        f->bad_line = true;
        return;
    }
    switch (header_parse(s->tx->mem, intake->section, s->service->config->limits.header_fields,
                         &intake->header)) {
    case HEADER_OK:
        break;
    case HEADER_BAD_LINE:
        f->bad_line = true;
        return;
    case HEADER_STARTS_FOLDED:
        f->starts_folded = true;
        return;
    case HEADER_TOO_MANY:
        f->too_many_fields = true;
        return;
    }
    count_received(s);
    f->from_domain = dmarc_from_domain(s->tx->mem, &intake->header, &f->from_why);
    f->list = list_of(s->tx->mem, &intake->header);
    if (facts_may_relay(&s->facts.session))
        start_signing(s);
    else
        start_authentication(s);
}

/* ---- as it comes in ---- */

static void add_body(struct session *s, struct str piece)
{
    struct intake *intake = s->tx->intake;

    if (piece.n == 0)
        return;
    if (intake->dkim != NULL)
        dkim_verify_body(intake->dkim, piece);
    if (intake->arc != NULL)
        arc_verify_body(intake->arc, piece);
    if (intake->signer != NULL)
        dkim_sign_body(intake->signer, piece);
    spool_add(intake->spool, piece);
    if (spool_is_busy(intake->spool) && !s->paused) {
        s->paused = true;
        conn_pause(s->conn);
    }
}

/* Takes what may still belong to the header section; what is behind the empty line goes to the body. */
static void add_head(struct session *s, struct str piece)
{
    struct intake *intake = s->tx->intake;
    size_t had = intake->head.n, take = intake->head.max - had, end;

    if (take > piece.n)
        take = piece.n;
    buf_add(&intake->head, piece.p, take);
    end = header_end(buf_str(&intake->head), intake->looked);
    intake->looked = intake->head.n;
    if (end == SIZE_MAX) {
        s->facts.message.header_too_big = intake->head.n == intake->head.max;
        return;
    }
    /* The empty line itself stays in head; the rest of this piece is body. */
    intake->head.n = end + 2;
    if (end > s->service->config->limits.header_bytes)
        s->facts.message.header_too_big = true;
    header_is_complete(s, end);
    add_body(s, str_from(piece, end + 2 - had));
}

void intake_add(struct str piece, void *session)
{
    struct session *s = session;
    struct message_facts *f = &s->facts.message;

    s->tx->intake->rate_bytes += piece.n;
    if (s->tx->intake->octets != NULL)
        dkim_hash_add(s->tx->intake->octets, piece.p, piece.n);
    if (f->header_too_big || f->bad_line || f->starts_folded || f->too_many_fields)
        return; /* refused at its end: nothing more needs to be kept */
    if (s->tx->intake->header_done)
        add_body(s, piece);
    else
        add_head(s, piece);
}

void intake_end(struct session *s)
{
    struct message_facts *f = &s->facts.message;

    f->fault = s->event.fault;
    f->too_big = s->event.too_big;
    f->bytes = s->event.bytes;
    look_at_spool(s);
    if (!s->tx->intake->header_done && !f->header_too_big && f->fault == SMTP_DATA_OK && !f->too_big)
        header_is_complete(s, s->tx->intake->head.n); /* a message that is all header (RFC 5322 3.5) */
}

/* ---- what the backend gets ---- */

/* What speaks in our name and is not of us: Authentication-Results (RFC 8601 5), and the mark of a quarantine. */
static bool is_forged(const struct session *s, const struct header_field *field)
{
    return str_same_z(field->name, TRACE_QUARANTINE) ||
           (str_same_z(field->name, "authentication-results") &&
            authres_claims(field->value, s->service->config->authserv_id));
}

/* Runs of fields that stay, with the forged ones left out. */
struct relay_message intake_message(struct session *s)
{
    struct intake *intake = s->tx->intake;
    const struct header *header = &intake->header;
    struct str *pieces = ARENA_ARRAY(s->tx->mem, struct str, header->count + 3);
    const char *start = intake->head.p;
    size_t count = 0;

    trace_write(s, &s->tx->trace);
    pieces[count++] = buf_str(&s->tx->trace);
    pieces[count++] = intake->signatures;
    for (size_t i = 0; i < header->count; i++) {
        const struct header_field *field = &header->fields[i];

        if (!is_forged(s, field))
            continue;
        if (field->raw.p > start)
            pieces[count++] = str_make(start, (size_t)(field->raw.p - start));
        start = field->raw.p + field->raw.n;
    }
    if (intake->head.n > 0)
        pieces[count++] = str_make(start, (size_t)(intake->head.p + intake->head.n - start));
    return (struct relay_message){
        .pieces = pieces,
        .count = count,
        .spool = intake->spool,
        .digest = intake->octets != NULL ? partial_message(s->tx->mem, &intake->octets) : STR(""),
    };
}
